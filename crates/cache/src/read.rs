//! Reading: L1, then the store, then the loader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use headwater_cache_store::{Entry, LeaseAsk};
use tokio::time::Instant;

use crate::answer::{Answer, Ask, Forward, Layer, Outcome};
use crate::cache::Cache;
use crate::error::CacheError;
use crate::flight::Flight;
use crate::l1::Kept;
use crate::namespaces::Namespace;

/// Reads of a key that somebody joins, one after another, before reading it alone. The second begins after the call did
/// and so answers it; more are needed only where the key is written again and again.
const ROUNDS_MAX: usize = 4;

/// Longest lease that a caller may ask for.
pub(crate) const LEASE_MAX_MS: u64 = 60_000;

/// What L1 says of a key.
enum Look {
    Answer(Answer),
    /// Ask the store, for this reason.
    Ask(Forward),
}

impl Cache {
    /// Reads a key. That there is no value is an answer.
    ///
    /// # Errors
    /// `Invalid`; where L1 does not have it, also `Unavailable`, `Refused`, `LoadFailed`.
    pub async fn get(&self, namespace: &Arc<Namespace>, key: &Bytes, ask: &Ask) -> Result<Answer, CacheError> {
        namespace.check_key(key)?;
        if let Some(lease_ms) = ask.lease_ms
            && !(1..=LEASE_MAX_MS).contains(&lease_ms)
        {
            return Err(CacheError::Invalid {
                field: "lease_ms",
                rule: "int64.range",
                description: format!("must be 1 to {LEASE_MAX_MS}, or 0 for 10000"),
            });
        }
        let answer = match self.look(namespace, key, ask) {
            Look::Answer(answer) => Ok(answer),
            Look::Ask(forward) => {
                let answer = if ask.no_cache || ask.lease_ms.is_some() {
                    self.get_alone(namespace, key, ask).await
                } else {
                    self.get_together(namespace, key).await
                };
                answer
                    .map(|answer| Answer { forward: Some(forward), ..answer })
                    .or_else(|error| self.stale_if_error(namespace, key, forward, error))
            }
        };
        namespace.count(answer.as_ref().ok());
        answer
    }

    /// Reads keys: one result per key, in order. What L1 does not have is read together.
    pub async fn batch_get(
        &self,
        namespace: &Arc<Namespace>,
        keys: &[Bytes],
        no_cache: bool,
    ) -> Vec<Result<Answer, CacheError>> {
        let ask = Ask { no_cache, lease_ms: None };
        let mut wanted: Vec<Bytes> = Vec::with_capacity(keys.len());
        let look = |key: &Bytes| {
            namespace.check_key(key)?;
            let look = self.look(namespace, key, &ask);
            if let Look::Ask(_) = look {
                wanted.push(key.clone());
            }
            Ok(look)
        };
        let looks: Vec<Result<Look, CacheError>> = keys.iter().map(look).collect();
        let mut read = self.batch_from_store(namespace, &wanted, no_cache).await.into_iter();
        let answer = |(look, key): (Result<Look, CacheError>, &Bytes)| {
            let answer = match look {
                Ok(Look::Answer(answer)) => Ok(answer),
                Ok(Look::Ask(forward)) => match read.next() {
                    Some(Ok(mut answer)) => {
                        answer.forward = Some(forward);
                        Ok(answer)
                    }
                    Some(Err(error)) => self.stale_if_error(namespace, key, forward, error),
                    None => Err(CacheError::Internal("a key of a batch has no answer".into())),
                },
                Err(error) => Err(error),
            };
            namespace.count(answer.as_ref().ok());
            answer
        };
        looks.into_iter().zip(keys).map(answer).collect()
    }

    fn look(&self, namespace: &Arc<Namespace>, key: &Bytes, ask: &Ask) -> Look {
        if ask.no_cache {
            return Look::Ask(Forward::Request);
        }
        let Some(kept) = namespace.l1.get(key) else { return Look::Ask(Forward::Miss) };
        let now = Instant::now();
        if !self.coherence().vouches(kept.epoch, now) {
            return Look::Ask(Forward::Bypass);
        }
        if kept.is_fresh(now) {
            namespace.raise(key, 1);
            return Look::Answer(Answer::kept(&kept, Outcome::Hit, now));
        }
        if ask.lease_ms.is_none() && namespace.may_serve_meanwhile(kept.ttl_ms(now)) {
            if namespace.loader.is_some() {
                // It is made anew meanwhile.
                drop(self.join(namespace, key));
            }
            return Look::Answer(Answer::kept(&kept, Outcome::Stale, now));
        }
        Look::Ask(Forward::Stale)
    }

