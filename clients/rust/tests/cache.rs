//! The cache, against the in-process server: typed answers, what is called again and what never, batches, queued writes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use headwater_client::cache::{
    BatchGetOptions, Cache, Conditional, Forward, GetOptions, IncrementOptions, Item, Layer, Outcome, QueuedWrite,
    Stored, When, Write,
};
use headwater_client::testing::{FakeServer, refusal};
use headwater_client::v1::cache::namespace::Capacity;
use headwater_client::v1::cache::{Eviction, Namespace, Overwrite, WriteMode};
use headwater_client::{Client, ConnectOptions, Error, RetryPolicy};
use tonic::Code;

async fn connect(server: &FakeServer) -> Client {
    let retry = RetryPolicy { attempts_max: 3, backoff_min: Duration::from_millis(1), ..RetryPolicy::default() };
    Client::connect(ConnectOptions { retry, ..server.connect_options() }).await.unwrap()
}

/// A namespace of the fake with these settings, beside its name.
async fn made(client: &Client, settings: Namespace) -> Cache {
    let name = client.create_namespace(Namespace { name: "made".into(), ..settings }).await.unwrap().name;
    client.cache(&name)
}

fn stored(write: Write<Stored>) -> Stored {
    write.applied().unwrap()
}

#[tokio::test]
async fn a_value_is_read_with_its_status() {
    let server = FakeServer::start();
    let cache = connect(&server).await.cache("default");
    let miss = cache.get("a").await.unwrap();
    assert_eq!((miss.value.as_deref(), miss.status.outcome(), miss.status.fwd()), (None, Outcome::Miss, Forward::Miss));
    let first = stored(cache.set_for("a", "one", Duration::from_secs(60)).await.unwrap());
    assert!(!first.replaced && first.ttl.unwrap() > Duration::from_secs(50), "{first:?}");
    let read = cache.get("a").await.unwrap();
    assert_eq!((read.text(), read.status.outcome(), read.status.layer()), (Some("one"), Outcome::Hit, Layer::L2));
    assert_eq!(read.etag, None);
    assert_eq!(cache.get("a").await.unwrap().status.layer(), Layer::L1);
    let options = GetOptions { no_cache: true, etag: true, ..GetOptions::default() };
    let read = cache.get_with("a", options).await.unwrap();
    assert_eq!((read.status.fwd(), read.etag), (Forward::Request, Some(first.etag)));
    assert!(stored(cache.set("a", vec![0xff]).await.unwrap()).replaced);
    assert_eq!(cache.get("a").await.unwrap().text(), None);
    assert!(cache.touch("a", Some(Duration::from_secs(9))).await.unwrap().applied().unwrap().found);
    assert!(cache.get("a").await.unwrap().status.ttl_ms() <= 9000);
    assert!(cache.delete("a").await.unwrap().applied().unwrap().found);
    assert!(!cache.delete("a").await.unwrap().applied().unwrap().found);
    assert!(!cache.get("a").await.unwrap().is_found());
}

#[tokio::test]
async fn a_condition_that_does_not_hold_is_an_answer() {
    let server = FakeServer::start();
    let cache = connect(&server).await.cache("");
    let met = |write: Write<Conditional>| match write.applied().unwrap() {
        Conditional::Met(stored) => Ok(stored.etag),
        Conditional::NotMet { current_etag } => Err(current_etag),
    };
    assert_eq!(met(cache.set_if("a", "0", None, When::Present).await.unwrap()), Err(None));
    let one = met(cache.set_if("a", "1", None, When::Absent).await.unwrap()).unwrap();
    assert_eq!(met(cache.set_if("a", "2", None, When::Absent).await.unwrap()), Err(Some(one.clone())));
    let three = met(cache.set_if("a", "3", None, When::Etag(one.clone())).await.unwrap()).unwrap();
    assert_eq!(met(cache.set_if("a", "4", None, When::Etag(one)).await.unwrap()), Err(Some(three)));
    assert_eq!(cache.get("a").await.unwrap().text(), Some("3"));
    // One caller at a time may make what is missing, and a write takes the right away.
    let ask = GetOptions { lease: Some(Duration::from_secs(5)), ..GetOptions::default() };
    let lease = cache.get_with("b", ask).await.unwrap().lease.unwrap();
    assert_eq!(cache.get_with("b", ask).await.unwrap().lease, None);
    cache.set("b", "newer").await.unwrap();
    assert!(met(cache.set_if("b", "older", None, When::Lease(lease)).await.unwrap()).is_err());
    assert_eq!(cache.get("b").await.unwrap().text(), Some("newer"));
}

