//! What is refused, and how.

use bytes::Bytes;
use headwater_contracts::v1::cache::batch_get_result::Result as Read;
use headwater_contracts::v1::cache::batch_set_result::Result as Wrote;
use headwater_contracts::v1::cache::condition::Condition as When;
use headwater_contracts::v1::cache::{
    BatchDeleteRequest, BatchGetRequest, BatchSetItem, BatchSetRequest, Condition, DeleteRequest,
    FlushNamespaceRequest, GetNamespaceRequest, GetRequest, GetWriteRequest, IncrementRequest, SetIfRequest,
    SetRequest, TouchRequest, UpdateNamespaceRequest, WatchRequest,
};
use headwater_contracts::v1::error::Reason;

use crate::stage::{ONCE, Stage, bytes, reason, set, value, wrong_field};

crate::on_every_store!(
    a_key_must_have_bytes_and_not_too_many,
    a_value_must_not_be_too_long,
    a_namespace_must_be_there,
    a_time_to_live_must_be_in_its_range,
    one_bad_key_of_a_thousand_is_its_own_error,
    a_batch_must_have_keys_and_not_too_many,
    a_batch_that_would_be_too_large_an_answer_is_answered_in_part,
    a_number_must_be_one_and_fit,
    a_condition_must_be_one,
    what_has_a_value_keeps_it_where_overwriting_is_refused,
);

async fn a_key_must_have_bytes_and_not_too_many(stage: Stage) {
    let client = &mut stage.client().await;
    for key in [Bytes::new(), Bytes::from(vec![b'k'; 1025])] {
        let get = GetRequest { key: key.clone(), ..Default::default() };
        assert_eq!(wrong_field(client.get(get).await), "key");
        assert_eq!(wrong_field(client.set(SetRequest { key: key.clone(), ..Default::default() }).await), "key");
        let condition = Some(Condition { condition: Some(When::Absent(true)) });
        let set_if = SetIfRequest { key: key.clone(), condition, ..Default::default() };
        assert_eq!(wrong_field(client.set_if(set_if).await), "key");
        assert_eq!(
            wrong_field(client.increment(IncrementRequest { key: key.clone(), ..Default::default() }).await),
            "key"
        );
        assert_eq!(wrong_field(client.touch(TouchRequest { key: key.clone(), ..Default::default() }).await), "key");
        assert_eq!(wrong_field(client.delete(DeleteRequest { key: key.clone(), ..Default::default() }).await), "key");
        let keys = vec![bytes("good"), key.clone()];
        let watch = WatchRequest { keys, ..Default::default() };
        assert_eq!(wrong_field(client.watch(watch).await), "keys[1]");
    }
    let longest = SetRequest { key: Bytes::from(vec![b'k'; 1024]), value: bytes("v"), ..Default::default() };
    client.set(longest).await.unwrap();
    let any = SetRequest { key: Bytes::from_static(&[0, 255, b'\r', b'\n', b'{', b'}']), ..Default::default() };
    client.set(any).await.unwrap();
}

async fn a_value_must_not_be_too_long(stage: Stage) {
    let client = &mut stage.client().await;
    let put = |bytes_of_value| SetRequest {
        key: bytes("k"),
        value: Bytes::from(vec![0; bytes_of_value]),
        ..Default::default()
    };
    assert_eq!(wrong_field(client.set(put(1_048_577)).await), "value");
    client.set(put(1_048_576)).await.unwrap();
}

async fn a_namespace_must_be_there(stage: Stage) {
    let client = &mut stage.client().await;
    set(client, "default", "k", "v").await.unwrap();
    let namespace = "defualt".to_owned();
    let unknown = Reason::UnknownNamespace;
    let get = GetRequest { namespace: namespace.clone(), key: bytes("k"), ..Default::default() };
    let told = client.get(get.clone()).await.unwrap_err();
    assert!(told.message().contains("did you mean \"default\"?"), "{told}");
    assert_eq!(reason(client.get(get).await), unknown);
    let keys = vec![bytes("k")];
    let batch = BatchGetRequest { namespace: namespace.clone(), keys: keys.clone(), ..Default::default() };
    assert_eq!(reason(client.batch_get(batch).await), unknown);
    assert_eq!(reason(set(client, &namespace, "k", "v").await), unknown);
    let items = vec![BatchSetItem { key: bytes("k"), ..Default::default() }];
    let batch = BatchSetRequest { namespace: namespace.clone(), items };
    assert_eq!(reason(client.batch_set(batch).await), unknown);
    let increment = IncrementRequest { namespace: namespace.clone(), key: bytes("k"), ..Default::default() };
    assert_eq!(reason(client.increment(increment).await), unknown);
    let touch = TouchRequest { namespace: namespace.clone(), key: bytes("k"), ..Default::default() };
    assert_eq!(reason(client.touch(touch).await), unknown);
    let delete = DeleteRequest { namespace: namespace.clone(), key: bytes("k") };
    assert_eq!(reason(client.delete(delete).await), unknown);
    let batch = BatchDeleteRequest { namespace: namespace.clone(), keys: keys.clone() };
    assert_eq!(reason(client.batch_delete(batch).await), unknown);
    let watch = WatchRequest { namespace: namespace.clone(), keys, ..Default::default() };
    assert_eq!(reason(client.watch(watch).await), unknown);
    let write = GetWriteRequest { namespace: namespace.clone(), write_id: "1-0".to_owned(), ..Default::default() };
    assert_eq!(reason(client.get_write(write).await), unknown);
    assert_eq!(reason(client.get_namespace(GetNamespaceRequest { name: namespace.clone() }).await), unknown);
    assert_eq!(reason(client.flush_namespace(FlushNamespaceRequest { name: namespace.clone() }).await), unknown);
    let named = headwater_contracts::v1::cache::Namespace { name: namespace, ttl_ms: Some(1), ..Default::default() };
    let update = UpdateNamespaceRequest { namespace: Some(named), ..Default::default() };
    assert_eq!(reason(client.update_namespace(update).await), unknown);
}

