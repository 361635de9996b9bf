//! Networks that are slow or cut.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use headwater_cache_store::{
    CacheStore, Notice, StoreError,
    redis::{RedisStore, RedisStoreOptions},
};
use headwater_testkit::{Options, REDIS, Toxiproxy, require, unique};
use serde_json::json;

use crate::world::{Listener, add, cli, number, put, set, spread, store, value, write};

const SLOW_MS: u64 = 500;

struct Slow {
    toxiproxy: Toxiproxy,
    name: String,
    root: String,
    url: String,
}

impl Slow {
    fn start() -> Self {
        let toxiproxy = Toxiproxy::start(Options::default()).unwrap();
        let upstream: u16 = require(REDIS).rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
        let name = unique("redis");
        let port = toxiproxy.proxy(&name, upstream).unwrap();
        Self { toxiproxy, name, root: unique("cache"), url: format!("redis://127.0.0.1:{port}") }
    }

    fn store(&self, response_ms: u64) -> Arc<RedisStore> {
        let response_timeout = Duration::from_millis(response_ms);
        let connect_timeout = Duration::from_secs(5);
        let options =
            RedisStoreOptions { connect_timeout, response_timeout, ..RedisStoreOptions::new(&self.url, &self.root) };
        Arc::new(RedisStore::new(options).unwrap())
    }

    fn slow_down(&self) {
        self.toxiproxy.add(&self.name, "latency", true, &json!({ "latency": SLOW_MS })).unwrap();
    }
}

#[tokio::test]
async fn a_slow_redis_answers_those_who_wait() {
    let slow = Slow::start();
    let store = slow.store(5_000);
    let space = spread(&slow.root);
    set(&store, &space, "a", "1").await;
    slow.slow_down();
    let began = Instant::now();
    // One round trip each, and those of many at once are one.
    assert_eq!(value(&store, &space, "a").await, Ok(Some("1".into())));
    let writes: Vec<_> = (0..100).map(|n| put(&n.to_string(), "1")).collect();
    assert!(store.write(&space, &writes).await.iter().all(Result::is_ok));
    let keys: Vec<_> = (0..100).map(|n| n.to_string().into()).collect();
    assert!(store.batch_get(&space, &keys).await.iter().all(|entry| matches!(entry, Ok(Some(_)))));
    let waited = began.elapsed();
    assert!(waited >= 3 * Duration::from_millis(SLOW_MS) && waited < 5 * Duration::from_millis(SLOW_MS), "{waited:?}");
}

#[tokio::test]
async fn a_write_that_may_have_been_done_is_not_repeated() {
    let slow = Slow::start();
    let store = slow.store(200);
    let space = spread(&slow.root);
    assert_eq!(number(write(&store, &space, add("n", 1)).await), 1);
    slow.slow_down();
    for _ in 0..3 {
        let began = Instant::now();
        let result = write(&store, &space, add("n", 1)).await;
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    slow.toxiproxy.remove(&slow.name, "latency").unwrap();
    // Past the proxy: what arrived was done once each.
    let url = require(REDIS);
    let stored = String::from_utf8(space.stored_key(b"n")).unwrap();
    let done: u64 = cli(&url, &["GET", &stored]).await;
    assert!((1..=4).contains(&done), "{done}");
    assert_eq!(value(&store, &space, "n").await.unwrap().unwrap(), done.to_string());
}

#[tokio::test]
async fn following_ends_with_its_link() {
    let slow = Slow::start();
    let store = slow.store(300);
    let listener = Listener::start(&store, &[&slow.root]).await;
    slow.toxiproxy.enable(&slow.name, false).unwrap();
    assert!(matches!(listener.end().await, StoreError::Unavailable(_)));
    slow.toxiproxy.enable(&slow.name, true).unwrap();
    // It begins anew, and is told again.
    let mut listener = Listener::start(&store, &[&slow.root]).await;
    let space = spread(&slow.root);
    set(&store, &space, "a", "1").await;
    assert_eq!(listener.told().await.len(), 1);
}

#[tokio::test]
async fn nothing_is_heard_over_a_link_that_swallows_everything() {
    let slow = Slow::start();
    let direct = store(&require(REDIS), &slow.root);
    let mut listener = Listener::start(&slow.store(300), &[&slow.root]).await;
    listener.told().await;
    // Everything that Redis writes is kept back from now on.
    slow.toxiproxy.add(&slow.name, "timeout", true, &json!({ "timeout": 0 })).unwrap();
    let swallowed = tokio::time::Instant::now();
    set(&direct, &spread(&slow.root), "a", "1").await;
    let mut notices = Vec::new();
    while let Some(notice) = listener.next().await {
        notices.push(notice);
    }
    let heard_later = |notice: &Notice| matches!(notice, Notice::Heard(at) if *at >= swallowed);
    assert!(!notices.iter().any(heard_later), "{notices:?}");
    assert!(matches!(listener.end().await, StoreError::Unavailable(_)));
}
