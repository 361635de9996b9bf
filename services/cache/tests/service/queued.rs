//! Namespaces whose writes are queued.

use headwater_contracts::v1::cache::batch_set_result::Result as Wrote;
use headwater_contracts::v1::cache::condition::Condition as When;
use headwater_contracts::v1::cache::{
    BatchSetItem, BatchSetRequest, Condition, DeleteRequest, GetWriteRequest, GetWriteResponse, IncrementRequest,
    Namespace, Overwrite, SetIfRequest, WriteMode, WriteState,
};
use headwater_contracts::v1::error::Reason;
use prost_types::Duration;

use crate::stage::{Client, Stage, bytes, reason, set, value, wrong_field};

crate::on_every_store!(
    queued_writes_are_followed_to_their_end,
    a_refused_write_says_why,
    a_full_queue_takes_all_of_a_batch_or_nothing,
    a_write_that_nobody_queued_is_unknown,
);

fn queued() -> Namespace {
    Namespace { write_mode: WriteMode::Queued.into(), ..Default::default() }
}

async fn ended(client: &mut Client, namespace: &str, id: &str) -> GetWriteResponse {
    let wait = Some(Duration { seconds: 9, nanos: 0 });
    let request = GetWriteRequest { namespace: namespace.to_owned(), write_id: id.to_owned(), wait };
    client.get_write(request).await.unwrap().into_inner()
}

async fn queued_writes_are_followed_to_their_end(stage: Stage) {
    let client = &mut stage.client().await;
    let name = &stage.namespace(queued()).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        let written = set(client, name, "k", &n.to_string()).await.unwrap();
        assert!(!written.write_id.is_empty() && written.etag.is_empty(), "nothing else is set");
        ids.push(written.write_id);
    }
    let add = IncrementRequest { namespace: name.clone(), key: bytes("k"), delta: 100, ..Default::default() };
    let sum = client.increment(add).await.unwrap().into_inner();
    assert_eq!(sum.value, 0);
    let applied = ended(client, name, &sum.written.unwrap().write_id).await;
    assert_eq!((applied.state(), applied.value), (WriteState::Applied, Some(119)), "after all that were queued before");
    assert_eq!(value(client, name, "k").await.as_deref(), Some("119"), "whoever knows of a write reads it");
    for (n, id) in ids.iter().enumerate() {
        let applied = ended(client, name, id).await;
        assert_eq!((applied.state(), applied.found), (WriteState::Applied, n > 0));
    }
    let delete = DeleteRequest { namespace: name.clone(), key: bytes("k") };
    let deleted = client.delete(delete).await.unwrap().into_inner();
    assert!(!deleted.found, "it is not known yet");
    let applied = ended(client, name, &deleted.written.unwrap().write_id).await;
    assert!(applied.found && applied.state() == WriteState::Applied);
    assert_eq!(value(client, name, "k").await, None);
}

async fn a_refused_write_says_why(stage: Stage) {
    let client = &mut stage.client().await;
    let name = &stage.namespace(Namespace { overwrite: Overwrite::Refused.into(), ..queued() }).await;
    let first = set(client, name, "k", "1").await.unwrap().write_id;
    let second = set(client, name, "k", "2").await.unwrap().write_id;
    assert_eq!(ended(client, name, &first).await.state(), WriteState::Applied);
    let refused = ended(client, name, &second).await;
    assert!(refused.found && refused.state() == WriteState::Refused && refused.written.is_none());
    assert_eq!(refused.error.unwrap().reason(), Reason::KeyExists);

    let name = &stage.namespace(queued()).await;
    let put = SetIfRequest {
        namespace: name.clone(),
        key: bytes("k"),
        condition: Some(Condition { condition: Some(When::Absent(false)) }),
        ..Default::default()
    };
    let answer = client.set_if(put).await.unwrap().into_inner();
    assert!(!answer.met);
    let refused = ended(client, name, &answer.written.unwrap().write_id).await;
    assert!(!refused.found && refused.state() == WriteState::Refused);
    assert_eq!(refused.error.unwrap().reason(), Reason::ConditionNotMet);
    set(client, name, "k", "x").await.unwrap();
    let add = IncrementRequest { namespace: name.clone(), key: bytes("k"), delta: 1, ..Default::default() };
    let id = client.increment(add).await.unwrap().into_inner().written.unwrap().write_id;
    assert_eq!(ended(client, name, &id).await.error.unwrap().reason(), Reason::NotANumber);
}

async fn a_full_queue_takes_all_of_a_batch_or_nothing(stage: Stage) {
    let client = &mut stage.client().await;
    let name = &stage.namespace(Namespace { queue_max: Some(3), ..queued() }).await;
    let items = |n: usize| {
        (0..n).map(|n| BatchSetItem { key: bytes(&format!("k{n}")), ..Default::default() }).collect::<Vec<_>>()
    };
    let batch = BatchSetRequest { namespace: name.clone(), items: items(4) };
    for result in client.batch_set(batch).await.unwrap().into_inner().results {
        match result.result.unwrap() {
            Wrote::Error(error) => {
                assert_eq!(error.reason(), Reason::QueueFull);
                assert!(error.retry_delay.is_some());
            }
            Wrote::Written(written) => panic!("{written:?}"),
        }
    }
    assert_eq!(value(client, name, "k0").await, None);
    let batch = BatchSetRequest { namespace: name.clone(), items: items(3) };
    let results = client.batch_set(batch).await.unwrap().into_inner().results;
    let mut last = String::new();
    for result in results {
        match result.result.unwrap() {
            Wrote::Written(written) => last = written.write_id,
            Wrote::Error(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(ended(client, name, &last).await.state(), WriteState::Applied);
}

async fn a_write_that_nobody_queued_is_unknown(stage: Stage) {
    let client = &mut stage.client().await;
    let name = stage.namespace(queued()).await;
    for (namespace, id) in [(name.as_str(), "1-0"), (name.as_str(), "no id at all"), ("default", "1-0")] {
        let request =
            GetWriteRequest { namespace: namespace.to_owned(), write_id: id.to_owned(), ..Default::default() };
        assert_eq!(reason(client.get_write(request).await), Reason::UnknownWrite, "{namespace} {id}");
    }
    let wait = Some(Duration { seconds: -1, nanos: 0 });
    let request = GetWriteRequest { namespace: name, write_id: "1-0".to_owned(), wait };
    assert_eq!(wrong_field(client.get_write(request).await), "wait");
}
