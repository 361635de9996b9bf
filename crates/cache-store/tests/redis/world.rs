//! Stores, clients beside them, and who listens.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use headwater_cache_store::{
    CacheStore, Condition, Done, Layout, Notice, Op, Outcome, Space, StoreError, Write,
    redis::{RedisStore, RedisStoreOptions},
};
use headwater_testkit::{REDIS, require, unique};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

pub(crate) const HEARD_EVERY: Duration = Duration::from_millis(30);
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A store on the Redis that all tests share, under a root of its own.
pub(crate) fn shared() -> (Arc<RedisStore>, String) {
    let root = unique("cache");
    (store(&require(REDIS), &root), root)
}

pub(crate) fn store(url: &str, root: &str) -> Arc<RedisStore> {
    Arc::new(RedisStore::new(RedisStoreOptions::new(url, root)).unwrap())
}

/// A client of the Redis that all tests share, as redis-cli is one.
pub(crate) async fn client(url: &str) -> redis::aio::MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

pub(crate) async fn cli<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query_async(&mut client(url).await).await.unwrap()
}

pub(crate) fn put(key: &str, value: &str) -> Write {
    let op = Op::Put { value: Bytes::copy_from_slice(value.as_bytes()), ttl_ms: None, condition: Condition::Any };
    Write { key: Bytes::copy_from_slice(key.as_bytes()), op }
}

pub(crate) fn add(key: &str, delta: i64) -> Write {
    let op = Op::Add { delta, initial: 0, ttl_ms: None, new_ttl_ms: None };
    Write { key: Bytes::copy_from_slice(key.as_bytes()), op }
}

/// The sum that a write ended with.
pub(crate) fn number(result: Result<Outcome, StoreError>) -> i64 {
    match result {
        Ok(Outcome::Done(Done { number: Some(number), .. })) => number,
        other => panic!("nothing was added: {other:?}"),
    }
}

pub(crate) async fn write(store: &RedisStore, space: &Space, write: Write) -> Result<Outcome, StoreError> {
    store.write(space, &[write]).await.remove(0)
}

pub(crate) async fn set(store: &RedisStore, space: &Space, key: &str, value: &str) -> Done {
    match write(store, space, put(key, value)).await {
        Ok(Outcome::Done(done)) => done,
        other => panic!("{key} was not written: {other:?}"),
    }
}

pub(crate) async fn value(store: &RedisStore, space: &Space, key: &str) -> Result<Option<String>, StoreError> {
    let got = store.get(space, key.as_bytes(), None).await?;
    Ok(got.entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap()))
}

pub(crate) fn spread(root: &str) -> Space {
    Space::new(root, "spread", Layout::Spread)
}

/// Somebody who follows a store.
pub(crate) struct Listener {
    notices: mpsc::Receiver<Notice>,
    following: JoinHandle<StoreError>,
}

impl Listener {
    pub(crate) async fn start(store: &Arc<RedisStore>, prefixes: &[&str]) -> Self {
        let mut listener = Self::of(store, prefixes);
        assert_eq!(listener.next().await, Some(Notice::Begun));
        listener
    }

    fn of(store: &Arc<RedisStore>, prefixes: &[&str]) -> Self {
        let (sender, notices) = mpsc::channel(64);
        let store = Arc::clone(store);
        let prefixes: Vec<Bytes> = prefixes.iter().map(|prefix| Bytes::copy_from_slice(prefix.as_bytes())).collect();
        let following = tokio::spawn(async move { store.follow(&prefixes, HEARD_EVERY, sender).await });
        Self { notices, following }
    }

    /// Starts as soon as a Cluster that changed lets it.
    pub(crate) async fn start_anew(store: &Arc<RedisStore>, prefixes: &[&str]) -> Self {
        let deadline = Instant::now() + SOON;
        loop {
            let mut listener = Self::of(store, prefixes);
            match listener.next().await {
                Some(first) => {
                    assert_eq!(first, Notice::Begun);
                    return listener;
                }
                None => assert!(Instant::now() < deadline, "{:?}", listener.end().await),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Notice> {
        timeout(SOON, self.notices.recv()).await.expect("a notice")
    }

    /// Waits until it is proven that what changed before now has been told: the keys that were told, each once.
    pub(crate) async fn told(&mut self) -> Vec<String> {
        let (now, deadline) = (Instant::now(), Instant::now() + SOON);
        let mut told = Vec::new();
        loop {
            match timeout_at(deadline, self.notices.recv()).await.expect("to hear in time").expect("a notice") {
                Notice::Heard(at) if at >= now => break,
                Notice::Changed(keys) => {
                    told.extend(keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()));
                }
                Notice::Everything => told.push("*".into()),
                Notice::Heard(_) | Notice::Begun => {}
            }
        }
        told.sort_unstable();
        told.dedup();
        told
    }

    /// Waits until following ends: with what.
    pub(crate) async fn end(mut self) -> StoreError {
        let drained = async { while self.notices.recv().await.is_some() {} };
        timeout(SOON, drained).await.expect("following to end");
        self.following.await.unwrap()
    }
}
