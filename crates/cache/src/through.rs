//! One read of a key in the store, and through it to the namespace's loader.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use headwater_cache_store::{self as store, Condition, Entry, LeaseAsk, Op, Write};
use headwater_planted::Bug;
use tokio::time::{Instant, sleep, timeout};

use crate::answer::{Answer, Layer, Outcome};
use crate::cache::Cache;
use crate::error::CacheError;
use crate::flight::{Landed, Tell};
use crate::l1::Ticket;
use crate::load::{LoadError, Loaded, Loader};
use crate::measure::{label, name};
use crate::namespaces::Namespace;
use crate::read::new_token;

/// How often a key is looked at while another replica loads it.
const OTHERS_LOAD_POLL: Duration = Duration::from_millis(20);
/// How much longer than a load its lease holds, so that what was loaded at the last moment can still be written.
const LEASE_SLACK: Duration = Duration::from_secs(1);
/// Loads of a key, one after another, while writes take their leases away.
const LOADS_MAX: usize = 3;
/// What is remembered where the loader found nothing.
const NOTHING: &[u8] = b"0";
/// What the text begins with that is remembered where the loader failed.
const FAILED: u8 = b'!';
/// Bytes of such a text at most.
const FAILED_BYTES_MAX: usize = 512;

/// What a look at the store found.
enum Seen {
    /// An answer; whether it is stale and to be made anew is told apart.
    Answer(Answer),
    /// Nothing fresh, and the right to load it; what is stale.
    Leased(Option<Entry>),
    /// Nothing fresh, and another replica loads it; what is stale.
    Others(Option<Entry>),
}

impl Cache {
    /// Reads a key for all who wait for it, and tells them.
    pub(crate) async fn read_through(&self, namespace: &Arc<Namespace>, key: &Bytes, ticket: Ticket, tell: Tell) {
        let land = |answer, is_for_all| {
            tell.send_replace(Some(Landed { answer, is_for_all, until: None }));
        };
        let Some(loader) = &namespace.loader else {
            let got = self.guarded(self.store().get(&namespace.space, key, None)).await;
            if let Ok(got) = &got {
                namespace.l1.take(key, ticket, self.coherence().epoch(), got.entry.as_ref());
            }
            let is_failure = got.is_err();
            return land(got.map(|got| namespace.answer_from_store(got.entry)), is_failure);
        };
        let mut token = new_token();
        let until = Instant::now() + self.options().load_timeout + LEASE_SLACK;
        let mut is_first = true;
        // Taken once there is something to load or to wait for, and kept to the end.
        let mut place = None;
        loop {
            let seen = match self.see(namespace, key, &token, is_first.then_some(ticket)).await {
                Ok(seen) => seen,
                Err(error) => return land(Err(error), true),
            };
            let stale = match seen {
                Seen::Answer(answer) => return land(Ok(answer), !is_first),
                Seen::Leased(ref stale) | Seen::Others(ref stale) => stale.clone(),
            };
            let meanwhile = stale.clone().filter(|entry| namespace.may_serve_meanwhile(entry.ttl_ms));
            let is_served = meanwhile.is_some();
            if let Some(entry) = meanwhile {
                // Whoever asks later than that waits for the load.
                let until = Some(Instant::now() + namespace.meanwhile(entry.ttl_ms));
                let answer = Ok(Answer::stored(entry, Outcome::Stale, Layer::L2));
                tell.send_replace(Some(Landed { answer, is_for_all: true, until }));
            }
            if place.is_none() {
                place = self.may_load();
            }
            if place.is_none() {
                if let Seen::Leased(_) = seen {
                    self.give_up(namespace, key, &token).await;
                }
                if !is_served {
                    land(Err(CacheError::TooManyLoads(self.options().loads_max)), true);
                }
                return;
            }
            if let Seen::Leased(_) = seen {
                if let Some(loaded) = self.load(namespace, loader.as_ref(), key, token).await.transpose() {
                    return land(stale_if_failed(namespace, loaded, stale), true);
                }
                token = new_token();
            }
            if is_served {
                return;
            }
            if Instant::now() >= until {
                let why = "another replica's load of it did not end".into();
                return land(Err(CacheError::LoadFailed { why, for_ms: 0 }), true);
            }
            is_first = false;
            sleep(OTHERS_LOAD_POLL).await;
        }
    }

    /// Looks at the store, and asks for the right to load what is missing.
    async fn see(
        &self,
        namespace: &Namespace,
        key: &Bytes,
        token: &Bytes,
        ticket: Option<Ticket>,
    ) -> Result<Seen, CacheError> {
        let lease = LeaseAsk { token: token.clone(), for_ms: millis(self.options().load_timeout + LEASE_SLACK) };
        let got = self.guarded(self.store().get(&namespace.space, key, Some(&lease))).await?;
        if let Some(ticket) = ticket {
            namespace.l1.take(key, ticket, self.coherence().epoch(), got.entry.as_ref());
        }
        Ok(match got {
            store::Got { entry: Some(entry), .. } if entry.is_fresh() => {
                Seen::Answer(Answer::stored(entry, Outcome::Hit, Layer::L2))
            }
            store::Got { denied: Some((why, for_ms)), .. } => Seen::Answer(denied(&why, for_ms)?),
            store::Got { is_leased: true, entry, .. } => Seen::Leased(entry),
            store::Got { entry, .. } => Seen::Others(entry),
        })
    }