async fn a_time_to_live_must_be_in_its_range(stage: Stage) {
    let client = &mut stage.client().await;
    let most = 30 * 86_400_000;
    for ttl_ms in [0, -1, i64::MIN, most + 1, i64::MAX] {
        let ttl_ms = Some(ttl_ms);
        let put = SetRequest { key: bytes("k"), ttl_ms, ..Default::default() };
        assert_eq!(wrong_field(client.set(put).await), "ttl_ms", "{ttl_ms:?}");
        let condition = Some(Condition { condition: Some(When::Absent(true)) });
        let put = SetIfRequest { key: bytes("k"), ttl_ms, condition, ..Default::default() };
        assert_eq!(wrong_field(client.set_if(put).await), "ttl_ms", "{ttl_ms:?}");
        let add = IncrementRequest { key: bytes("k"), ttl_ms, ..Default::default() };
        assert_eq!(wrong_field(client.increment(add).await), "ttl_ms", "{ttl_ms:?}");
        let touch = TouchRequest { key: bytes("k"), ttl_ms, ..Default::default() };
        assert_eq!(wrong_field(client.touch(touch).await), "ttl_ms", "{ttl_ms:?}");
    }
    let put = SetRequest { key: bytes("k"), ttl_ms: Some(most), ..Default::default() };
    client.set(put).await.unwrap();
    for lease_ms in [-1, 60_001] {
        let ask = GetRequest { key: bytes("k"), lease: true, lease_ms, ..Default::default() };
        assert_eq!(wrong_field(client.get(ask).await), "lease_ms");
    }
}

async fn one_bad_key_of_a_thousand_is_its_own_error(stage: Stage) {
    let client = &mut stage.client().await;
    let keys: Vec<Bytes> =
        (0..1000).map(|n| if n == 617 { Bytes::new() } else { bytes(&format!("key {n}")) }).collect();
    let items = keys.iter().map(|key| BatchSetItem { key: key.clone(), value: key.clone(), ttl_ms: None }).collect();
    let answer = client.batch_set(BatchSetRequest { items, ..Default::default() }).await.unwrap().into_inner();
    assert_eq!(answer.results.len(), 1000);
    for (n, result) in answer.results.into_iter().enumerate() {
        match result.result.unwrap() {
            Wrote::Written(_) => assert_ne!(n, 617),
            Wrote::Error(error) => {
                assert_eq!((n, error.reason(), error.retry_delay), (617, Reason::InvalidRequest, None));
                assert!(error.detail.contains("key"), "{}", error.detail);
            }
        }
    }
    let answer =
        client.batch_get(BatchGetRequest { keys: keys.clone(), ..Default::default() }).await.unwrap().into_inner();
    for (n, (result, key)) in answer.results.into_iter().zip(keys).enumerate() {
        match result.result.unwrap() {
            Read::Found(found) => assert_eq!(found.value, Some(key), "{n}"),
            Read::Error(error) => assert_eq!((n, error.reason()), (617, Reason::InvalidRequest)),
        }
    }
    // So is a value that is too long, and a time that is out of its range.
    let item = |key: &str, value: usize, ttl_ms| BatchSetItem { key: bytes(key), value: vec![1; value].into(), ttl_ms };
    let items = vec![item("a", 1, None), item("b", 1_048_577, None), item("c", 1, Some(0)), item("d", 1, None)];
    let answer = client.batch_set(BatchSetRequest { items, ..Default::default() }).await.unwrap().into_inner();
    let is_written: Vec<bool> =
        answer.results.iter().map(|result| matches!(result.result, Some(Wrote::Written(_)))).collect();
    assert_eq!(is_written, [true, false, false, true]);
}

async fn a_batch_must_have_keys_and_not_too_many(stage: Stage) {
    let client = &mut stage.client().await;
    for n in [0, 1001] {
        let keys: Vec<Bytes> = (0..n).map(|n| bytes(&n.to_string())).collect();
        let items = keys.iter().map(|key| BatchSetItem { key: key.clone(), ..Default::default() }).collect();
        let get = BatchGetRequest { keys: keys.clone(), ..Default::default() };
        assert_eq!(wrong_field(client.batch_get(get).await), "keys", "{n}");
        let set = BatchSetRequest { items, ..Default::default() };
        assert_eq!(wrong_field(client.batch_set(set).await), "items", "{n}");
        let delete = BatchDeleteRequest { keys: keys.clone(), ..Default::default() };
        assert_eq!(wrong_field(client.batch_delete(delete).await), "keys", "{n}");
        let watch = WatchRequest { keys, ..Default::default() };
        assert_eq!(wrong_field(client.watch(watch).await), "keys", "{n}");
    }
}

