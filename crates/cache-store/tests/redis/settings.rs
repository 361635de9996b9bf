//! What Redis tells of how it is set, and addresses that cannot be used.

use std::time::Duration;

use headwater_cache_store::{
    CacheStore, StoreError,
    redis::{RedisStore, RedisStoreOptions},
};
use headwater_testkit::{Options, Redis};

use crate::world::{cli, store};

#[tokio::test]
async fn what_a_crash_loses_is_told() {
    let redis = Redis::start(Options::default()).unwrap();
    let store = store(&redis.url(), "root");
    let set = async |name: &str, value: &str| cli::<()>(&redis.url(), &["CONFIG", "SET", name, value]).await;
    let cases = [
        ("appendfsync", "always", "loses nothing"),
        ("appendfsync", "everysec", "the last second"),
        ("appendfsync", "no", "half minute"),
        ("appendonly", "no", "loses everything"),
        ("save", "60 1000", "since its last snapshot (save 60 1000"),
    ];
    for (name, value, expected) in cases {
        set(name, value).await;
        let info = store.check().await.unwrap();
        assert!(info.durability.contains(expected), "{name} {value}: {}", info.durability);
        assert_eq!(info.doubts, Vec::<String>::new(), "{name} {value}");
    }
    set("maxmemory-policy", "allkeys-lru").await;
    let doubts = store.check().await.unwrap().doubts;
    assert!(doubts.len() == 1 && doubts[0].contains("allkeys-lru"), "{doubts:?}");
    set("maxmemory-policy", "volatile-lru").await;
    assert_eq!(store.check().await.unwrap().doubts, Vec::<String>::new());
}

#[tokio::test]
async fn a_redis_that_does_not_tell_is_doubted() {
    let redis = Redis::start(Options::default()).unwrap();
    cli::<()>(&redis.url(), &["ACL", "SETUSER", "default", "-config", "-info"]).await;
    let info = store(&redis.url(), "root").check().await.unwrap();
    assert!(info.durability.contains("not known"), "{info:?}");
    assert_eq!(info.doubts.len(), 1, "{info:?}");
}

#[test]
fn options_that_cannot_be_used_are_refused() {
    let good = || RedisStoreOptions::new("redis://name:secret@127.0.0.1:1", "root");
    RedisStore::new(good()).unwrap();
    let bad = [
        RedisStoreOptions { urls: vec![], ..good() },
        RedisStoreOptions { urls: vec!["http://name:secret@there".into()], ..good() },
        RedisStoreOptions { urls: vec!["redis://name:secret@[there".into()], ..good() },
        RedisStoreOptions { urls: vec!["redis://one".into(), "redis://two".into()], ..good() },
        RedisStoreOptions { root: "a{b".into(), ..good() },
        RedisStoreOptions { connect_timeout: Duration::ZERO, ..good() },
        RedisStoreOptions { response_timeout: Duration::ZERO, ..good() },
    ];
    for options in bad {
        let shown = format!("{options:?}");
        let Err(error) = RedisStore::new(options) else { panic!("{shown} is taken") };
        assert!(matches!(&error, StoreError::Refused(_)), "{shown}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