    /// What L1 has, where the namespace allows to serve it instead of an error.
    fn stale_if_error(
        &self,
        namespace: &Namespace,
        key: &[u8],
        forward: Forward,
        error: CacheError,
    ) -> Result<Answer, CacheError> {
        let most_ms = namespace.info.policy.stale_if_error_ms;
        let may = most_ms > 0 && matches!(error, CacheError::Unavailable(_) | CacheError::LoadFailed { .. });
        let Some(kept) = may.then(|| namespace.l1.get(key)).flatten() else { return Err(error) };
        let now = Instant::now();
        // Since when it may be otherwise: the last moment that somebody vouched for it, or the end of its time to live.
        let heard = self.coherence().heard_at().filter(|_| kept.epoch == self.coherence().epoch());
        let vouched = heard.unwrap_or(kept.read_at).max(kept.read_at);
        let since = kept.fresh_until.map_or(vouched, |until| until.min(vouched));
        if now < since + Duration::from_millis(most_ms) {
            let answer = Answer::kept(&kept, Outcome::Stale, now);
            return Ok(Answer { forward: Some(forward), detail: Some(error.to_string()), ..answer });
        }
        Err(error)
    }

    /// Reads a key for one caller only: the answer is the store's own, or carries a lease. L1 has no part in it.
    async fn get_alone(&self, namespace: &Arc<Namespace>, key: &Bytes, ask: &Ask) -> Result<Answer, CacheError> {
        let lease = ask.lease_ms.map(|for_ms| LeaseAsk { token: new_token(), for_ms });
        let got = self.guarded(self.store().get(&namespace.space, key, lease.as_ref())).await?;
        let lease = lease.filter(|_| got.is_leased).map(|lease| lease.token);
        let is_answer = lease.is_some() || got.entry.as_ref().is_some_and(Entry::is_fresh);
        if namespace.loader.is_some() && !is_answer {
            return self.get_together(namespace, key).await;
        }
        let answer = namespace.answer_from_store(got.entry);
        Ok(Answer { lease, ..answer })
    }

    /// Reads a key once for all who ask for it.
    async fn get_together(&self, namespace: &Arc<Namespace>, key: &Bytes) -> Result<Answer, CacheError> {
        let asked = self.next_beginning();
        for _ in 0..ROUNDS_MAX {
            let (flight, is_mine) = self.join(namespace, key);
            if let Some(answer) = flight.landed(asked).await {
                if !is_mine {
                    namespace.raise(key, 1);
                }
                return answer.map(|answer| Answer { is_collapsed: !is_mine, ..answer });
            }
        }
        let epoch = self.coherence().epoch();
        let ticket = namespace.l1.ticket(key, epoch, Instant::now());
        let got = self.guarded(self.store().get(&namespace.space, key, None)).await?;
        namespace.l1.take(key, ticket, self.coherence().epoch(), got.entry.as_ref());
        Ok(namespace.answer_from_store(got.entry))
    }

    /// The read of a key that is under way, or one that begins now; whether it is the latter.
    fn join(&self, namespace: &Arc<Namespace>, key: &Bytes) -> (Arc<Flight>, bool) {
        let (epoch, now) = (self.coherence().epoch(), Instant::now());
        let mut stripe = namespace.l1.stripe(key);
        // A load may take long: one that began before the bound is joined only while changes of its key would be known.
        let is_joined = |flight: &&Arc<Flight>| {
            let is_known = now.saturating_duration_since(flight.began_at) < self.options().staleness_max
                || self.coherence().vouches(flight.epoch, now);
            is_known && flight.may_be_joined()
        };
        if let Some(flight) = stripe.flights.get(key).filter(is_joined) {
            return (Arc::clone(flight), false);
        }
        let (flight, tell) = Flight::new(self.next_beginning(), now, epoch);
        stripe.flights.insert(key.clone(), Arc::clone(&flight));
        let ticket = stripe.ticket(epoch, now);
        drop(stripe);
        let leave = Leave { namespace: Arc::clone(namespace), key: key.clone(), flight: Arc::clone(&flight) };
        let cache = self.clone();
        tokio::spawn(async move {
            cache.read_through(&leave.namespace, &leave.key, ticket, tell).await;
            drop(leave);
        });
        (flight, true)
    }

