//! A store in the memory of one process: that of `headwater dev`, of tests and of simulations.
//!
//! It is shared by whoever has a clone of it, ends with the last, and goes by the clock of tokio, paused or not.

mod follow;
mod queue;
mod ranks;
mod record;
mod state;
mod write;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::mpsc, time::Instant};

use self::{follow::Following, state::State};
use crate::{
    Applied, CacheStore, EnqueueError, Entry, Expected, Got, Held, Holder, LeaseAsk, Notice, Outcome, QueuedWrite,
    Saved, Space, StoreError, StoreInfo, StoredNamespace, Write,
};

/// What is done at most while everybody else waits: values that are read, written or forgotten.
const STEPS_AT_ONCE_MAX: usize = 256;

/// How a store in memory is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryStoreOptions {
    /// Bytes that all namespaces hold together, at most. What counts: a key with its value, lease and denial, their own
    /// lengths and 512 bytes, and 256 more in a ranked namespace; a queued write its key, its value and 512; an outcome of
    /// one 128; a saved namespace its name, its body and 512. That is what they take, about. What was used least recently
    /// leaves first, whatever namespace it is in; what is queued or saved never does. Where that would be too much by
    /// itself, a write is refused as [`StoreError::Full`].
    pub bytes_max: u64,
}

impl Default for MemoryStoreOptions {
    /// 256 MiB.
    fn default() -> Self {
        Self { bytes_max: 256 << 20 }
    }
}

/// A store in memory. Clones are the same store.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    began: Instant,
    state: Mutex<State>,
}

impl Shared {
    /// Milliseconds since the store was made.
    fn now_ms(&self, now: Instant) -> i64 {
        i64::try_from(now.duration_since(self.began).as_millis()).unwrap_or(i64::MAX)
    }

    fn instant(&self, at_ms: i64) -> Instant {
        self.began + Duration::from_millis(u64::try_from(at_ms).unwrap_or(0))
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new(options: MemoryStoreOptions) -> Self {
        let state = Mutex::new(State::new(options.bytes_max));
        Self { shared: Arc::new(Shared { began: Instant::now(), state }) }
    }

    /// Does something with the state as it is now. What is past its time is forgotten on the way, a bounded part at a time.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.shared.state.lock();
        // Under the lock, so that time does not go back from one caller to the next.
        let now_ms = self.shared.now_ms(Instant::now());
        state.advance(now_ms, STEPS_AT_ONCE_MAX);
        work(&mut state)
    }
}

#[async_trait]
impl CacheStore for MemoryStore {
    async fn get(&self, space: &Space, key: &[u8], lease: Option<&LeaseAsk>) -> Result<Got, StoreError> {
        Ok(self.with(|state| state.get(space, key, lease)))
    }

    async fn batch_get(&self, space: &Space, keys: &[Bytes]) -> Vec<Result<Option<Entry>, StoreError>> {
        let mut results = Vec::with_capacity(keys.len());
        for keys in keys.chunks(STEPS_AT_ONCE_MAX) {
            self.with(|state| results.extend(keys.iter().map(|key| Ok(state.get(space, key, None).entry))));
        }
        results
    }

    async fn write(&self, space: &Space, writes: &[Write]) -> Vec<Result<Outcome, StoreError>> {
        let mut results = Vec::with_capacity(writes.len());
        for writes in writes.chunks(STEPS_AT_ONCE_MAX) {
            self.with(|state| results.extend(writes.iter().map(|write| state.write(space, write))));
        }
        results
    }

    async fn release(&self, space: &Space, key: &[u8], token: &[u8]) -> Result<(), StoreError> {
        self.with(|state| state.release(space, key, token));
        Ok(())
    }

    async fn deny(&self, space: &Space, key: &[u8], token: &[u8], why: &[u8], for_ms: u64) -> Result<(), StoreError> {
        self.with(|state| state.deny(space, key, token, why, for_ms))
    }

    async fn raise(&self, space: &Space, reads: &[(Bytes, u64)]) -> Result<(), StoreError> {
        for reads in reads.chunks(STEPS_AT_ONCE_MAX) {
            self.with(|state| {
                for (key, count) in reads {
                    state.raise(space, &space.stored_key(key).into(), *count);
                }
            });
        }
        Ok(())
    }

    async fn shrink(&self, space: &Space) -> Result<u64, StoreError> {
        let mut left = 0;
        loop {
            let step = self.with(|state| state.shrink(space, STEPS_AT_ONCE_MAX));
            left += step;
            if step == 0 {
                return Ok(left);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn flush(&self, space: &Space) -> Result<u64, StoreError> {
        let (mut values, mut from) = (0, space.prefix.clone());
        loop {
            let (step, next) = self.with(|state| state.flush(&space.prefix, &from, STEPS_AT_ONCE_MAX));
            values += step;
            match next {
                Some(next) => from = next,
                None => return Ok(values),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn held(&self, space: &Space) -> Result<Held, StoreError> {
        Ok(self.with(|state| state.held(space)))
    }

    async fn enqueue(&self, space: &Space, writes: &[Write]) -> Result<Vec<String>, EnqueueError> {
        self.with(|state| state.enqueue(space, writes))
    }

    async fn apply_queued(&self, space: &Space, holder: &Holder, writes_max: u64) -> Result<Applied, StoreError> {
        let mut total = 0;
        loop {
            let step_max = (writes_max - total).min(STEPS_AT_ONCE_MAX as u64);
            match self.with(|state| state.apply_queued(space, holder, step_max)) {
                Ok(Applied::Ended { count, waiting }) => {
                    total += count;
                    if count < step_max || waiting == 0 || total == writes_max {
                        return Ok(Applied::Ended { count: total, waiting });
                    }
                }
                // What was applied before is told first; the next call tells what stopped this one.
                Ok(Applied::HeldByOther) | Err(_) if total > 0 => {
                    let waiting = self.with(|state| state.held(space)).queued;
                    return Ok(Applied::Ended { count: total, waiting });
                }
                ended => return ended,
            }
            tokio::task::yield_now().await;
        }
    }

    async fn queued(&self, space: &Space, id: &str) -> Result<Option<QueuedWrite>, StoreError> {
        Ok(self.with(|state| state.queued(space, id)))
    }

    async fn namespaces(&self) -> Result<Vec<StoredNamespace>, StoreError> {
        Ok(self.with(|state| state.namespaces()))
    }

    async fn save_namespace(
        &self,
        name: &str,
        body: &[u8],
        expected: Expected,
        namespaces_max: usize,
    ) -> Result<Saved, StoreError> {
        self.with(|state| state.save_namespace(name, body, expected, namespaces_max))
    }

    async fn follow(&self, prefixes: &[Bytes], heard_every: Duration, notices: mpsc::Sender<Notice>) -> StoreError {
        Following::begin(self, prefixes).run(heard_every, &notices).await
    }

    async fn check(&self) -> Result<StoreInfo, StoreError> {
        let durability = "it is in the memory of this process, and all of it is lost when the process ends";
        Ok(StoreInfo { durability: durability.into(), doubts: vec![] })
    }
}
