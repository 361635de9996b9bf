//! Queued writes: who applies them, and what became of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_cache_store::{Applied, Etag, Holder, Outcome, QueuedWrite, Write};
use moka::sync::Cache as Moka;
use tokio::time::{Instant, sleep, timeout};

use crate::answer::QueuedState;
use crate::cache::Cache;
use crate::error::CacheError;
use crate::namespaces::Namespace;
use crate::policy::WriteMode;
use crate::write::{value_of, write_done};

/// Queued writes at most whose keys this process remembers.
const QUEUED_KEYS_MAX: u64 = 100_000;
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
        Self { keys: Moka::new(QUEUED_KEYS_MAX) }
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
                namespace.l1.changed(key);
            }
            return Ok(match outcome {
                Outcome::Done(done) => QueuedState::Applied(write_done(done, known.and_then(|(_, etag)| etag))),
                Outcome::Refused(refusal) => QueuedState::Refused(refusal),
            });
        }
    }

    /// Applies the queues of every namespace that has one, as far as no other replica does.
    pub(crate) async fn apply_queues(&self) {
        let holder = Holder { id: self.replica().to_owned(), lease_ms: millis(self.options().queue_lease) };
        loop {
            let mut is_ours = false;
            for namespace in self.namespaces().all() {
                if namespace.info.policy.write_mode == WriteMode::Queued {
                    is_ours |= self.apply_queue(&namespace, &holder).await;
                }
            }
            let pause = if is_ours { self.options().queue_poll } else { OTHERS_POLL };
            // Woken where this process queues a write: it applies it at once if it can.
            let _ = timeout(pause, self.queue_grew().notified()).await;
        }
    }

    /// Applies a queue until it is empty; whether it is this replica that does.
    async fn apply_queue(&self, namespace: &Namespace, holder: &Holder) -> bool {
        loop {
            let step = self.options().queue_step_max;
            match self.guarded(self.store().apply_queued(&namespace.space, holder, step)).await {
                Ok(Applied::Ended { count, waiting }) if count > 0 && waiting > 0 => {}
                Ok(Applied::Ended { .. }) => return true,
                Ok(Applied::HeldByOther) => return false,
                Err(error) => {
                    tracing::debug!(namespace = &*namespace.info.name, %error, "queued writes wait");
                    return false;
                }
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
