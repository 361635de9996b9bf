//! The first layer: values in the memory of this process, and which of them may still be vouched for.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use headwater_cache_store::Entry;
use headwater_planted::Bug;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::flight::Flight;
use crate::measure::Counts;
use crate::policy::{Capacity, Eviction, Policy};

/// Parts that the keys of a namespace are spread over, each with a lock of its own.
const STRIPES: usize = 256;

/// What an entry costs beside its key and value, roughly: counted where a namespace is bounded by bytes.
const ENTRY_OVERHEAD_BYTES: usize = 200;

/// A value in L1.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) value: Bytes,
    /// None: it does not expire.
    pub(crate) fresh_until: Option<Instant>,
    /// When the read that brought it was sent.
    pub(crate) read_at: Instant,
    /// The coherence's epoch in which it was read: of an earlier one nobody knows whether it is still so.
    pub(crate) epoch: u64,
    /// How long it is of use past its time to live.
    kept_stale: Duration,
}

/// The L1 of a namespace, and what is being read for it.
///
/// A value enters only where no change of its key was noticed since its read was sent: each stripe counts the changes of
/// its keys, a reader remembers the count ([`Ticket`]), and entering, changing and counting happen under the stripe's lock.
pub(crate) struct L1 {
    kept: Moka<Bytes, Arc<Kept>>,
    /// Bytes of keys and values that are kept.
    bytes: Arc<AtomicU64>,
    stripes: Box<[Mutex<Stripe>]>,
    hasher: RandomState,
    kept_stale: Duration,
}

#[derive(Default)]
pub(crate) struct Stripe {
    changes: u64,
    /// What is being read, by key.
    pub(crate) flights: HashMap<Bytes, Arc<Flight>>,
}

/// What a reader must have before it sends its read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    changes: u64,
    epoch: u64,
    at: Instant,
}

impl Kept {
    /// How long it stays fresh, in milliseconds; negative: how long it has been stale.
    pub(crate) fn ttl_ms(&self, now: Instant) -> Option<i64> {
        let until = self.fresh_until?;
        let left = until.saturating_duration_since(now);
        let past = now.saturating_duration_since(until);
        let signed = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Some(if past.is_zero() { signed(left) } else { -signed(past) })
    }

    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.fresh_until.is_none_or(|until| now < until)
    }
}

