//! Redis away, full, read-only, or not for us.

use std::time::{Duration, Instant};

use headwater_cache_store::{
    Applied, CacheStore, EnqueueError, Entry, Holder, Layout, LeaseAsk, Op, Outcome, QueuedWrite, Space, StoreError,
    Write,
    redis::{RedisStore, RedisStoreOptions},
};
use headwater_testkit::{Options, Redis, free_port};

use crate::world::{Listener, add, cli, number, put, set, spread, store, value, write};

const DELETE: Op = Op::Delete;

fn is_unavailable<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

#[tokio::test]
async fn it_needs_no_redis_to_be_made_and_waits_for_none() {
    let port = free_port().unwrap();
    let store = store(&format!("redis://name:secret@127.0.0.1:{port}"), "root");
    let space = spread("root");
    let began = Instant::now();
    let errors = [
        value(&store, &space, "a").await.unwrap_err(),
        write(&store, &space, put("a", "1")).await.unwrap_err(),
        store.batch_get(&space, &["a".into(), "b".into()]).await.remove(1).unwrap_err(),
        store.check().await.unwrap_err(),
        store.namespaces().await.unwrap_err(),
        store.flush(&space).await.unwrap_err(),
    ];
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for error in errors {
        let text = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Unavailable(_)), "{text}");
        assert!(!text.contains("secret") && !text.contains(&port.to_string()), "{text}");
    }
    let redis = Redis::start(Options::default().port(port)).unwrap();
    cli::<()>(&redis.url(), &["ACL", "SETUSER", "name", "on", ">secret", "~*", "+@all"]).await;
    set(&store, &space, "a", "1").await;
    assert_eq!(value(&store, &space, "a").await, Ok(Some("1".into())));
}

