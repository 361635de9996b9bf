//! What each method answers where nothing is wrong.

use headwater_contracts::v1::cache::batch_delete_result::Result as Deleted;
use headwater_contracts::v1::cache::batch_get_result::Result as Read;
use headwater_contracts::v1::cache::batch_set_result::Result as Wrote;
use headwater_contracts::v1::cache::condition::Condition as When;
use headwater_contracts::v1::cache::{
    BatchDeleteRequest, BatchGetRequest, BatchSetItem, BatchSetRequest, Condition, DeleteRequest, Forward, GetRequest,
    IncrementRequest, Layer, Namespace, Outcome, SetIfRequest, SetRequest, TouchRequest,
};

use crate::stage::{Client, Stage, bytes, get, set, until, value};

crate::on_every_store!(
    a_value_is_read_back_and_a_miss_is_an_answer,
    a_batch_has_a_result_for_each_key_in_order,
    a_condition_holds_or_is_answered,
    numbers_times_and_deletes,
    a_lease_is_given_once_and_taken_by_any_write,
    an_update_at_capacity_evicts_nothing,
);

async fn a_value_is_read_back_and_a_miss_is_an_answer(stage: Stage) {
    let client = &mut stage.client().await;
    let miss = get(client, "", "hello").await.unwrap();
    let status = miss.status.as_ref().unwrap();
    assert_eq!((status.outcome(), status.layer(), status.fwd()), (Outcome::Miss, Layer::L2, Forward::Miss));
    assert_eq!((miss.value, status.ttl_ms), (None, None));

    let written = set(client, "default", "hello", "world").await.unwrap();
    assert!(!written.replaced && written.write_id.is_empty() && written.etag.len() == 20);
    let ttl_ms = written.ttl_ms.unwrap();
    assert!((3_240_000..=3_600_000).contains(&ttl_ms), "an hour, less the jitter: {ttl_ms}");
    assert!(set(client, "", "hello", "wörld").await.unwrap().replaced);
    assert_eq!(value(client, "", "hello").await.as_deref(), Some("wörld"), "what was written is read at once");
    until("a hit of L1", async || {
        let answer = get(client, "", "hello").await.unwrap();
        assert_eq!(answer.value, Some(bytes("wörld")));
        assert!(answer.etag.is_empty(), "only where it is asked for");
        let status = answer.status.unwrap();
        assert_eq!(status.outcome(), Outcome::Hit);
        if status.layer() == Layer::L1 && status.fwd() == Forward::Unspecified {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    let request = GetRequest { key: bytes("hello"), no_cache: true, etag: true, ..Default::default() };
    let answer = client.get(request).await.unwrap().into_inner();
    let status = answer.status.unwrap();
    assert_eq!((status.outcome(), status.layer(), status.fwd()), (Outcome::Hit, Layer::L2, Forward::Request));
    assert_eq!(&*answer.etag, headwater_cache::etag_of("wörld".as_bytes()));
    // A value may be empty, and is not a miss.
    set(client, "", "empty", "").await.unwrap();
    assert_eq!(value(client, "", "empty").await.as_deref(), Some(""));
}

async fn a_batch_has_a_result_for_each_key_in_order(stage: Stage) {
    let client = &mut stage.client().await;
    let item = |key: &str, value: &str| BatchSetItem { key: bytes(key), value: bytes(value), ttl_ms: Some(60_000) };
    let items = vec![item("a", "1"), item("b", "2"), item("a", "3")];
    let answer = client.batch_set(BatchSetRequest { items, ..Default::default() }).await.unwrap().into_inner();
    let replaced: Vec<bool> = answer
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            Wrote::Written(written) => written.replaced,
            Wrote::Error(error) => panic!("{error:?}"),
        })
        .collect();
    assert_eq!(replaced, [false, false, true], "a key that is there twice is written twice, in order");
    let keys = vec![bytes("a"), bytes("none"), bytes("b"), bytes("a")];
    let answer =
        client.batch_get(BatchGetRequest { keys, etag: true, ..Default::default() }).await.unwrap().into_inner();
    let values: Vec<Option<String>> = answer
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            Read::Found(found) => {
                assert_eq!(found.etag.is_empty(), found.value.is_none());
                found.value.map(|value| String::from_utf8(value.to_vec()).unwrap())
            }
            Read::Error(error) => panic!("{error:?}"),
        })
        .collect();
    assert_eq!(values, [Some("3".to_owned()), None, Some("2".to_owned()), Some("3".to_owned())]);
    let keys = vec![bytes("a"), bytes("none")];
    let answer = client.batch_delete(BatchDeleteRequest { keys, ..Default::default() }).await.unwrap().into_inner();
    let found: Vec<bool> = answer
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            Deleted::Forgotten(forgotten) => forgotten.found,
            Deleted::Error(error) => panic!("{error:?}"),
        })
        .collect();
    assert_eq!(found, [true, false]);
    assert_eq!(value(client, "", "a").await, None);
}