impl L1 {
    pub(crate) fn new(policy: &Policy, counts: &Arc<Counts>) -> Self {
        let counts = Arc::clone(counts);
        let bytes = Arc::new(AtomicU64::new(0));
        let left = Arc::clone(&bytes);
        let eviction = match policy.eviction {
            Eviction::TinyLfu => EvictionPolicy::tiny_lfu(),
            Eviction::Lru | Eviction::Rank => EvictionPolicy::lru(),
        };
        let builder = Moka::builder().eviction_policy(eviction).expire_after(AtItsEnd).eviction_listener(
            move |key, kept, cause| {
                left.fetch_sub(size_of(&key, &kept), Ordering::Relaxed);
                match cause {
                    RemovalCause::Size => counts.evicted_for_room.add(1),
                    RemovalCause::Expired => counts.evicted_by_age.add(1),
                    RemovalCause::Explicit => counts.evicted_by_change.add(1),
                    RemovalCause::Replaced => {}
                }
            },
        );
        let builder = match policy.capacity {
            Capacity::EntriesMax(entries) => builder.max_capacity(entries),
            Capacity::BytesMax(bytes) => builder.max_capacity(bytes).weigher(|key: &Bytes, kept: &Arc<Kept>| {
                u32::try_from(key.len() + kept.value.len() + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
            }),
        };
        Self {
            kept: builder.build(),
            bytes,
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            kept_stale: Duration::from_millis(policy.kept_stale_ms()),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Kept>> {
        self.kept.get(key)
    }

    /// What a read of this key must begin with.
    pub(crate) fn ticket(&self, key: &[u8], epoch: u64, now: Instant) -> Ticket {
        self.stripe(key).ticket(epoch, now)
    }

    /// Takes what a read brought, unless its key may have changed since.
    pub(crate) fn take(&self, key: &Bytes, ticket: Ticket, epoch: u64, entry: Option<&Entry>) {
        let stripe = self.stripe(key);
        let has_changed = epoch != ticket.epoch || stripe.changes != ticket.changes;
        if has_changed && !headwater_planted::is(Bug::EntryDespiteChange) {
            return;
        }
        let Some(entry) = entry else {
            self.kept.invalidate(key);
            return;
        };
        let fresh_until = entry.ttl_ms.map(|ttl_ms| after(ticket.at, ttl_ms));
        let kept =
            Kept { value: entry.value.clone(), fresh_until, read_at: ticket.at, epoch, kept_stale: self.kept_stale };
        self.bytes.fetch_add(size_of(key, &kept), Ordering::Relaxed);
        // A copy, since a caller's key is often a piece of a whole request, which would be kept with it.
        self.kept.insert(Bytes::copy_from_slice(key), Arc::new(kept));
    }

    /// The key changed, whoever changed it: what L1 has of it is gone, and what is being read of it will not enter.
    pub(crate) fn changed(&self, key: &[u8]) {
        let mut stripe = self.stripe(key);
        stripe.changes += 1;
        // Whoever asks from now on must not be answered with what was read before.
        stripe.flights.remove(key);
        self.kept.invalidate(key);
    }

    /// Every key may have changed.
    pub(crate) fn clear(&self) {
        for stripe in &self.stripes {
            let mut stripe = stripe.lock();
            stripe.changes += 1;
            stripe.flights.clear();
        }
        self.kept.invalidate_all();
    }

    /// Entries and bytes of keys and values. A change shows once moka has done its upkeep, within a second of use.
    pub(crate) fn usage(&self) -> (u64, u64) {
        (self.kept.entry_count(), self.bytes.load(Ordering::Relaxed))
    }

    /// Does the upkeep that moka puts off, so that `usage` is exact.
    pub(crate) fn settle(&self) {
        self.kept.run_pending_tasks();
    }

    pub(crate) fn stripe(&self, key: &[u8]) -> MutexGuard<'_, Stripe> {
        let hash = self.hasher.hash_one(key);
        // The remainder is below the number of stripes.
        self.stripes[usize::try_from(hash % STRIPES as u64).unwrap_or(0)].lock()
    }
}

impl Stripe {
    pub(crate) fn ticket(&self, epoch: u64, now: Instant) -> Ticket {
        Ticket { changes: self.changes, epoch, at: now }
    }
}

fn size_of(key: &Bytes, kept: &Kept) -> u64 {
    (key.len() + kept.value.len()) as u64
}

/// Lets moka forget an entry once it is of no use any more.
struct AtItsEnd;

impl Expiry<Bytes, Arc<Kept>> for AtItsEnd {
    fn expire_after_create(&self, _: &Bytes, kept: &Arc<Kept>, _: std::time::Instant) -> Option<Duration> {
        let fresh = kept.fresh_until?.saturating_duration_since(kept.read_at);
        Some(fresh + kept.kept_stale)
    }

    fn expire_after_update(
        &self,
        key: &Bytes,
        kept: &Arc<Kept>,
        at: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, kept, at)
    }
}

/// The moment so many milliseconds after, or before where it is negative.
fn after(at: Instant, ms: i64) -> Instant {
    let by = Duration::from_millis(ms.unsigned_abs());
    if ms >= 0 { at + by } else { at.checked_sub(by).unwrap_or(at) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What somebody does to a key.
    #[derive(Clone, Debug)]
    enum Step {
        /// Reads it, and brings it in where it is missing.
        Read(u8),
        /// Changes it elsewhere.
        Change(u8),
        /// Lets time pass, in milliseconds.
        Wait(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..12_u8).prop_map(Step::Read),
            1 => (0..12_u8).prop_map(Step::Change),
            1 => (0..400_u16).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 1..200)
    }

    const HELD: usize = 5;
    const TTL_MS: i64 = 1000;

    /// L1 by the letter: keys with the end of their time, the least recently read first.
    #[derive(Default)]
    struct Model {
        kept: Vec<(u8, Instant)>,
    }

    impl Model {
        fn read(&mut self, key: u8, now: Instant) -> bool {
            let found = self.kept.iter().position(|(kept, _)| *kept == key);
            let is_hit = found.is_some_and(|at| now < self.kept[at].1);
            match found {
                Some(at) => {
                    let (_, until) = self.kept.remove(at);
                    self.kept.push((key, if is_hit { until } else { end(now) }));
                }
                None => {
                    if self.kept.len() == HELD {
                        self.kept.remove(0);
                    }
                    self.kept.push((key, end(now)));
                }
            }
            is_hit
        }
    }

    fn end(now: Instant) -> Instant {
        now + Duration::from_millis(TTL_MS.unsigned_abs())
    }

    proptest! {
        #[test]
        fn lru_keeps_what_a_plain_model_keeps(steps in steps()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
            runtime.block_on(async {
                let policy = Policy {
                    capacity: Capacity::EntriesMax(HELD as u64),
                    eviction: Eviction::Lru,
                    ..Policy::default()
                };
                let (l1, mut model) = (L1::new(&policy, &Arc::default()), Model::default());
                for step in steps {
                    let now = Instant::now();
                    match step {
                        Step::Read(key) => {
                            let bytes = Bytes::from(vec![key]);
                            let is_hit = l1.get(&bytes).is_some_and(|kept| kept.is_fresh(now));
                            prop_assert_eq!(is_hit, model.read(key, now), "key {}", key);
                            if !is_hit {
                                let entry = Entry { value: bytes.clone(), ttl_ms: Some(TTL_MS) };
                                l1.take(&bytes, l1.ticket(&bytes, 1, now), 1, Some(&entry));
                            }
                        }
                        Step::Change(key) => {
                            l1.changed(&[key]);
                            model.kept.retain(|(kept, _)| *kept != key);
                        }
                        Step::Wait(ms) => tokio::time::advance(Duration::from_millis(ms.into())).await,
                    }
                    l1.settle();
                }
                let bytes = model.kept.len() as u64 * 2;
                prop_assert_eq!(l1.usage(), (model.kept.len() as u64, bytes));
                Ok(())
            })?;
        }

        #[test]
        fn a_ttl_is_shortened_by_its_jitter_at_most_and_ends_to_the_millisecond(
            ttl_ms in 1..100_000_u64,
            jitter in 0..=100_u64,
            drawn in 0.0..=1.0_f64,
        ) {
            let policy = Policy { ttl_ms, ttl_jitter_percent: jitter, ..Policy::default() };
            let ttl = policy.ttl_drawn(drawn).expect("it ends");
            let least = (ttl_ms - ttl_ms * jitter / 100).max(1);
            prop_assert!((least..=ttl_ms).contains(&ttl), "{ttl} of {ttl_ms}");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
            runtime.block_on(async {
                let l1 = L1::new(&policy, &Arc::default());
                let key = Bytes::from_static(b"k");
                let entry = Entry { value: key.clone(), ttl_ms: i64::try_from(ttl).ok() };
                l1.take(&key, l1.ticket(&key, 1, Instant::now()), 1, Some(&entry));
                tokio::time::advance(Duration::from_millis(ttl - 1)).await;
                let now = Instant::now();
                prop_assert_eq!(l1.get(&key).map(|kept| (kept.is_fresh(now), kept.ttl_ms(now))), Some((true, Some(1))));
                tokio::time::advance(Duration::from_millis(1)).await;
                prop_assert!(l1.get(&key).is_none_or(|kept| !kept.is_fresh(Instant::now())));
                Ok(())
            })?;
        }
    }
}