#[tokio::test]
async fn a_restart_is_not_noticed_by_the_next_call() {
    let mut redis = Redis::start(Options::default()).unwrap();
    let store = store(&redis.url(), "root");
    let space = spread("root");
    assert_eq!(number(write(&store, &space, add("n", 1)).await), 1);
    for round in 2..5 {
        redis.kill().unwrap();
        assert!(is_unavailable(&value(&store, &space, "n").await));
        redis.restart().unwrap();
        // Neither the script nor the connection is there any more, and the write is done once.
        assert_eq!(number(write(&store, &space, add("n", 1)).await), round);
    }
    redis.kill().unwrap();
    redis.restart().unwrap();
    assert_eq!(value(&store, &space, "n").await, Ok(Some("4".into())));
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_told() {
    let redis = Redis::start(Options::default()).unwrap();
    cli::<()>(&redis.url(), &["ACL", "SETUSER", "reader", "on", ">pass", "~*", "+@all", "-@write", "-@scripting"])
        .await;
    cli::<()>(&redis.url(), &["CONFIG", "SET", "requirepass", "right"]).await;
    let space = spread("root");
    let port = redis.port();
    for user in ["", ":wrong-one@", "nobody:wrong-one@"] {
        let store = store(&format!("redis://{user}127.0.0.1:{port}"), "root");
        for error in [
            value(&store, &space, "a").await.unwrap_err(),
            write(&store, &space, put("a", "1")).await.unwrap_err(),
            store.check().await.unwrap_err(),
        ] {
            let text = format!("{error} {error:?}");
            assert!(matches!(error, StoreError::Refused(_)), "{user:?}: {text}");
            assert!(!text.contains("wrong-one") && !text.contains(&port.to_string()), "{text}");
        }
    }
    let reader = store(&format!("redis://reader:pass@127.0.0.1:{port}"), "root");
    assert_eq!(value(&reader, &space, "a").await, Ok(None));
    let refused = write(&reader, &space, put("a", "1")).await;
    assert_eq!(refused, Err(StoreError::Refused("the user may not do this".into())));
    let right = store(&format!("redis://:right@127.0.0.1:{port}"), "root");
    set(&right, &space, "a", "1").await;
}

#[tokio::test]
async fn a_replica_is_read_and_not_written() {
    let primary = Redis::start(Options::default()).unwrap();
    let replica = Redis::start(Options::default()).unwrap();
    let space = spread("root");
    set(&store(&primary.url(), "root"), &space, "a", "1").await;
    cli::<()>(&replica.url(), &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    let store = store(&replica.url(), "root");
    let deadline = Instant::now() + Duration::from_secs(20);
    while value(&store, &space, "a").await != Ok(Some("1".into())) {
        assert!(Instant::now() < deadline, "the replica did not get the value");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read_only = StoreError::Declined("it is read-only".into());
    assert_eq!(write(&store, &space, put("a", "2")).await, Err(read_only.clone()));
    assert_eq!(write(&store, &space, Write { key: "a".into(), op: DELETE }).await, Err(read_only.clone()));
    let lease = LeaseAsk { token: "t".into(), for_ms: 1000 };
    assert_eq!(store.get(&space, b"b", Some(&lease)).await, Err(read_only));
    // A ranked namespace is read too, where ranks cannot be raised.
    let ranked = Space { layout: Layout::Ranked { entries_max: 10 }, ..space.clone() };
    assert_eq!(value(&store, &ranked, "a").await, Ok(Some("1".into())));
    let doubts = store.check().await.unwrap().doubts;
    assert!(doubts.iter().any(|doubt| doubt.contains("replica")), "{doubts:?}");
    // It becomes the primary, behind the same address.
    cli::<()>(&replica.url(), &["REPLICAOF", "NO", "ONE"]).await;
    set(&store, &space, "a", "2").await;
}

#[tokio::test]
async fn following_ends_where_the_primary_becomes_a_replica() {
    let redis = Redis::start(Options::default()).unwrap();
    let url = redis.url();
    cli::<()>(&url, &["ACL", "SETUSER", "least", "on", ">pass", "~*", "&*", "+@all", "-role"]).await;
    let followed = store(&url, "root");
    let mut listener = Listener::start(&followed, &["root:v:"]).await;
    let mut blind =
        Listener::start(&store(&format!("redis://least:pass@127.0.0.1:{}", redis.port()), "root"), &["root:v:"]).await;
    listener.told().await;
    // Of a primary that is away: the connection to this one goes on as it was.
    cli::<()>(&url, &["REPLICAOF", "127.0.0.1", &free_port().unwrap().to_string()]).await;
    let ended = StoreError::Unavailable("it is no primary any more".into());
    assert_eq!(listener.end().await, ended);
    // Whoever may not ask hears as before.
    blind.told().await;
    // It is not followed before it is the primary again.
    let (sender, mut notices) = tokio::sync::mpsc::channel(1);
    assert_eq!(followed.follow(&["root:v:".into()], Duration::from_millis(30), sender).await, ended);
    assert_eq!(notices.recv().await, None);
    cli::<()>(&url, &["REPLICAOF", "NO", "ONE"]).await;
    let mut listener = Listener::start(&followed, &["root:v:"]).await;
    set(&followed, &spread("root"), "a", "1").await;
    assert_eq!(listener.told().await, ["root:v:spread:a"]);
}

#[tokio::test]
async fn a_full_redis_takes_nothing_and_gives_what_it_has() {
    let redis = Redis::start(Options::default()).unwrap();
    let store = store(&redis.url(), "root");
    let spaces = [
        spread("root"),
        Space::new("root", "slot", Layout::Slot),
        Space::new("root", "ranked", Layout::Ranked { entries_max: 5 }),
    ];
    let holder = Holder { id: "h".into(), lease_ms: 60_000 };
    for space in &spaces {
        set(&store, space, "a", "1").await;
        set(&store, space, "c", "1").await;
    }
    let ids = store.enqueue(&spaces[1], &[put("q", "1"), put("r", "1")]).await.unwrap();
    redis.limit_memory(Some(1)).unwrap();
    let is_full = |error: StoreError| matches!(error, StoreError::Full(_));
    for space in &spaces {
        assert!(is_full(write(&store, space, put("a", "2")).await.unwrap_err()), "{space:?}");
        assert!(is_full(write(&store, space, put("b", "2")).await.unwrap_err()), "{space:?}");
        assert!(is_full(write(&store, space, add("a", 1)).await.unwrap_err()), "{space:?}");
        assert!(is_full(write(&store, space, add("n", 1)).await.unwrap_err()), "{space:?}");
        assert_eq!(value(&store, space, "a").await, Ok(Some("1".into())), "{space:?}");
        let read = store.batch_get(space, &["b".into(), "a".into()]).await;
        assert_eq!(read, [Ok(None), Ok(Some(Entry { value: "1".into(), ttl_ms: None }))], "{space:?}");
        let lease = LeaseAsk { token: "t".into(), for_ms: 1000 };
        assert!(is_full(store.get(space, b"b", Some(&lease)).await.unwrap_err()), "{space:?}");
        let deleted = write(&store, space, Write { key: "c".into(), op: DELETE }).await;
        assert!(matches!(&deleted, Ok(Outcome::Done(done)) if done.existed), "{space:?}: {deleted:?}");
    }
    let refused = store.enqueue(&spaces[1], &[put("s", "1"), put("t", "1")]).await;
    assert!(matches!(refused, Err(EnqueueError::Store(StoreError::Full(_)))), "{refused:?}");
    assert!(is_full(store.apply_queued(&spaces[1], &holder, 10).await.unwrap_err()));
    assert_eq!(store.queued(&spaces[1], &ids[0]).await, Ok(Some(QueuedWrite::Waiting)));
    assert_eq!(store.held(&spaces[1]).await.unwrap().queued, 2);
    assert!(is_full(store.save_namespace("n", b"", headwater_cache_store::Expected::Absent, 10).await.unwrap_err()));

    redis.limit_memory(None).unwrap();
    let applied = store.apply_queued(&spaces[1], &holder, 10).await;
    assert_eq!(applied, Ok(Applied::Ended { count: 2, waiting: 0 }));
    for space in &spaces {
        assert_eq!(value(&store, space, "b").await, Ok(None), "{space:?}");
        assert_eq!(value(&store, space, "n").await, Ok(None), "{space:?}");
        set(&store, space, "a", "2").await;
    }
    assert_eq!(store.held(&spaces[2]).await.unwrap().entries, Some(1));
}

#[tokio::test]
async fn a_redis_that_hangs_is_given_up_in_time() {
    let mut redis = Redis::start(Options::default()).unwrap();
    let times = Duration::from_millis(200);
    let options = RedisStoreOptions {
        connect_timeout: times,
        response_timeout: times,
        ..RedisStoreOptions::new(redis.url(), "root")
    };
    let store = std::sync::Arc::new(RedisStore::new(options).unwrap());
    let space = spread("root");
    set(&store, &space, "a", "1").await;
    let listener = Listener::start(&store, &["root:v:"]).await;
    redis.pause().unwrap();
    let began = Instant::now();
    assert!(is_unavailable(&write(&store, &space, put("a", "2")).await));
    assert!(is_unavailable(&value(&store, &space, "a").await));
    assert!(matches!(listener.end().await, StoreError::Unavailable(_)));
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    redis.resume().unwrap();
    // What was asked may be done yet; what is asked now is.
    set(&store, &space, "a", "3").await;
    assert_eq!(value(&store, &space, "a").await, Ok(Some("3".into())));
    Listener::start(&store, &["root:v:"]).await;
}