async fn a_condition_holds_or_is_answered(stage: Stage) {
    let client = &mut stage.client().await;
    let request = |value: &str, when| SetIfRequest {
        key: bytes("k"),
        value: bytes(value),
        condition: Some(Condition { condition: Some(when) }),
        ..Default::default()
    };
    let present = client.set_if(request("0", When::Absent(false))).await.unwrap().into_inner();
    assert!(!present.met && present.current_etag.is_empty());
    let first = client.set_if(request("1", When::Absent(true))).await.unwrap().into_inner();
    assert!(first.met);
    let etag = first.written.unwrap().etag;
    let second = client.set_if(request("2", When::Absent(true))).await.unwrap().into_inner();
    assert!(!second.met);
    assert_eq!(second.current_etag, etag, "the etag to go on with");
    let third = client.set_if(request("3", When::Etag(etag.clone()))).await.unwrap().into_inner();
    assert!(third.met);
    let fourth = client.set_if(request("4", When::Etag(etag))).await.unwrap().into_inner();
    assert!(!fourth.met && fourth.current_etag == third.written.unwrap().etag);
    assert_eq!(value(client, "", "k").await.as_deref(), Some("3"));
}

async fn numbers_times_and_deletes(stage: Stage) {
    let client = &mut stage.client().await;
    let add = |delta| IncrementRequest { key: bytes("n"), delta, initial: 10, ..Default::default() };
    assert_eq!(client.increment(add(5)).await.unwrap().into_inner().value, 15);
    let sum = client.increment(add(-16)).await.unwrap().into_inner();
    assert_eq!(sum.value, -1);
    assert!(sum.written.unwrap().replaced);
    assert_eq!(value(client, "", "n").await.as_deref(), Some("-1"));

    let touch = |key: &str| TouchRequest { key: bytes(key), ttl_ms: Some(5_000), ..Default::default() };
    assert!(!client.touch(touch("none")).await.unwrap().into_inner().found);
    let touched = client.touch(touch("n")).await.unwrap().into_inner();
    assert!(touched.found);
    let ttl_ms = touched.written.unwrap().ttl_ms.unwrap();
    assert!((1..=5_000).contains(&ttl_ms), "{ttl_ms}");
    assert_eq!(value(client, "", "n").await.as_deref(), Some("-1"));

    let delete = || DeleteRequest { key: bytes("n"), ..Default::default() };
    assert!(client.delete(delete()).await.unwrap().into_inner().found);
    assert!(!client.delete(delete()).await.unwrap().into_inner().found);
    assert_eq!(value(client, "", "n").await, None, "what was deleted is gone at once");

    let short = SetRequest { key: bytes("short"), value: bytes("x"), ttl_ms: Some(30), ..Default::default() };
    assert_eq!(
        client.set(short).await.unwrap().into_inner().written.unwrap().ttl_ms,
        Some(30),
        "no jitter where it is asked for"
    );
    until("it expires", async || match value(client, "", "short").await {
        None => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
}

async fn a_lease_is_given_once_and_taken_by_any_write(stage: Stage) {
    let client = &mut stage.client().await;
    let ask = || GetRequest { key: bytes("k"), lease: true, ..Default::default() };
    let put = |lease| SetIfRequest {
        key: bytes("k"),
        value: bytes("loaded"),
        condition: Some(Condition { condition: Some(When::Lease(lease)) }),
        ..Default::default()
    };
    let first = client.get(ask()).await.unwrap().into_inner().lease;
    assert!(!first.is_empty());
    assert!(client.get(ask()).await.unwrap().into_inner().lease.is_empty(), "one has it at a time");
    let delete = DeleteRequest { key: bytes("k"), ..Default::default() };
    client.delete(delete).await.unwrap();
    assert!(!client.set_if(put(first)).await.unwrap().into_inner().met, "a delete takes it away");
    assert_eq!(value(client, "", "k").await, None, "no deleted key comes back");
    let second = client.get(ask()).await.unwrap().into_inner().lease;
    assert!(client.set_if(put(second)).await.unwrap().into_inner().met);
    assert_eq!(value(client, "", "k").await.as_deref(), Some("loaded"));
}

/// The example of the first proxy: with room for two, updating the lowest of both lost both.
async fn an_update_at_capacity_evicts_nothing(stage: Stage) {
    let client = &mut stage.client().await;
    let two = headwater_contracts::v1::cache::namespace::Capacity::EntriesMax(2);
    let mut ranked = Namespace { capacity: Some(two), ..Default::default() };
    ranked.set_eviction(headwater_contracts::v1::cache::Eviction::Rank);
    let name = &stage.namespace(ranked).await;
    // Reads of the store: those of L1 raise ranks too, a little later.
    let read = async |client: &mut Client, key| {
        let request = GetRequest { namespace: name.clone(), key: bytes(key), no_cache: true, ..Default::default() };
        client.get(request).await.unwrap().into_inner().value
    };
    set(client, name, "hello", "1").await.unwrap();
    set(client, name, "hello2", "1").await.unwrap();
    assert_eq!(read(client, "hello").await, Some(bytes("1")));
    assert_eq!(set(client, name, "hello2", "2").await.unwrap().evicted, 0);
    assert_eq!(read(client, "hello").await, Some(bytes("1")));
    assert_eq!(read(client, "hello2").await, Some(bytes("2")));
    // hello was read twice, hello2 once: the lowest rank goes.
    assert_eq!(set(client, name, "hello3", "3").await.unwrap().evicted, 1);
    assert_eq!(read(client, "hello2").await, None);
    assert_eq!(read(client, "hello").await, Some(bytes("1")));
    assert_eq!(read(client, "hello3").await, Some(bytes("3")));
}
