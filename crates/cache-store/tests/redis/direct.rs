//! Other clients of the same Redis.

use std::time::Duration;

use headwater_cache_store::{CacheStore, Condition, Layout, LeaseAsk, Op, Outcome, Refusal, Space, Write};
use headwater_testkit::{REDIS, require};

use crate::world::{Listener, cli, put, set, shared, spread, value, write};

#[tokio::test]
async fn what_other_clients_write_is_read_and_told() {
    let (store, root) = shared();
    let url = require(REDIS);
    let space = spread(&root);
    let key = |name: &str| String::from_utf8(space.stored_key(name.as_bytes())).unwrap();
    let mut listener = Listener::start(&store, &[&format!("{root}:v:")]).await;
    cli::<()>(&url, &["SET", &key("a"), "1"]).await;
    assert_eq!(listener.told().await, [key("a")]);
    assert_eq!(value(&store, &space, "a").await, Ok(Some("1".into())));
    // What the store writes is told too, and its own keys are not.
    set(&store, &space, "a", "2").await;
    assert_eq!(listener.told().await, [key("a")]);
    assert_eq!(cli::<String>(&url, &["GET", &key("a")]).await, "2");
    cli::<()>(&url, &["PEXPIRE", &key("a"), "1"]).await;
    assert_eq!(listener.told().await, [key("a")]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    // Redis notices at the latest when somebody asks.
    assert_eq!(value(&store, &space, "a").await, Ok(None));
    assert_eq!(listener.told().await, [key("a")]);
    cli::<()>(&url, &["SET", &format!("{root}:elsewhere"), "1"]).await;
    assert_eq!(listener.told().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_empty_prefix_tells_of_all_keys() {
    let (store, root) = shared();
    let mut listener = Listener::start(&store, &[""]).await;
    let key = format!("{root}:elsewhere");
    cli::<()>(&require(REDIS), &["SET", &key, "1"]).await;
    assert!(listener.told().await.contains(&key));
}

#[tokio::test]
async fn several_prefixes_are_told() {
    let (store, root) = shared();
    let url = require(REDIS);
    let (one, two) = (format!("{root}:one:"), format!("{root}:two:"));
    let mut listener = Listener::start(&store, &[&one, &two]).await;
    for key in [format!("{one}a"), format!("{two}b"), format!("{root}:three:c")] {
        cli::<()>(&url, &["SET", &key, "1"]).await;
    }
    assert_eq!(listener.told().await, [format!("{one}a"), format!("{two}b")]);
}

#[tokio::test]
async fn a_fill_does_not_replace_what_another_client_wrote() {
    let (store, root) = shared();
    let space = spread(&root);
    let lease = LeaseAsk { token: "t".into(), for_ms: 10_000 };
    assert!(store.get(&space, b"a", Some(&lease)).await.unwrap().is_leased);
    let stored = String::from_utf8(space.stored_key(b"a")).unwrap();
    cli::<()>(&require(REDIS), &["SET", &stored, "theirs"]).await;
    let op = Op::Put { value: "loaded".into(), ttl_ms: None, condition: Condition::Lease("t".into()) };
    let outcome = write(&store, &space, Write { key: "a".into(), op }).await;
    assert!(matches!(outcome, Ok(Outcome::Refused(Refusal::NotMet { current: Some(_) }))), "{outcome:?}");
    assert_eq!(value(&store, &space, "a").await, Ok(Some("theirs".into())));
}

#[tokio::test]
async fn a_key_of_another_type_is_refused_or_replaced() {
    let (store, root) = shared();
    let url = require(REDIS);
    let space = spread(&root);
    let stored = String::from_utf8(space.stored_key(b"a")).unwrap();
    cli::<()>(&url, &["HSET", &stored, "field", "1"]).await;
    let error = value(&store, &space, "a").await.unwrap_err();
    assert_eq!(error.to_string(), "the cache's store refused: the key holds something that is no string");
    let add = Op::Add { delta: 1, initial: 0, ttl_ms: None, new_ttl_ms: None };
    let outcome = write(&store, &space, Write { key: "a".into(), op: add }).await;
    assert_eq!(outcome, Ok(Outcome::Refused(Refusal::NotANumber)));
    assert!(set(&store, &space, "a", "1").await.existed);
    assert_eq!(value(&store, &space, "a").await, Ok(Some("1".into())));
}

#[tokio::test]
async fn what_another_client_wrote_is_ranked_at_its_first_read() {
    let (store, root) = shared();
    let url = require(REDIS);
    let space = Space::new(&root, "ranked", Layout::Ranked { entries_max: 2 });
    let key = |name: &str| String::from_utf8(space.stored_key(name.as_bytes())).unwrap();
    set(&store, &space, "a", "1").await;
    set(&store, &space, "b", "1").await;
    assert_eq!(value(&store, &space, "b").await, Ok(Some("1".into())));
    cli::<()>(&url, &["SET", &key("c"), "1"]).await;
    // Its read makes room: the lowest rank leaves.
    assert_eq!(value(&store, &space, "c").await, Ok(Some("1".into())));
    assert_eq!(store.held(&space).await.unwrap().entries, Some(2));
    assert_eq!(value(&store, &space, "a").await, Ok(None));
    // What another client deleted has room, and nobody leaves for it.
    cli::<()>(&url, &["DEL", &key("c")]).await;
    assert_eq!(set(&store, &space, "d", "1").await.evicted, 0);
    assert_eq!(value(&store, &space, "b").await, Ok(Some("1".into())));
    assert_eq!(store.held(&space).await.unwrap().entries, Some(2));
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_told_anew() {
    let (store, root) = shared();
    let space = spread(&root);
    for round in 0..5 {
        cli::<()>(&require(REDIS), &["SCRIPT", "FLUSH"]).await;
        let keys: Vec<Write> = (0..20).map(|n| put(&format!("{}", n % 7), &format!("{round} {n}"))).collect();
        for outcome in store.write(&space, &keys).await {
            assert!(matches!(outcome, Ok(Outcome::Done(_))), "{outcome:?}");
        }
        assert_eq!(value(&store, &space, "0").await, Ok(Some(format!("{round} 14"))));
    }
}