#[tokio::test]
async fn numbers_are_added_to() {
    let server = FakeServer::start();
    let cache = connect(&server).await.cache("default");
    assert_eq!(cache.increment("n", 5).await.unwrap().applied().unwrap().value, 5);
    assert_eq!(cache.increment("n", -7).await.unwrap().applied().unwrap().value, -2);
    let options = IncrementOptions { delta: 1, initial: 100, ttl: Some(Duration::from_secs(1)) };
    let sum = cache.increment_with("m", options).await.unwrap().applied().unwrap();
    assert_eq!(sum.value, 101);
    assert!(sum.stored.ttl.unwrap() <= Duration::from_secs(1));
    cache.set("n", "hello").await.unwrap();
    assert_eq!(cache.increment("n", 1).await.unwrap_err().reason(), Some("NOT_A_NUMBER"));
    cache.set("n", i64::MAX.to_string()).await.unwrap();
    assert_eq!(cache.increment("n", 1).await.unwrap_err().reason(), Some("OVERFLOW"));
}

#[tokio::test]
async fn reads_and_writes_that_may_be_done_twice_are_called_again() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let cache = client.cache("default");
    let away = || refusal(Code::Unavailable, "CACHE_UNAVAILABLE", "the store is away", None);
    let busy = || refusal(Code::ResourceExhausted, "OVERLOADED", "too many", Some(Duration::from_millis(1)));
    let calls = |method: &str| server.calls().iter().filter(|call| call.method == method).count();
    for (fail, method) in [
        (away(), "Get"),
        (busy(), "Set"),
        (away(), "Touch"),
        (away(), "Delete"),
        (busy(), "BatchGet"),
        (away(), "BatchSet"),
    ] {
        server.fail_next(fail);
        match method {
            "Get" => drop(cache.get("a").await.unwrap()),
            "Set" => drop(cache.set("a", "1").await.unwrap()),
            "Touch" => drop(cache.touch("a", None).await.unwrap()),
            "Delete" => drop(cache.delete("a").await.unwrap()),
            "BatchGet" => drop(cache.batch_get(["a"]).await.unwrap()),
            _ => drop(cache.batch_set([Item::new("a", "1")]).await.unwrap()),
        }
        assert_eq!(calls(method), 2, "{method}");
    }
    server.fail_next(away());
    assert!(cache.with_retry(RetryPolicy::none()).get("a").await.is_err());
    assert_eq!(calls("Get"), 3);
}

#[tokio::test]
async fn what_would_be_done_twice_is_called_once() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let cache = client.cache("default");
    for delay in [None, Some(Duration::from_millis(1))] {
        server.fail_next(refusal(Code::Unavailable, "CACHE_UNAVAILABLE", "the store is away", delay));
        assert_eq!(cache.increment("n", 1).await.unwrap_err().reason(), Some("CACHE_UNAVAILABLE"));
        server.fail_next(refusal(Code::Unavailable, "CACHE_UNAVAILABLE", "the store is away", delay));
        assert!(cache.set_if("n", "1", None, When::Absent).await.unwrap_err().is_retryable());
        server.fail_next(refusal(Code::Unavailable, "CACHE_UNAVAILABLE", "the store is away", delay));
        assert!(client.create_namespace(Namespace { name: "x".into(), ..Namespace::default() }).await.is_err());
    }
    assert_eq!(server.calls().len(), 6);
    assert!(!cache.get("n").await.unwrap().is_found());
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_key_in_order() {
    let server = FakeServer::start();
    let cache = connect(&server).await.cache("default");
    let items = [Item::new("a", "1"), Item::new("", "2"), Item::new("c", "3").with_ttl(Duration::from_secs(5))];
    let written = cache.batch_set(items).await.unwrap();
    assert!(written[0].is_ok());
    assert_eq!(written[1].as_ref().unwrap_err().reason, "INVALID_REQUEST");
    assert!(stored(written[2].clone().unwrap()).ttl.unwrap() <= Duration::from_secs(5));
    let read = cache.batch_get(["c", "", "b", "a"]).await.unwrap();
    let texts: Vec<Option<&str>> = read.iter().map(|read| read.as_ref().ok().and_then(|read| read.text())).collect();
    assert_eq!(texts, [Some("3"), None, None, Some("1")]);
    assert!(read[1].is_err() && read[2].is_ok());
    let options = BatchGetOptions { etag: true, ..BatchGetOptions::default() };
    let read = cache.batch_get_with(["a", "b"], options).await.unwrap();
    let etags: Vec<bool> = read.into_iter().map(|read| read.unwrap().etag.is_some()).collect();
    assert_eq!(etags, [true, false]);
    let deleted = cache.batch_delete(["b", "a"]).await.unwrap();
    let found: Vec<bool> = deleted.into_iter().map(|result| result.unwrap().applied().unwrap().found).collect();
    assert_eq!(found, [false, true]);
    let nothing: [&str; 0] = [];
    assert_eq!(cache.batch_get(nothing).await.unwrap_err().reason(), Some("EMPTY_BATCH"));
    let many = (0..1001).map(|number: u32| number.to_string());
    assert_eq!(cache.batch_get(many).await.unwrap_err().reason(), Some("BATCH_TOO_LARGE"));
}