async fn a_batch_that_would_be_too_large_an_answer_is_answered_in_part(stage: Stage) {
    let client = &mut stage.client().await;
    let keys: Vec<Bytes> = (0..6).map(|n| bytes(&n.to_string())).collect();
    for key in &keys {
        let value = Bytes::from(vec![b'v'; 1_000_000]);
        client.set(SetRequest { key: key.clone(), value, ..Default::default() }).await.unwrap();
    }
    let mut rest = keys;
    let mut calls = 0;
    while !rest.is_empty() {
        calls += 1;
        let request = BatchGetRequest { keys: rest.clone(), ..Default::default() };
        let results = client.batch_get(request).await.unwrap().into_inner().results;
        let mut left = Vec::new();
        for (key, result) in rest.into_iter().zip(results) {
            match result.result.unwrap() {
                Read::Found(found) => assert_eq!(found.value.map(|value| value.len()), Some(1_000_000)),
                Read::Error(error) => {
                    assert_eq!((error.reason(), error.retry_delay), (Reason::BatchTooLarge, None));
                    left.push(key);
                }
            }
        }
        rest = left;
    }
    assert_eq!(calls, 2, "four and two, as 4 MiB hold");
}

async fn a_number_must_be_one_and_fit(stage: Stage) {
    let client = &mut stage.client().await;
    let add = |delta| IncrementRequest { key: bytes("k"), delta, ..Default::default() };
    for text in ["hello", "", " 1", "+1", "01", "1.5", "9223372036854775808", "-0"] {
        set(client, "", "k", text).await.unwrap();
        assert_eq!(reason(client.increment(add(1)).await), Reason::NotANumber, "{text:?}");
        assert_eq!(value(client, "", "k").await.as_deref(), Some(text), "nothing was written");
    }
    for (text, delta) in [("9223372036854775807", 1), ("-9223372036854775808", -1), ("-2", i64::MIN)] {
        set(client, "", "k", text).await.unwrap();
        assert_eq!(reason(client.increment(add(delta)).await), Reason::Overflow, "{text} {delta}");
        assert_eq!(value(client, "", "k").await.as_deref(), Some(text));
    }
    set(client, "", "k", "9223372036854775806").await.unwrap();
    assert_eq!(client.increment(add(1)).await.unwrap().into_inner().value, i64::MAX, "to the digit");
    let add = IncrementRequest { key: bytes("new"), delta: 1, initial: i64::MAX, ..Default::default() };
    assert_eq!(reason(client.increment(add).await), Reason::Overflow);
    assert_eq!(value(client, "", "new").await, None);
}

async fn a_condition_must_be_one(stage: Stage) {
    let client = &mut stage.client().await;
    let put = |condition| SetIfRequest { key: bytes("k"), condition, ..Default::default() };
    assert_eq!(wrong_field(client.set_if(put(None)).await), "condition");
    assert_eq!(wrong_field(client.set_if(put(Some(Condition { condition: None }))).await), "condition");
    for (when, field) in [
        (When::Etag(bytes("short")), "condition.etag"),
        (When::Lease(Bytes::new()), "condition.lease"),
        (When::Lease(Bytes::from(vec![0; 1000])), "condition.lease"),
    ] {
        assert_eq!(wrong_field(client.set_if(put(Some(Condition { condition: Some(when) }))).await), field);
    }
    let write = GetWriteRequest { ..Default::default() };
    assert_eq!(wrong_field(client.get_write(write).await), "write_id");
    assert_eq!(wrong_field(client.watch(WatchRequest::default()).await), "keys");
}

async fn what_has_a_value_keeps_it_where_overwriting_is_refused(stage: Stage) {
    let client = &mut stage.client().await;
    set(client, ONCE, "k", "1").await.unwrap();
    assert_eq!(reason(set(client, ONCE, "k", "2").await), Reason::KeyExists);
    let add = IncrementRequest { namespace: ONCE.to_owned(), key: bytes("k"), delta: 1, ..Default::default() };
    assert_eq!(reason(client.increment(add).await), Reason::KeyExists);
    assert_eq!(value(client, ONCE, "k").await.as_deref(), Some("1"));
    let touch = TouchRequest { namespace: ONCE.to_owned(), key: bytes("k"), ttl_ms: Some(60_000) };
    assert!(client.touch(touch).await.unwrap().into_inner().found);
    let delete = DeleteRequest { namespace: ONCE.to_owned(), key: bytes("k") };
    assert!(client.delete(delete).await.unwrap().into_inner().found);
    set(client, ONCE, "k", "2").await.unwrap();
    assert_eq!(value(client, ONCE, "k").await.as_deref(), Some("2"));
}
