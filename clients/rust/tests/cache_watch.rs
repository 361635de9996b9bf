//! Watching keys of the cache, against the in-process server: connections that end, break, and are opened again.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use futures::StreamExt;
use headwater_client::cache::{Watch, WatchEvent, WatchOptions};
use headwater_client::testing::{FakeServer, refusal};
use headwater_client::{Client, ConnectOptions, Error, RetryPolicy};
use tonic::{Code, Status};

const LIMIT: Duration = Duration::from_secs(20);

fn quick() -> RetryPolicy {
    let backoff_max = Duration::from_millis(50);
    RetryPolicy { attempts_max: 100, backoff_min: Duration::from_millis(5), backoff_max }
}

async fn connect(server: &FakeServer) -> Client {
    Client::connect(ConnectOptions { retry: quick(), ..server.connect_options() }).await.unwrap()
}

fn options(options: WatchOptions) -> WatchOptions {
    WatchOptions { retry: quick(), ..options }
}

/// The next event as a text: `a=1` for a value, `a?` for one that was not asked for, `a-` for none, `!` for a resync.
async fn next(watch: &mut Watch) -> String {
    let event = tokio::time::timeout(LIMIT, watch.next()).await.expect("an event in time").unwrap().unwrap();
    match event {
        WatchEvent::Resync { detail } => format!("!{detail}"),
        WatchEvent::State(state) => {
            let key = String::from_utf8(state.key.to_vec()).unwrap();
            match (state.found, state.value) {
                (false, _) => format!("{key}-"),
                (true, None) => format!("{key}?"),
                (true, Some(value)) => format!("{key}={}", String::from_utf8_lossy(&value)),
            }
        }
    }
}

#[tokio::test]
async fn states_are_told_now_and_at_each_change() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let cache = client.cache("default");
    cache.set("a", "1").await.unwrap();
    let mut watch = cache.watch(WatchOptions::keys(["a", "b"]).with_values()).await.unwrap();
    assert_eq!(next(&mut watch).await, "a=1");
    assert_eq!(next(&mut watch).await, "b-");
    cache.set("c", "not watched").await.unwrap();
    cache.set("b", "2").await.unwrap();
    assert_eq!(next(&mut watch).await, "b=2");
    cache.delete("a").await.unwrap();
    assert_eq!(next(&mut watch).await, "a-");
    let mut all = cache.watch(WatchOptions::prefix("")).await.unwrap();
    cache.set("z", "1").await.unwrap();
    assert_eq!(next(&mut all).await, "z?");
    server.resync_watches("the store was away");
    assert_eq!(next(&mut watch).await, "!the store was away");
    assert_eq!(next(&mut watch).await, "a-");
    assert_eq!(next(&mut watch).await, "b=2");
    drop((watch, all));
    tokio::time::timeout(LIMIT, async {
        while server.watches() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("a watch that was dropped ends at the server");
}

#[tokio::test]
async fn a_connection_that_ends_or_breaks_is_opened_again_and_told() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let cache = client.cache("default");
    let mut watch = cache.watch(options(WatchOptions::keys(["a"]).with_values())).await.unwrap();
    assert_eq!(next(&mut watch).await, "a-");
    server.end_watches(None);
    assert_eq!(next(&mut watch).await, "!the server ended the connection");
    assert_eq!(next(&mut watch).await, "a-");
    // What is written while nobody watches is in the state that follows.
    server.end_watches(Some(refusal(Code::Unavailable, "NOT_READY", "draining", None)));
    server.fail_next(refusal(Code::Unavailable, "NOT_READY", "starting", None));
    cache.set("a", "1").await.unwrap();
    assert_eq!(next(&mut watch).await, "!the connection was lost: NOT_READY: draining");
    assert_eq!(next(&mut watch).await, "a=1");
    let address = server.address();
    drop(server);
    let server = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        FakeServer::start_at(address)
    });
    assert!(next(&mut watch).await.starts_with("!the connection was lost: cannot reach"));
    assert_eq!(next(&mut watch).await, "a-");
    drop(server.await.unwrap());
}

#[tokio::test]
async fn a_watch_that_cannot_go_on_says_why_once() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let error = client.cache("nope").watch(WatchOptions::keys(["a"])).await.unwrap_err();
    assert_eq!(error.reason(), Some("UNKNOWN_NAMESPACE"));
    let cache = client.cache("default");
    assert_eq!(cache.watch(WatchOptions::default()).await.unwrap_err().reason(), Some("INVALID_REQUEST"));
    // A delay beyond the deadline is not waited for by whoever opens it.
    server.fail_next(refusal(Code::Unavailable, "NOT_READY", "starting", Some(Duration::from_secs(60))));
    let opening = tokio::time::timeout(LIMIT, cache.watch(WatchOptions::prefix("a"))).await.expect("an answer in time");
    assert_eq!(opening.unwrap_err().reason(), Some("NOT_READY"));
    let mut watch = cache.watch(options(WatchOptions::prefix("a"))).await.unwrap();
    server.end_watches(Some(refusal(Code::Unauthenticated, "UNAUTHENTICATED", "another token now", None)));
    let error = watch.next().await.unwrap_err();
    assert_eq!(error.reason(), Some("UNAUTHENTICATED"));
    assert_eq!(watch.next().await.unwrap(), None);
    let few = WatchOptions { retry: RetryPolicy { attempts_max: 3, ..quick() }, ..WatchOptions::prefix("a") };
    let mut watch = cache.watch(few).await.unwrap();
    drop(server);
    let events: Vec<_> = tokio::time::timeout(LIMIT, watch.by_ref().collect()).await.expect("it gives up");
    assert!(matches!(events[..], [Err(Error::Unreachable { .. })]), "{events:?}");
}

#[tokio::test]
async fn a_server_that_ends_every_watch_at_once_is_not_asked_for_ever() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let retry = RetryPolicy { attempts_max: 4, ..quick() };
    let mut watch = client.cache("").watch(WatchOptions { retry, ..WatchOptions::prefix("") }).await.unwrap();
    let ending = async {
        loop {
            server.end_watches(Some(Status::unavailable("gone")));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let events = async {
        let mut resyncs = 0;
        loop {
            match watch.next().await {
                Ok(Some(WatchEvent::Resync { .. })) => resyncs += 1,
                other => return (resyncs, other),
            }
        }
    };
    let (resyncs, last) = tokio::select! {
        () = ending => unreachable!("it does not end"),
        events = tokio::time::timeout(LIMIT, events) => events.expect("it gives up"),
    };
    assert!(resyncs < 4 && last.is_err(), "{resyncs} {last:?}");
}