#[tokio::test]
async fn values_that_do_not_fit_into_one_answer_are_asked_for_again() {
    let server = FakeServer::start();
    let cache = connect(&server).await.cache("default");
    let keys: Vec<String> = (0..9).map(|number: u32| number.to_string()).collect();
    for key in &keys {
        cache.set(key, key.repeat(1 << 20)).await.unwrap();
    }
    let read = cache.batch_get(&keys).await.unwrap();
    for (key, read) in keys.iter().zip(read) {
        assert_eq!(read.unwrap().text(), Some(key.repeat(1 << 20).as_str()), "{key}");
    }
    assert_eq!(server.calls().iter().filter(|call| call.method == "BatchGet").count(), 3);
}

#[tokio::test]
async fn keys_of_a_batch_that_can_be_done_later_are_done_later() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let settings = Namespace { write_mode: WriteMode::Queued.into(), queue_max: Some(2), ..Namespace::default() };
    let cache = made(&client, settings).await;
    server.hold_writes(true);
    let items = || ["a", "b", "c"].map(|key| Item::new(key, key));
    // As long as nothing leaves the queue the third key keeps its error, and the others their answers.
    let written = cache.batch_set(items()).await.unwrap();
    let reasons: Vec<Option<&str>> = written.iter().map(|it| it.as_ref().err().map(|it| it.reason.as_str())).collect();
    assert_eq!(reasons, [None, None, Some("QUEUE_FULL")]);
    server.hold_writes(false);
    server.hold_writes(true);
    let release = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.hold_writes(false);
    };
    let (written, ()) = tokio::join!(cache.batch_set(items()), release);
    assert!(written.unwrap().iter().all(Result::is_ok));
    assert_eq!(cache.get("c").await.unwrap().text(), Some("c"));
    // Of two values for a key the first must not come after the second.
    server.hold_writes(true);
    let calls = || server.calls().iter().filter(|call| call.method == "BatchSet").count();
    let before = calls();
    let items = ["a", "b", "k", "k"].map(|key| Item::new(key, key));
    assert!(cache.batch_set(items).await.unwrap()[2..].iter().all(Result::is_err));
    assert_eq!(calls(), before + 1);
}

#[tokio::test]
async fn a_refusal_says_the_field_and_the_names() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let error = client.cache("sesions").get("a").await.unwrap_err();
    assert_eq!(error.to_string(), "UNKNOWN_NAMESPACE: there is no namespace \"sesions\"; there are default");
    let error = client.cache("default").set_for("a", "1", Duration::ZERO).await.unwrap_err();
    let Error::Refused(refusal) = error else { panic!("{error:?}") };
    assert_eq!(refusal.violations[0].field, "ttl_ms");
    let cache = made(&client, Namespace { overwrite: Overwrite::Refused.into(), ..Namespace::default() }).await;
    cache.set("a", "1").await.unwrap();
    assert_eq!(cache.set("a", "2").await.unwrap_err().reason(), Some("KEY_EXISTS"));
}

