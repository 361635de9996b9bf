//! Caches over one store whose answers can be delayed, refused, and whose link can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use headwater_cache::{
    Answer, Ask, Cache, CacheError, CacheOptions, Condition, Declared, OpAsk, WriteAsk, WriteDone, Written,
};
use headwater_cache_store::memory::{MemoryStore, MemoryStoreOptions};
use headwater_cache_store::{
    Applied, CacheStore, EnqueueError, Entry, Expected, Got, Held, Holder, LeaseAsk, Notice, Outcome, QueuedWrite,
    Saved, Space, StoreError, StoreInfo, StoredNamespace, Write,
};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::metrics::noop::NoopMeterProvider;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A store with faults to order.
pub(crate) struct Store {
    inner: MemoryStore,
    pub(crate) is_away: AtomicBool,
    /// Whether the link tells nothing any more, without ending.
    pub(crate) is_link_black: AtomicBool,
    /// Whether the link is down.
    pub(crate) is_link_cut: AtomicBool,
    pub(crate) answer_delay_ms: AtomicU64,
    pub(crate) reads: AtomicUsize,
}

/// A replica, which ends with its handle.
pub(crate) struct Replica {
    pub(crate) cache: Cache,
    run: JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.run.abort();
    }
}

impl std::ops::Deref for Replica {
    type Target = Cache;
    fn deref(&self) -> &Cache {
        &self.cache
    }
}

pub(crate) fn store() -> Arc<Store> {
    Arc::new(Store {
        inner: MemoryStore::new(MemoryStoreOptions::default()),
        is_away: AtomicBool::new(false),
        is_link_black: AtomicBool::new(false),
        is_link_cut: AtomicBool::new(false),
        answer_delay_ms: AtomicU64::new(0),
        reads: AtomicUsize::new(0),
    })
}

pub(crate) fn options() -> CacheOptions {
    CacheOptions::default()
}

/// A replica that has heard of the store.
pub(crate) async fn replica(store: &Arc<Store>, options: CacheOptions, declared: Vec<Declared>) -> Replica {
    let meter = NoopMeterProvider::new().meter("test");
    let cache = Cache::new(Arc::clone(store) as Arc<dyn CacheStore>, options, declared, &meter).expect("cache");
    let runs = cache.clone();
    let run = tokio::spawn(async move { runs.run(|_: &str, _: Option<String>| {}).await });
    let replica = Replica { cache, run };
    replica.hears().await;
    replica
}

impl Replica {
    /// Waits until it may hit L1: a key that is read twice is a hit of L1.
    pub(crate) async fn hears(&self) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Answer, CacheError> {
        self.get_in("", key).await
    }

    pub(crate) async fn get_in(&self, namespace: &str, key: &str) -> Result<Answer, CacheError> {
        let namespace = self.cache.namespace(namespace)?;
        self.cache.get(&namespace, &bytes(key), &Ask::default()).await
    }

