//! Watch.

use std::time::Duration;

use headwater_cache::Declared;
use headwater_contracts::v1::cache::watch_response::Event;
use headwater_contracts::v1::cache::{DeleteRequest, KeyState, Namespace, SetRequest, WatchRequest, WatchResponse};
use headwater_testkit::{Options, Redis};
use tokio::task::block_in_place;
use tonic::Streaming;

use crate::stage::{Client, Setup, Stage, WAIT_MAX, bytes, redis_at, set};

crate::on_every_store!(
    states_are_told_now_and_whenever_they_change,
    a_prefix_is_watched_too,
    what_ends_is_told_also_where_it_is_kept_as_stale
);

/// The next state that is told; what may have been missed is told before the states that follow it.
async fn next(stream: &mut Streaming<WatchResponse>) -> KeyState {
    loop {
        let message = tokio::time::timeout(WAIT_MAX, stream.message()).await.expect("told in time").unwrap().unwrap();
        match message.event.unwrap() {
            Event::State(state) => return state,
            Event::Resync(resync) => assert!(!resync.detail.is_empty()),
        }
    }
}

/// Waits until this state of the key is told.
async fn told(stream: &mut Streaming<WatchResponse>, key: &str, value: Option<&str>) -> KeyState {
    loop {
        let state = next(stream).await;
        if state.key == bytes(key) && state.value == value.map(bytes) {
            assert_eq!((state.found, state.etag.is_empty()), (value.is_some(), value.is_none()));
            return state;
        }
    }
}

async fn forget(client: &mut Client, key: &str) {
    client.delete(DeleteRequest { key: bytes(key), ..Default::default() }).await.unwrap();
}

async fn states_are_told_now_and_whenever_they_change(stage: Stage) {
    let client = &mut stage.client().await;
    set(client, "", "a", "1").await.unwrap();
    let keys = vec![bytes("a"), bytes("b")];
    let request = WatchRequest { keys: keys.clone(), values: true, ..Default::default() };
    let mut stream = client.watch(request).await.unwrap().into_inner();
    assert!(told(&mut stream, "a", Some("1")).await.ttl_ms.is_some());
    told(&mut stream, "b", None).await;
    let request = WatchRequest { keys, ..Default::default() };
    let mut without_values = client.watch(request).await.unwrap().into_inner();
    set(client, "", "other", "x").await.unwrap();
    set(client, "", "b", "2").await.unwrap();
    told(&mut stream, "b", Some("2")).await;
    forget(client, "a").await;
    told(&mut stream, "a", None).await;
    let short = SetRequest { key: bytes("a"), value: bytes("3"), ttl_ms: Some(1_500), ..Default::default() };
    client.set(short).await.unwrap();
    told(&mut stream, "a", Some("3")).await;
    told(&mut stream, "a", None).await;
    loop {
        let state = next(&mut without_values).await;
        assert!(state.value.is_none() && state.key != bytes("other"));
        if state.key == bytes("b") && state.found {
            break;
        }
    }
}

async fn what_ends_is_told_also_where_it_is_kept_as_stale(stage: Stage) {
    let client = &mut stage.client().await;
    let namespace = stage.namespace(Namespace { stale_if_error_ms: Some(60_000), ..Default::default() }).await;
    let request =
        WatchRequest { namespace: namespace.clone(), keys: vec![bytes("k")], values: true, ..Default::default() };
    let mut stream = client.watch(request).await.unwrap().into_inner();
    told(&mut stream, "k", None).await;
    let short = SetRequest { namespace, key: bytes("k"), value: bytes("v"), ttl_ms: Some(1_500) };
    client.set(short).await.unwrap();
    told(&mut stream, "k", Some("v")).await;
    told(&mut stream, "k", None).await;
}

async fn a_prefix_is_watched_too(stage: Stage) {
    let client = &mut stage.client().await;
    set(client, "", "user:0", "there already").await.unwrap();
    let request = WatchRequest { prefix: Some(bytes("user:")), values: true, ..Default::default() };
    let mut stream = client.watch(request).await.unwrap().into_inner();
    set(client, "", "session:1", "x").await.unwrap();
    set(client, "", "user:1", "y").await.unwrap();
    loop {
        let state = next(&mut stream).await;
        assert!(state.key.starts_with(b"user:"), "{state:?}");
        if state.key == bytes("user:1") && state.value == Some(bytes("y")) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_read_do_not_hold_up_the_others() {
    let redis = block_in_place(|| Redis::start(Options::default())).unwrap();
    // Keys of another type are no value; of those that the user may not read, Redis refuses to say.
    redis.ask("ACL SETUSER limited on >correct-horse +@all &* ~test* ~user:list:* ~user:good:*").unwrap();
    let mut setup = Setup::new("test");
    setup.declared.push(Declared { store_prefix: Some(bytes::Bytes::new()), ..Declared::new("default") });
    let url = format!("redis://limited:correct-horse@127.0.0.1:{}", redis.port());
    let stage = Stage::start(redis_at(&url, Duration::from_secs(3)), setup).await;
    let client = &mut stage.client().await;
    let request = WatchRequest { prefix: Some(bytes("user:")), values: true, ..Default::default() };
    let mut stream = client.watch(request).await.unwrap().into_inner();
    set(client, "", "user:good:first", "x").await.unwrap();
    told(&mut stream, "user:good:first", Some("x")).await;
    for n in 0..30 {
        redis.ask(&format!("LPUSH user:list:{n} x")).unwrap();
        redis.ask(&format!("SET user:bad:{n} x")).unwrap();
    }
    told(&mut stream, "user:list:29", None).await;
    for n in 0..20 {
        let key = format!("user:good:{n}");
        set(client, "", &key, "y").await.unwrap();
        let within = tokio::time::timeout(Duration::from_secs(1), told(&mut stream, &key, Some("y")));
        within.await.expect("told as if there were no other key");
    }
}