#[tokio::test]
async fn a_queued_write_is_followed() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let settings = Namespace { write_mode: WriteMode::Queued.into(), queue_max: Some(3), ..Namespace::default() };
    let cache = made(&client, settings).await;
    server.hold_writes(true);
    let id = |write: &Write<Stored>| write.write_id().unwrap().to_owned();
    let first = id(&cache.set("a", "1").await.unwrap());
    let counted = cache.increment("a", 4).await.unwrap().write_id().unwrap().to_owned();
    let refused = cache.set_if("a", "9", None, When::Absent).await.unwrap().write_id().unwrap().to_owned();
    assert_eq!(cache.with_retry(RetryPolicy::none()).set("a", "x").await.unwrap_err().reason(), Some("QUEUE_FULL"));
    assert_eq!(cache.get_write(&first, Duration::ZERO).await.unwrap(), QueuedWrite::Waiting);
    assert_eq!(cache.get_write(&first, Duration::from_millis(50)).await.unwrap(), QueuedWrite::Waiting);
    let waits = cache.get_write(&counted, Duration::from_secs(20));
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.hold_writes(false);
    };
    let (state, ()) = tokio::join!(waits, release);
    let QueuedWrite::Applied { value, found, .. } = state.unwrap() else { panic!("not applied") };
    assert_eq!((value, found), (Some(5), true));
    let QueuedWrite::Refused { error, .. } = cache.get_write(&refused, Duration::ZERO).await.unwrap() else {
        panic!("not refused")
    };
    assert_eq!(error.reason, "CONDITION_NOT_MET");
    assert_eq!(cache.get("a").await.unwrap().text(), Some("5"));
    assert_eq!(cache.get_write("none", Duration::ZERO).await.unwrap_err().reason(), Some("UNKNOWN_WRITE"));
}

#[tokio::test]
async fn namespaces_are_made_changed_listed_and_emptied() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let settings =
        Namespace { capacity: Some(Capacity::EntriesMax(2)), eviction: Eviction::Rank.into(), ..Namespace::default() };
    let cache = made(&client, settings.clone()).await;
    for key in ["a", "b"] {
        cache.set(key, "1").await.unwrap();
    }
    cache.get("a").await.unwrap();
    assert_eq!(stored(cache.set("c", "1").await.unwrap()).evicted, 1);
    assert!(!cache.get("b").await.unwrap().is_found());
    let error = client.create_namespace(Namespace { name: "made".into(), ..settings }).await.unwrap_err();
    assert_eq!(error.reason(), Some("NAMESPACE_EXISTS"));
    let names: Vec<String> = client.list_namespaces().await.unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["default", "made"]);
    let shorter = Namespace { name: "made".into(), ttl_ms: Some(5000), ..Namespace::default() };
    let changed = client.update_namespace(shorter.clone(), &[]).await.unwrap();
    assert_eq!((changed.ttl_ms(), changed.eviction(), changed.revision), (5000, Eviction::Rank, 2));
    // Named and unset: as in the settings again.
    let reset = Namespace { ttl_ms: None, ..shorter };
    assert_eq!(client.update_namespace(reset.clone(), &["ttl_ms"]).await.unwrap().ttl_ms(), 3_600_000);
    let late = Namespace { revision: 1, ..reset };
    assert_eq!(client.update_namespace(late, &["ttl_ms"]).await.unwrap_err().reason(), Some("NAMESPACE_FIXED"));
    assert_eq!(client.get_namespace("made").await.unwrap().usage.unwrap().store_entries, Some(2));
    assert_eq!(client.flush_namespace("made").await.unwrap(), 2);
    assert!(!cache.get("c").await.unwrap().is_found());
}

#[tokio::test]
async fn a_stale_value_is_served_as_such() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    let settings = Namespace { stale_while_revalidate_ms: Some(60_000), ..Namespace::default() };
    let cache = made(&client, settings).await;
    cache.set_for("a", "1", Duration::from_millis(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let read = cache.get("a").await.unwrap();
    assert!(read.is_found() && read.is_stale(), "{read:?}");
    assert!(read.status.ttl_ms() < 0);
}
