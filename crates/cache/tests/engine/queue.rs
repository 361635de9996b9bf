use std::time::Duration;

use headwater_cache::{CacheError, Condition, Declared, OpAsk, PolicyPatch, QueuedState, Refusal, WriteMode, Written};
use tokio::time::sleep;

use crate::world::{Replica, bytes, options, replica, store};

fn queued(patch: PolicyPatch) -> Vec<Declared> {
    vec![Declared { patch: PolicyPatch { write_mode: Some(WriteMode::Queued), ..patch }, ..Declared::new("q") }]
}

async fn put(replica: &Replica, key: &str, value: &str) -> String {
    let op = OpAsk::Put { value: bytes(value), ttl_ms: None, condition: Condition::Any };
    match replica.write_in("q", key, op).await.unwrap() {
        Written::Queued(id) => id,
        Written::Done(_) => panic!("not queued"),
    }
}

async fn state(replica: &Replica, id: &str) -> QueuedState {
    replica.queued(&replica.namespace("q").unwrap(), id, Duration::from_secs(5)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn writes_are_applied_in_order_across_replicas_and_read_once_they_are() {
    let store = store();
    let one = replica(&store, options(), queued(PolicyPatch::default())).await;
    let two = replica(&store, options(), queued(PolicyPatch::default())).await;
    let mut last = String::new();
    for round in 0..50 {
        put(&one, "k", &format!("one {round}")).await;
        last = put(&two, "k", &format!("two {round}")).await;
    }
    let QueuedState::Applied(done) = state(&two, &last).await else { panic!("not applied") };
    assert!(done.existed);
    assert_eq!(two.get_in("q", "k").await.unwrap().value.as_deref(), Some(&b"two 49"[..]), "its own write at once");
    sleep(Duration::from_millis(60)).await;
    assert_eq!(one.get_in("q", "k").await.unwrap().value.as_deref(), Some(&b"two 49"[..]));
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_write_queues_and_a_refusal_is_told_by_its_id() {
    let store = store();
    let one = replica(&store, options(), queued(PolicyPatch::default())).await;
    put(&one, "k", "v").await;
    let mut ids = Vec::new();
    for op in [
        OpAsk::Add { delta: 1, initial: 0, ttl_ms: None },
        OpAsk::Put { value: bytes("w"), ttl_ms: None, condition: Condition::Absent },
        OpAsk::Touch { ttl_ms: Some(5000) },
        OpAsk::Delete,
    ] {
        let Written::Queued(id) = one.write_in("q", "k", op).await.unwrap() else { panic!("not queued") };
        ids.push(id);
    }
    assert_eq!(state(&one, &ids[0]).await, QueuedState::Refused(Refusal::NotANumber));
    assert!(matches!(state(&one, &ids[1]).await, QueuedState::Refused(Refusal::NotMet { current: Some(_) })));
    assert!(matches!(state(&one, &ids[2]).await, QueuedState::Applied(done) if done.ttl_ms == Some(5000)));
    assert!(matches!(state(&one, &ids[3]).await, QueuedState::Applied(done) if done.existed));
    let unknown = one.queued(&one.namespace("q").unwrap(), "99999999-0", Duration::ZERO).await;
    assert_eq!(unknown, Err(CacheError::UnknownWrite));
}

#[tokio::test(start_paused = true)]
async fn another_replica_goes_on_where_the_one_that_applies_is_gone() {
    let store = store();
    let one = replica(&store, options(), queued(PolicyPatch::default())).await;
    let first = put(&one, "k", "1").await;
    assert!(matches!(state(&one, &first).await, QueuedState::Applied(_)));
    let two = replica(&store, options(), queued(PolicyPatch::default())).await;
    drop(one);
    let second = put(&two, "k", "2").await;
    assert!(matches!(state(&two, &second).await, QueuedState::Applied(_)));
}

#[tokio::test(start_paused = true)]
async fn a_queue_has_a_bound() {
    let store = store();
    let one = replica(&store, options(), queued(PolicyPatch { queue_max: Some(3), ..Default::default() })).await;
    let namespace = one.namespace("q").unwrap();
    let ask = |n: u32| headwater_cache::WriteAsk {
        key: bytes("k"),
        op: OpAsk::Put { value: bytes(&n.to_string()), ttl_ms: None, condition: Condition::Any },
    };
    let results = one.write(&namespace, (0..4).map(ask).collect()).await;
    assert!(results.iter().all(|result| matches!(result, Err(CacheError::QueueFull(_)))), "{results:?}");
    assert!(one.write(&namespace, (0..3).map(ask).collect()).await.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_long_queue_holds_up_no_other() {
    let store = store();
    let mut declared = queued(PolicyPatch::default());
    declared.extend(queued(PolicyPatch::default()).into_iter().map(|it| Declared { name: "other".into(), ..it }));
    let few = headwater_cache::CacheOptions { queue_step_max: 1, ..options() };
    let one = replica(&store, few, declared).await;
    store.answer_delay_ms.store(1, std::sync::atomic::Ordering::Relaxed);
    let long = one.namespace("q").unwrap();
    let ask = |n: u32| headwater_cache::WriteAsk {
        key: bytes("k"),
        op: OpAsk::Put { value: bytes(&n.to_string()), ttl_ms: None, condition: Condition::Any },
    };
    for result in one.write(&long, (0..5000).map(ask).collect()).await {
        result.unwrap();
    }
    let op = OpAsk::Put { value: bytes("v"), ttl_ms: None, condition: Condition::Any };
    let Written::Queued(id) = one.write_in("other", "k", op).await.unwrap() else { panic!("not queued") };
    let state = one.queued(&one.namespace("other").unwrap(), &id, Duration::from_secs(1)).await.unwrap();
    assert!(matches!(state, QueuedState::Applied(_)), "{state:?}");
    assert!(one.usage(&long).await.unwrap().queued_writes > 1000);
}