    async fn batch_from_store(
        &self,
        namespace: &Arc<Namespace>,
        keys: &[Bytes],
        no_cache: bool,
    ) -> Vec<Result<Answer, CacheError>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let (epoch, now) = (self.coherence().epoch(), Instant::now());
        let filled = if no_cache { &[] } else { keys };
        let tickets: Vec<_> = filled.iter().map(|key| namespace.l1.ticket(key, epoch, now)).collect();
        let entries = match self.admitted() {
            Ok(()) => {
                let read = self.store().batch_get(&namespace.space, keys).await;
                self.judge(read.iter().map(|result| result.as_ref().err()));
                read
            }
            Err(error) => return vec![Err(error); keys.len()],
        };
        let epoch = self.coherence().epoch();
        for ((key, ticket), entry) in filled.iter().zip(tickets).zip(&entries) {
            if let Ok(entry) = entry {
                namespace.l1.take(key, ticket, epoch, entry.as_ref());
            }
        }
        if namespace.loader.is_none() {
            return entries.into_iter().map(|entry| Ok(namespace.answer_from_store(entry?))).collect();
        }
        let through = keys.iter().zip(entries).map(|(key, entry)| async move {
            match entry? {
                Some(entry) if entry.is_fresh() => Ok(namespace.answer_from_store(Some(entry))),
                _ => self.get_together(namespace, key).await,
            }
        });
        join_all(through).await
    }
}

impl Namespace {
    pub(crate) fn check_key(&self, key: &[u8]) -> Result<(), CacheError> {
        let most = self.info.policy.key_bytes_max;
        if (1..=most).contains(&(key.len() as u64)) {
            return Ok(());
        }
        Err(CacheError::Invalid {
            field: "key",
            rule: if key.is_empty() { "bytes.min_len" } else { "bytes.max_len" },
            description: format!(
                "has {} bytes, must have 1 to {most} (key_bytes_max of the namespace {:?})",
                key.len(),
                self.info.name
            ),
        })
    }

    /// What an entry of the store answers, without a loader.
    pub(crate) fn answer_from_store(&self, entry: Option<Entry>) -> Answer {
        match entry {
            Some(entry) if entry.is_fresh() => Answer::stored(entry, Outcome::Hit, Layer::L2),
            Some(entry) if self.may_serve_meanwhile(entry.ttl_ms) => Answer::stored(entry, Outcome::Stale, Layer::L2),
            _ => Answer::miss(Layer::L2),
        }
    }

    /// Whether a value with this time left may be served while it is made anew.
    pub(crate) fn may_serve_meanwhile(&self, ttl_ms: Option<i64>) -> bool {
        ttl_ms.is_none_or(|ttl_ms| {
            ttl_ms.saturating_neg() < i64::try_from(self.info.policy.stale_while_revalidate_ms).unwrap_or(0)
        })
    }

    /// For how long a stale value with this time left may still be served while it is made anew.
    pub(crate) fn meanwhile(&self, ttl_ms: Option<i64>) -> Duration {
        let stale_ms = u64::try_from(ttl_ms.unwrap_or(0).saturating_neg()).unwrap_or(0);
        Duration::from_millis(self.info.policy.stale_while_revalidate_ms.saturating_sub(stale_ms))
    }

    /// Counts a read that the store did not see.
    fn raise(&self, key: &Bytes, count: u64) {
        if matches!(self.space.layout, headwater_cache_store::Layout::Ranked { .. }) && !self.ranks.add(key, count) {
            self.counts.ranks_dropped.add(count);
        }
    }

    fn count(&self, answer: Option<&Answer>) {
        let counts = &self.counts;
        let Some(answer) = answer else { return counts.failed.add(1) };
        if answer.is_collapsed {
            counts.collapsed.add(1);
        }
        match (answer.outcome, answer.layer) {
            (Outcome::Hit, Layer::L1) => counts.l1_hits.add(1),
            (Outcome::Hit, Layer::L2) => counts.l2_hits.add(1),
            (Outcome::Hit, Layer::Loader) => counts.loader_hits.add(1),
            (Outcome::Miss, _) => counts.misses.add(1),
            (Outcome::Stale, Layer::L1) => counts.stale_l1.add(1),
            (Outcome::Stale, _) => counts.stale_l2.add(1),
        }
    }
}

impl Answer {
    pub(crate) fn stored(entry: Entry, outcome: Outcome, layer: Layer) -> Self {
        Self { value: Some(entry.value), ttl_ms: entry.ttl_ms, outcome, ..Self::miss(layer) }
    }

    fn kept(kept: &Kept, outcome: Outcome, now: Instant) -> Self {
        Self { value: Some(kept.value.clone()), ttl_ms: kept.ttl_ms(now), outcome, ..Self::miss(Layer::L1) }
    }
}

/// Takes a read from those under way, however its task ends.
struct Leave {
    namespace: Arc<Namespace>,
    key: Bytes,
    flight: Arc<Flight>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut stripe = self.namespace.l1.stripe(&self.key);
        if stripe.flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            stripe.flights.remove(&self.key);
        }
    }
}

/// A token that nobody had before.
pub(crate) fn new_token() -> Bytes {
    Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes())
}