    /// The value, and the layer that it is from.
    pub(crate) async fn value(&self, key: &str) -> Option<String> {
        self.get(key).await.expect("answer").value.map(|value| text(&value))
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> WriteDone {
        self.put_in("", key, value).await.expect("written")
    }

    pub(crate) async fn put_in(&self, namespace: &str, key: &str, value: &str) -> Result<WriteDone, CacheError> {
        let op = OpAsk::Put { value: bytes(value), ttl_ms: None, condition: Condition::Any };
        self.op_in(namespace, key, op).await
    }

    pub(crate) async fn op(&self, key: &str, op: OpAsk) -> Result<WriteDone, CacheError> {
        self.op_in("", key, op).await
    }

    pub(crate) async fn op_in(&self, namespace: &str, key: &str, op: OpAsk) -> Result<WriteDone, CacheError> {
        match self.write_in(namespace, key, op).await? {
            Written::Done(done) => Ok(done),
            Written::Queued(id) => panic!("queued: {id}"),
        }
    }

    pub(crate) async fn write_in(&self, namespace: &str, key: &str, op: OpAsk) -> Result<Written, CacheError> {
        let namespace = self.cache.namespace(namespace)?;
        let mut results = self.cache.write(&namespace, vec![WriteAsk { key: bytes(key), op }]).await;
        results.pop().expect("a result")
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

impl Store {
    async fn answer(&self) -> Result<(), StoreError> {
        let delay_ms = self.answer_delay_ms.load(Ordering::Relaxed);
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl CacheStore for Store {
    async fn get(&self, space: &Space, key: &[u8], lease: Option<&LeaseAsk>) -> Result<Got, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        // What it read is underway while the answer is delayed.
        let got = self.inner.get(space, key, lease).await;
        self.answer().await?;
        got
    }

    async fn batch_get(&self, space: &Space, keys: &[Bytes]) -> Vec<Result<Option<Entry>, StoreError>> {
        let read = self.inner.batch_get(space, keys).await;
        match self.answer().await {
            Ok(()) => read,
            Err(error) => vec![Err(error); keys.len()],
        }
    }

    async fn write(&self, space: &Space, writes: &[Write]) -> Vec<Result<Outcome, StoreError>> {
        match self.answer().await {
            Ok(()) => self.inner.write(space, writes).await,
            Err(error) => vec![Err(error); writes.len()],
        }
    }

    async fn release(&self, space: &Space, key: &[u8], token: &[u8]) -> Result<(), StoreError> {
        self.inner.release(space, key, token).await
    }

    async fn deny(&self, space: &Space, key: &[u8], token: &[u8], why: &[u8], for_ms: u64) -> Result<(), StoreError> {
        self.inner.deny(space, key, token, why, for_ms).await
    }

    async fn raise(&self, space: &Space, reads: &[(Bytes, u64)]) -> Result<(), StoreError> {
        self.answer().await?;
        self.inner.raise(space, reads).await
    }

    async fn shrink(&self, space: &Space) -> Result<u64, StoreError> {
        self.inner.shrink(space).await
    }

    async fn flush(&self, space: &Space) -> Result<u64, StoreError> {
        self.inner.flush(space).await
    }

    async fn held(&self, space: &Space) -> Result<Held, StoreError> {
        self.inner.held(space).await
    }

    async fn enqueue(&self, space: &Space, writes: &[Write]) -> Result<Vec<String>, EnqueueError> {
        self.answer().await?;
        self.inner.enqueue(space, writes).await
    }

    async fn apply_queued(&self, space: &Space, holder: &Holder, writes_max: u64) -> Result<Applied, StoreError> {
        self.answer().await?;
        self.inner.apply_queued(space, holder, writes_max).await
    }

    async fn queued(&self, space: &Space, id: &str) -> Result<Option<QueuedWrite>, StoreError> {
        self.inner.queued(space, id).await
    }

    async fn namespaces(&self) -> Result<Vec<StoredNamespace>, StoreError> {
        self.answer().await?;
        self.inner.namespaces().await
    }

    async fn save_namespace(
        &self,
        name: &str,
        body: &[u8],
        expected: Expected,
        namespaces_max: usize,
    ) -> Result<Saved, StoreError> {
        self.inner.save_namespace(name, body, expected, namespaces_max).await
    }

    async fn follow(&self, prefixes: &[Bytes], heard_every: Duration, notices: mpsc::Sender<Notice>) -> StoreError {
        if self.is_link_cut.load(Ordering::Relaxed) {
            return StoreError::Unavailable("cut".into());
        }
        let (inner_notices, mut told) = mpsc::channel(16);
        let filter = async {
            while let Some(notice) = told.recv().await {
                if self.is_link_cut.load(Ordering::Relaxed) {
                    return;
                }
                if !self.is_link_black.load(Ordering::Relaxed) && notices.send(notice).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            error = self.inner.follow(prefixes, heard_every, inner_notices) => error,
            () = filter => StoreError::Unavailable("cut".into()),
        }
    }

    async fn check(&self) -> Result<StoreInfo, StoreError> {
        self.answer().await?;
        self.inner.check().await
    }
}
