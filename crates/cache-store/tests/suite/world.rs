//! A store of a test's own, and a way to look behind it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use headwater_cache_store::{
    CacheStore, Condition, Done, Entry, Expected, Got, Held, Layout, LeaseAsk, Op, Outcome, Refusal, Saved, Space,
    StoreError, Write,
    memory::{MemoryStore, MemoryStoreOptions},
    redis::{RedisStore, RedisStoreOptions},
};
use headwater_testkit::{REDIS, require, unique};
use tokio::time::{Instant, sleep};

/// Longer than anything that is waited for takes.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10);
/// Longer than a test takes.
pub(crate) const LONG_MS: u64 = 3_600_000;

pub(crate) const LAYOUTS: [Layout; 3] = [Layout::Spread, Layout::Slot, Layout::Ranked { entries_max: 10_000 }];

/// A store, and what its namespaces' keys begin with.
pub(crate) struct World {
    /// For failures.
    pub(crate) name: &'static str,
    pub(crate) store: Arc<dyn CacheStore>,
    /// The same store, as another replica has it.
    pub(crate) other: Arc<dyn CacheStore>,
    pub(crate) root: String,
}

impl World {
    pub(crate) fn memory() -> Self {
        Self::in_memory(MemoryStoreOptions::default())
    }

    pub(crate) fn in_memory(options: MemoryStoreOptions) -> Self {
        let store = MemoryStore::new(options);
        Self { name: "memory", store: Arc::new(store.clone()), other: Arc::new(store), root: unique("suite") }
    }

    pub(crate) fn redis() -> Self {
        Self::of("Redis", RedisStoreOptions::new(require(REDIS), unique("suite")))
    }

    pub(crate) fn cluster(urls: Vec<String>) -> Self {
        let options = RedisStoreOptions { urls, cluster: true, ..RedisStoreOptions::new("", unique("suite")) };
        Self::of("Redis Cluster", options)
    }

    fn of(name: &'static str, options: RedisStoreOptions) -> Self {
        // Two cores and many tests: an answer may take its time.
        let options = RedisStoreOptions { response_timeout: Duration::from_secs(5), ..options };
        let root = options.root.clone();
        let store = || Arc::new(RedisStore::new(options.clone()).unwrap());
        Self { name, store: store(), other: store(), root }
    }

    /// The one or the other replica.
    pub(crate) fn replica(&self, n: usize) -> Arc<dyn CacheStore> {
        Arc::clone([&self.store, &self.other][n % 2])
    }

    /// A namespace that no other test has.
    pub(crate) fn space(&self, layout: Layout) -> Space {
        Space::new(&self.root, &unique("n"), layout)
    }

    /// Whoever writes the same values past the cache, as redis-cli does.
    pub(crate) fn straight(&self, space: &Space) -> Space {
        Space { layout: Layout::Spread, name: unique("straight").into(), kept_stale_ms: 0, ..space.clone() }
    }

    /// Deletes a key past the cache.
    pub(crate) async fn delete_straight(&self, space: &Space, key: &str) {
        assert!(done(self.write(&self.straight(space), key, Op::Delete).await).existed, "{}: {key}", self.name);
    }

    pub(crate) async fn get(&self, space: &Space, key: &str) -> Option<Entry> {
        self.got(space, key, None).await.entry
    }

    pub(crate) async fn got(&self, space: &Space, key: &str, lease: Option<&LeaseAsk>) -> Got {
        let got = self.store.get(space, key.as_bytes(), lease).await;
        got.unwrap_or_else(|error| panic!("{}: {key}: {error}", self.name))
    }

    /// Asks for a lease of `LONG_MS`: whether it was given.
    pub(crate) async fn lease(&self, space: &Space, key: &str, token: &'static str) -> bool {
        self.got(space, key, Some(&ask(token, LONG_MS))).await.is_leased
    }

    /// The fresh value.
    pub(crate) async fn value(&self, space: &Space, key: &str) -> Option<Bytes> {
        self.get(space, key).await.filter(Entry::is_fresh).map(|entry| entry.value)
    }

    /// The fresh value, without raising its rank.
    pub(crate) async fn peek(&self, space: &Space, key: &str) -> Option<Bytes> {
        self.value(&self.straight(space), key).await
    }

    /// The keys among these that have a value, without raising their ranks.
    pub(crate) async fn among<'a>(&self, space: &Space, keys: &[&'a str]) -> Vec<&'a str> {
        let stored: Vec<Bytes> = keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect();
        let found = self.batch(&self.straight(space), &stored).await;
        keys.iter().zip(found).filter_map(|(key, entry)| entry.map(|_| *key)).collect()
    }

    pub(crate) async fn batch(&self, space: &Space, keys: &[Bytes]) -> Vec<Option<Entry>> {
        let entries = self.store.batch_get(space, keys).await;
        entries.into_iter().map(|entry| entry.unwrap_or_else(|error| panic!("{}: {error}", self.name))).collect()
    }

    pub(crate) async fn write(&self, space: &Space, key: &str, op: Op) -> Outcome {
        let result = self.try_write(space, key, op).await;
        result.unwrap_or_else(|error| panic!("{}: {key}: {error}", self.name))
    }

    pub(crate) async fn try_write(&self, space: &Space, key: &str, op: Op) -> Result<Outcome, StoreError> {
        let mut results = self.store.write(space, &[write(key, op)]).await;
        assert_eq!(results.len(), 1, "{}", self.name);
        results.remove(0)
    }

    /// Puts a value that does not expire.
    pub(crate) async fn put(&self, space: &Space, key: &str, value: &str) -> Done {
        done(self.write(space, key, put(value)).await)
    }

    /// Puts a value that stays fresh for so long.
    pub(crate) async fn put_for(&self, space: &Space, key: &str, value: &str, ttl_ms: u64) -> Done {
        done(self.write(space, key, put_if(value, Some(ttl_ms), Condition::Any)).await)
    }

    pub(crate) async fn held(&self, space: &Space) -> Held {
        self.store.held(space).await.unwrap()
    }

    /// Saves a namespace that is new or has the revision.
    pub(crate) async fn save(&self, name: &str, body: &str, expected: Expected) -> Saved {
        self.store.save_namespace(name, body.as_bytes(), expected, 10_000).await.unwrap()
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !is_so().await {
            assert!(began.elapsed() < WAIT_MAX, "{}: {what}: not within {WAIT_MAX:?}", self.name);
            sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) fn ask(token: &'static str, for_ms: u64) -> LeaseAsk {
    LeaseAsk { token: Bytes::from_static(token.as_bytes()), for_ms }
}

pub(crate) fn write(key: &str, op: Op) -> Write {
    Write { key: Bytes::copy_from_slice(key.as_bytes()), op }
}

pub(crate) fn put(value: &str) -> Op {
    put_if(value, None, Condition::Any)
}

pub(crate) fn put_if(value: &str, ttl_ms: Option<u64>, condition: Condition) -> Op {
    Op::Put { value: Bytes::copy_from_slice(value.as_bytes()), ttl_ms, condition }
}

pub(crate) fn add(delta: i64) -> Op {
    Op::Add { delta, initial: 0, ttl_ms: None, new_ttl_ms: None }
}

#[track_caller]
pub(crate) fn done(outcome: Outcome) -> Done {
    match outcome {
        Outcome::Done(done) => done,
        Outcome::Refused(refusal) => panic!("it was refused: {refusal:?}"),
    }
}

#[track_caller]
pub(crate) fn refusal(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        Outcome::Done(done) => panic!("it was done: {done:?}"),
    }
}
