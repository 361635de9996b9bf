//! Queued writes: who applies them, and what became of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_cache_store::{Applied, Etag, Holder, Outcome, QueuedWrite, Write};
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;
use tokio::time::{Instant, sleep, timeout};

use crate::answer::QueuedState;
use crate::cache::Cache;
use crate::error::CacheError;
use crate::namespaces::Namespace;
use crate::policy::WriteMode;
use crate::write::{value_of, write_done};

/// Bytes at most, and for how long, that this process remembers of the keys of queued writes.
const QUEUED_KEYS_BYTES_MAX: u64 = 64 << 20;
const QUEUED_KEYS_TIME: Duration = Duration::from_secs(3600);
/// What one costs beside the key itself, roughly.
const QUEUED_KEY_OVERHEAD_BYTES: usize = 300;
/// How often a queued write is looked at while somebody waits for it.
const WAIT_POLL: Duration = Duration::from_millis(5);
/// Longest step between two looks.
const WAIT_POLL_MAX: Duration = Duration::from_millis(100);
/// How often writes that this process has not queued are looked for in a queue that another replica applies.
const OTHERS_POLL: Duration = Duration::from_millis(500);

/// Which keys the writes have that this process queued: whoever is told that one was applied must read it so.
pub(crate) struct QueuedKeys {
    keys: Moka<String, (Bytes, Option<Etag>)>,
}

impl Default for QueuedKeys {
    fn default() -> Self {
        let keys = Moka::builder()
            // The oldest leaves: by how often they are read nothing new would ever enter.
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(QUEUED_KEYS_BYTES_MAX)
            .weigher(|_: &String, (key, _): &(Bytes, Option<Etag>)| {
                u32::try_from(key.len() + QUEUED_KEY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
            })
            .time_to_live(QUEUED_KEYS_TIME)
            .build();
        Self { keys }
    }
}

impl QueuedKeys {
    pub(crate) fn add(&self, namespace: &str, id: &str, write: &Write) {
        self.keys.insert(format!("{namespace} {id}"), (Bytes::copy_from_slice(&write.key), value_of(write)));
    }

    fn get(&self, namespace: &str, id: &str) -> Option<(Bytes, Option<Etag>)> {
        self.keys.get(&format!("{namespace} {id}"))
    }
}

impl Cache {
    /// How far a queued write is; waits so long at most until its turn came.
    ///
    /// # Errors
    /// `UnknownWrite`, `Unavailable`, `Refused`.
    pub async fn queued(
        &self,
        namespace: &Arc<Namespace>,
        id: &str,
        wait: Duration,
    ) -> Result<QueuedState, CacheError> {
        if namespace.info.policy.write_mode != WriteMode::Queued {
            return Err(CacheError::UnknownWrite);
        }
        let until = Instant::now() + wait;
        let mut step = WAIT_POLL;
        loop {
            let known = self.guarded(self.store().queued(&namespace.space, id)).await?;
            let outcome = match known.ok_or(CacheError::UnknownWrite)? {
                QueuedWrite::Waiting if Instant::now() < until => {
                    sleep(step.min(until - Instant::now())).await;
                    step = (step * 2).min(WAIT_POLL_MAX);
                    continue;
                }
                QueuedWrite::Waiting => return Ok(QueuedState::Waiting),
                QueuedWrite::Ended(outcome) => outcome,
            };
            let known = self.queued_keys().get(&namespace.info.name, id);
            if let Some((key, _)) = &known {
                self.forget(namespace, key);
            }
            return Ok(match outcome {
                Outcome::Done(done) => QueuedState::Applied(write_done(done, known.and_then(|(_, etag)| etag))),
                Outcome::Refused(refusal) => QueuedState::Refused(refusal),
            });
        }
    }

    /// Applies the queues of every namespace that has one, as far as no other replica does: a step of each, round by round,
    /// so that none waits for another's end.
    pub(crate) async fn apply_queues(&self) {
        let holder = Holder { id: self.replica().to_owned(), lease_ms: millis(self.options().queue_lease) };
        loop {
            let mut furthest = Turn::NotOurs;
            for namespace in self.namespaces().all() {
                if namespace.info.policy.write_mode == WriteMode::Queued {
                    furthest = furthest.max(self.apply_step(&namespace, &holder).await);
                }
            }
            let pause = match furthest {
                Turn::MoreWait => continue,
                Turn::Done => self.options().queue_poll,
                Turn::NotOurs => OTHERS_POLL,
            };
            // Woken where this process queues a write: it applies it at once if it can.
            let _ = timeout(pause, self.queue_grew().notified()).await;
        }
    }

    /// Applies a step of a queue.
    async fn apply_step(&self, namespace: &Namespace, holder: &Holder) -> Turn {
        let step = self.options().queue_step_max;
        match self.guarded(self.store().apply_queued(&namespace.space, holder, step)).await {
            Ok(Applied::Ended { count, waiting }) if count > 0 && waiting > 0 => Turn::MoreWait,
            Ok(Applied::Ended { .. }) => Turn::Done,
            Ok(Applied::HeldByOther) => Turn::NotOurs,
            Err(error) => {
                tracing::debug!(namespace = &*namespace.info.name, %error, "queued writes wait");
                Turn::NotOurs
            }
        }
    }
}

/// How a turn at a queue ended; the greater the sooner the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Another replica applies it, or the store did not.
    NotOurs,
    /// Nothing waits any more, or the first that does cannot be applied now.
    Done,
    /// Others wait.
    MoreWait,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use headwater_cache_store::Op;

    use super::*;

    #[test]
    fn of_more_keys_than_it_remembers_the_last_are_known() {
        let keys = QueuedKeys::default();
        let write = Write { key: vec![b'k'; 1 << 16].into(), op: Op::Delete };
        for n in 0..1500 {
            keys.add("q", &n.to_string(), &write);
        }
        keys.keys.run_pending_tasks();
        assert!(keys.get("q", "1499").is_some() && keys.get("q", "0").is_none());
        assert!(keys.keys.weighted_size() <= QUEUED_KEYS_BYTES_MAX);
    }
}