    /// Loads a key with the lease, and writes it with it. None: it was written meanwhile, and another replica loads it now;
    /// what was loaded here may be older than that write, and nobody is told of one that leaves a key without a value.
    async fn load(
        &self,
        namespace: &Arc<Namespace>,
        loader: &dyn Loader,
        key: &Bytes,
        mut token: Bytes,
    ) -> Result<Option<Answer>, CacheError> {
        let space = &namespace.space;
        let mut answer = None;
        for _ in 0..LOADS_MAX {
            let Some(loaded) = self.load_once(namespace, loader, key, &token).await? else {
                return Ok(Some(Answer::miss(Layer::Loader)));
            };
            let ttl_ms = loaded.ttl_ms.or_else(|| namespace.info.policy.ttl_drawn(rand::random()));
            let condition =
                if headwater_planted::is(Bug::FillWithoutLease) { Condition::Any } else { Condition::Lease(token) };
            let put = Op::Put { value: loaded.value.clone(), ttl_ms, condition };
            let write = Write { key: key.clone(), op: put };
            let written = self.guarded(self.write_one(space, write)).await;
            self.forget(namespace, key);
            let entry = Entry { value: loaded.value, ttl_ms: ttl_ms.and_then(|ttl_ms| i64::try_from(ttl_ms).ok()) };
            let made = Answer::stored(entry, Outcome::Hit, Layer::Loader);
            match written {
                Ok(store::Outcome::Done(_)) => return Ok(Some(made)),
                // It serves those who wait, and nobody else.
                Err(error) => return Ok(Some(Answer { detail: Some(error.to_string()), ..made })),
                Ok(store::Outcome::Refused(_)) => {}
            }
            // The key was written meanwhile: what was loaded may be older than that.
            answer = Some(made);
            token = new_token();
            match self.see(namespace, key, &token, None).await? {
                Seen::Answer(answer) => return Ok(Some(answer)),
                Seen::Leased(_) => {}
                Seen::Others(_) => return Ok(None),
            }
        }
        Ok(answer)
    }

    /// Asks the loader once, and has the store remember where it found nothing or failed.
    async fn load_once(
        &self,
        namespace: &Arc<Namespace>,
        loader: &dyn Loader,
        key: &Bytes,
        token: &[u8],
    ) -> Result<Option<Loaded>, CacheError> {
        let policy = &namespace.info.policy;
        let began = Instant::now();
        let limit = self.options().load_timeout;
        let load = AssertUnwindSafe(loader.load(key)).catch_unwind();
        let (loaded, outcome) = match timeout(limit, load).await {
            Err(_) => (Err(LoadError(format!("it took longer than {} ms", limit.as_millis()))), "cut"),
            Ok(Err(_)) => (Err(LoadError("the loader panicked".into())), "failed"),
            Ok(Ok(Ok(Some(loaded)))) if loaded.value.len() as u64 > policy.value_bytes_max => {
                let (bytes, most) = (loaded.value.len(), policy.value_bytes_max);
                (Err(LoadError(format!("it has {bytes} bytes, {most} at most are kept (value_bytes_max)"))), "large")
            }
            Ok(Ok(Ok(Some(loaded)))) => (Ok(Some(loaded)), "loaded"),
            Ok(Ok(Ok(None))) => (Ok(None), "nothing"),
            Ok(Ok(Err(error))) => (Err(error), "failed"),
        };
        let labels = [name(&namespace.info.name), label("outcome", outcome)];
        self.measures().load_s.record(began.elapsed().as_secs_f64(), &labels);
        let (remembered, result) = match loaded {
            Ok(Some(loaded)) => return Ok(Some(loaded)),
            Ok(None) => (NOTHING.to_vec(), Ok(None)),
            Err(LoadError(why)) => {
                let mut text = vec![FAILED];
                text.extend(why.bytes().take(FAILED_BYTES_MAX));
                (text, Err(CacheError::LoadFailed { why, for_ms: policy.negative_ttl_ms }))
            }
        };
        match policy.negative_ttl_ms {
            0 => self.give_up(namespace, key, token).await,
            for_ms => {
                if let Err(error) = self.store().deny(&namespace.space, key, token, &remembered, for_ms).await {
                    tracing::debug!(%error, "what a loader said is not remembered");
                }
            }
        }
        result
    }

    /// Lets another load the key.
    async fn give_up(&self, namespace: &Namespace, key: &[u8], token: &[u8]) {
        if let Err(error) = self.store().release(&namespace.space, key, token).await {
            tracing::debug!(%error, "a lease is left to its end");
        }
    }
}

/// What is stale instead of the failure, where the namespace allows it.
fn stale_if_failed(
    namespace: &Namespace,
    loaded: Result<Answer, CacheError>,
    stale: Option<Entry>,
) -> Result<Answer, CacheError> {
    let error = match loaded {
        Err(error @ CacheError::LoadFailed { .. }) => error,
        other => return other,
    };
    let most = i64::try_from(namespace.info.policy.stale_if_error_ms).unwrap_or(0);
    match stale.filter(|entry| entry.ttl_ms.is_none_or(|ttl_ms| ttl_ms.saturating_neg() < most)) {
        Some(entry) => {
            Ok(Answer { detail: Some(error.to_string()), ..Answer::stored(entry, Outcome::Stale, Layer::L2) })
        }
        None => Err(error),
    }
}

/// What was remembered of a load, as it was then.
fn denied(why: &[u8], for_ms: i64) -> Result<Answer, CacheError> {
    match why.strip_prefix(&[FAILED]) {
        None => Ok(Answer { ttl_ms: Some(for_ms), ..Answer::miss(Layer::L2) }),
        Some(text) => Err(CacheError::LoadFailed {
            why: String::from_utf8_lossy(text).into_owned(),
            for_ms: u64::try_from(for_ms).unwrap_or(0),
        }),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
