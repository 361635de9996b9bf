//! A replica's way to the one store: slow, sometimes without an answer, and with notices that are late, held up or cut off.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use headwater_cache_store::memory::MemoryStore;
use headwater_cache_store::{
    Applied, CacheStore, EnqueueError, Entry, Expected, Got, Held, Holder, LeaseAsk, Notice, Outcome, QueuedWrite,
    Saved, Space, StoreError, StoreInfo, StoredNamespace, Write,
};
use std::sync::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long the store's answer is waited for, as a real one's.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// How long the link may be silent before it is taken for lost, as a real one's.
const SILENT_MAX: Duration = Duration::from_secs(1);
/// Of a thousand calls, those that are done and whose answers are lost.
const LOST_OF_1000: u32 = 8;

/// What becomes of notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notices {
    Told,
    Late(Duration),
    Held,
    CutOff,
}

/// The way of one replica.
pub(crate) struct Link {
    store: MemoryStore,
    notices: watch::Receiver<Notices>,
    is_paused: watch::Receiver<bool>,
    rng: Mutex<Rng>,
}

impl Link {
    pub(crate) fn new(
        store: &MemoryStore,
        notices: &watch::Sender<Notices>,
        is_paused: &watch::Sender<bool>,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            notices: notices.subscribe(),
            is_paused: is_paused.subscribe(),
            rng: Mutex::new(Rng::with_seed(seed)),
        })
    }

    /// Does something on the store: on the way there and back it takes its time, and it is done also where nobody waits for it
    /// any more.
    async fn call<T, F>(&self, work: impl FnOnce(MemoryStore) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (there, back, is_lost) = {
            let mut rng = self.rng.lock().unwrap();
            let mut way =
                || Duration::from_micros(if rng.u32(..10) == 0 { rng.u64(..60_000) } else { rng.u64(..2000) });
            (way(), way(), rng.u32(..1000) < LOST_OF_1000)
        };
        let mut is_paused = self.is_paused.clone();
        let work = work(self.store.clone());
        let doing = tokio::spawn(async move {
            sleep(there).await;
            let _ = is_paused.wait_for(|is_paused| !is_paused).await;
            let done = work.await;
            sleep(back).await;
            let _ = is_paused.wait_for(|is_paused| !is_paused).await;
            done
        });
        match timeout(ANSWER_WITHIN, doing).await {
            Ok(Ok(done)) if !is_lost => Ok(done),
            _ => Err(StoreError::Unavailable("no answer".into())),
        }
    }

    /// Hands notices on, as they may be, until they are cut off.
    async fn hand_on(&self, mut told: mpsc::Receiver<Notice>, notices: mpsc::Sender<Notice>) {
        let (mut rule, mut is_paused) = (self.notices.clone(), self.is_paused.clone());
        let mut waiting: VecDeque<(Instant, Notice)> = VecDeque::new();
        loop {
            let rule_now = *rule.borrow_and_update();
            let held = *is_paused.borrow_and_update() || rule_now == Notices::Held;
            let first = waiting.front().map(|(came_at, _)| *came_at);
            let due = match (first, rule_now) {
                (_, Notices::CutOff) => return,
                (Some(came_at), _) if came_at.elapsed() >= SILENT_MAX => return,
                (Some(came_at), _) if held => came_at + SILENT_MAX,
                (Some(came_at), Notices::Late(by)) => came_at + by,
                (Some(came_at), _) => came_at,
                (None, _) => Instant::now() + SILENT_MAX,
            };
            tokio::select! {
                notice = told.recv() => match notice {
                    Some(notice) => waiting.push_back((Instant::now(), notice)),
                    None => return,
                },
                () = sleep_until(due), if first.is_some() => {
                    if !held
                        && let Some((_, notice)) = waiting.pop_front()
                        && notices.send(notice).await.is_err()
                    {
                        return;
                    }
                }
                _ = rule.changed() => {}
                _ = is_paused.changed() => {}
            }
        }
    }
}

#[async_trait]
impl CacheStore for Link {
    async fn get(&self, space: &Space, key: &[u8], lease: Option<&LeaseAsk>) -> Result<Got, StoreError> {
        let (space, key, lease) = (space.clone(), key.to_vec(), lease.cloned());
        self.call(|store| async move { store.get(&space, &key, lease.as_ref()).await }).await?
    }

    async fn batch_get(&self, space: &Space, keys: &[Bytes]) -> Vec<Result<Option<Entry>, StoreError>> {
        let (space, wanted) = (space.clone(), keys.to_vec());
        let read = self.call(|store| async move { store.batch_get(&space, &wanted).await }).await;
        read.unwrap_or_else(|error| vec![Err(error); keys.len()])
    }

    async fn write(&self, space: &Space, writes: &[Write]) -> Vec<Result<Outcome, StoreError>> {
        let (space, asked) = (space.clone(), writes.to_vec());
        let written = self.call(|store| async move { store.write(&space, &asked).await }).await;
        written.unwrap_or_else(|error| vec![Err(error); writes.len()])
    }

    async fn release(&self, space: &Space, key: &[u8], token: &[u8]) -> Result<(), StoreError> {
        let (space, key, token) = (space.clone(), key.to_vec(), token.to_vec());
        self.call(|store| async move { store.release(&space, &key, &token).await }).await?
    }

    async fn deny(&self, space: &Space, key: &[u8], token: &[u8], why: &[u8], for_ms: u64) -> Result<(), StoreError> {
        let (space, key, token, why) = (space.clone(), key.to_vec(), token.to_vec(), why.to_vec());
        self.call(|store| async move { store.deny(&space, &key, &token, &why, for_ms).await }).await?
    }

    async fn follow(&self, prefixes: &[Bytes], heard_every: Duration, notices: mpsc::Sender<Notice>) -> StoreError {
        let (sender, told) = mpsc::channel(16);
        tokio::select! {
            error = self.store.follow(prefixes, heard_every, sender) => error,
            () = self.hand_on(told, notices) => StoreError::Unavailable("the link was lost".into()),
        }
    }

    // Nobody here ranks or queues.
    async fn raise(&self, space: &Space, reads: &[(Bytes, u64)]) -> Result<(), StoreError> {
        self.store.raise(space, reads).await
    }

    async fn shrink(&self, space: &Space) -> Result<u64, StoreError> {
        self.store.shrink(space).await
    }

    async fn flush(&self, space: &Space) -> Result<u64, StoreError> {
        self.store.flush(space).await
    }

    async fn held(&self, space: &Space) -> Result<Held, StoreError> {
        self.store.held(space).await
    }

    async fn enqueue(&self, space: &Space, writes: &[Write]) -> Result<Vec<String>, EnqueueError> {
        self.store.enqueue(space, writes).await
    }

    async fn apply_queued(&self, space: &Space, holder: &Holder, writes_max: u64) -> Result<Applied, StoreError> {
        self.store.apply_queued(space, holder, writes_max).await
    }

    async fn queued(&self, space: &Space, id: &str) -> Result<Option<QueuedWrite>, StoreError> {
        self.store.queued(space, id).await
    }

    async fn namespaces(&self) -> Result<Vec<StoredNamespace>, StoreError> {
        self.store.namespaces().await
    }

    async fn save_namespace(
        &self,
        name: &str,
        body: &[u8],
        expected: Expected,
        namespaces_max: usize,
    ) -> Result<Saved, StoreError> {
        self.store.save_namespace(name, body, expected, namespaces_max).await
    }

    async fn check(&self) -> Result<StoreInfo, StoreError> {
        self.store.check().await
    }
}
