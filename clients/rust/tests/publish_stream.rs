//! Publishing batch after batch, against the in-process server: windows, records sent again, broken streams.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use headwater_client::testing::{FakeServer, refusal};
use headwater_client::v1::event::PageEvent;
use headwater_client::v1::ingest::record_result::Result as Outcome;
use headwater_client::v1::ingest::{Record, RecordResult};
use headwater_client::{Ack, Client, Error, PublishAcks, PublishOptions, RetryPolicy, Unsent, record};
use prost::Message;
use tonic::Code;

fn views(ids: std::ops::Range<u32>) -> Vec<Record> {
    ids.map(|id| {
        let event = PageEvent {
            event_id: format!("00000000-0000-7000-8000-{id:012}"),
            timestamp: Some(prost_types::Timestamp { seconds: 1_710_513_000, nanos: 0 }),
            user_id: "u".into(),
            event_type: "page_view".into(),
            page_url: "/".into(),
            session_id: "s".into(),
        };
        record("headwater.event.v1.PageEvent", event.encode_to_vec())
    })
    .collect()
}

fn options() -> PublishOptions {
    let retry = RetryPolicy { attempts_max: 4, backoff_min: Duration::from_millis(5), ..RetryPolicy::default() };
    PublishOptions { retry, ..PublishOptions::new("page-events") }
}

fn accepted(results: &[RecordResult]) -> usize {
    results.iter().filter(|result| matches!(result.result, Some(Outcome::Accepted(_)))).count()
}

async fn all(acks: &mut PublishAcks) -> Vec<Ack> {
    let mut taken = Vec::new();
    while let Some(ack) = acks.next().await.unwrap() {
        taken.push(ack);
    }
    taken
}

#[tokio::test]
async fn batches_are_acknowledged_by_their_numbers() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let (mut sender, acks) = client.publish_stream(options()).unwrap();
    for batch in 0..50 {
        assert_eq!(sender.send(views(batch * 100..(batch + 1) * 100)).await.unwrap(), u64::from(batch) + 1);
    }
    drop(sender);
    let acks: Vec<Ack> = acks.map(Result::unwrap).collect().await;
    assert_eq!(acks.iter().map(|ack| ack.sequence).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
    assert!(acks.iter().all(|ack| accepted(&ack.results) == 100 && ack.attempts == 1));
    assert!(acks.iter().all(|ack| ack.consistency_tokens.len() == 1));
    assert_eq!(server.accepted().len(), 5000);
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn the_window_bounds_what_is_in_flight() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let window = PublishOptions { in_flight_records_max: 10, ..options() };
    let (mut sender, mut acks) = client.publish_stream(window).unwrap();
    sender.try_send(views(0..6)).unwrap();
    assert_eq!(sender.room(), 4);
    let Err(Unsent::Full(records)) = sender.try_send(views(6..12)) else { panic!("there is no room") };
    assert_eq!(records.len(), 6);
    assert!(matches!(sender.try_send(Vec::new()), Err(Unsent::Empty)));
    assert!(tokio::time::timeout(Duration::from_millis(100), sender.send(views(6..12))).await.is_err());
    // Room comes with taking the acknowledgement, not with the answer.
    assert_eq!(acks.next().await.unwrap().unwrap().sequence, 1);
    assert_eq!(sender.room(), 10);
    // A batch larger than the window takes all of it.
    assert_eq!(sender.send(views(6..30)).await.unwrap(), 2);
    assert_eq!(sender.room(), 0);
    drop(sender);
    assert_eq!(accepted(&all(&mut acks).await[0].results), 24);
    assert_eq!(server.accepted().len(), 30);
}

#[tokio::test]
async fn records_are_sent_again_with_the_same_ids() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let (mut sender, mut acks) = client.publish_stream(options()).unwrap();
    server.retry_next(2);
    server.retry_next(1);
    sender.send(views(0..5)).await.unwrap();
    drop(sender);
    let acks = all(&mut acks).await;
    assert_eq!((acks.len(), acks[0].attempts, acks[0].resent), (1, 3, 3));
    assert_eq!(accepted(&acks[0].results), 5);
    for (index, result) in acks[0].results.iter().enumerate() {
        let Some(Outcome::Accepted(at)) = &result.result else { panic!("{result:?}") };
        assert_eq!(at.id, format!("00000000-0000-7000-8000-{index:012}"));
    }
    assert_eq!(acks[0].consistency_tokens.len(), 3);
    assert_eq!(server.accepted().len(), 5);
}

#[tokio::test]
async fn sending_again_has_an_end() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let (mut sender, mut acks) = client.publish_stream(options()).unwrap();
    for _ in 0..9 {
        server.retry_next(1);
    }
    sender.send(views(0..2)).await.unwrap();
    let ack = acks.next().await.unwrap().unwrap();
    assert_eq!(ack.attempts, 4);
    let Some(Outcome::Retry(retry)) = &ack.results[0].result else { panic!("{ack:?}") };
    assert!(!retry.detail.is_empty());
    assert!(matches!(ack.results[1].result, Some(Outcome::Accepted(_))));

    let hasty = PublishOptions { give_up_after: Duration::from_millis(10), ..options() };
    let (mut sender, mut acks) = client.publish_stream(hasty).unwrap();
    sender.send(views(0..2)).await.unwrap();
    assert_eq!(acks.next().await.unwrap().unwrap().attempts, 1);
}

#[tokio::test]
async fn a_broken_stream_is_opened_again_and_nothing_is_lost() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let (mut sender, mut acks) = client.publish_stream(options()).unwrap();
    for batches in [3, 1, 5] {
        server.break_stream_after(batches);
    }
    let sending = tokio::spawn(async move {
        for batch in 0..20 {
            sender.send(views(batch * 10..(batch + 1) * 10)).await.unwrap();
        }
    });
    let acks = all(&mut acks).await;
    sending.await.unwrap();
    assert_eq!(acks.len(), 20);
    assert!(acks.iter().all(|ack| accepted(&ack.results) == 10));
    let ids: HashSet<String> = server.accepted().into_iter().map(|record| record.id).collect();
    assert_eq!(ids.len(), 200);
    assert!(acks.iter().any(|ack| ack.attempts > 1), "nothing was sent again, so nothing was tested");
}

#[tokio::test]
async fn a_server_that_comes_back_gets_the_rest() {
    let server = FakeServer::start();
    let address = server.address();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let (mut sender, mut acks) = client.publish_stream(options()).unwrap();
    sender.send(views(0..10)).await.unwrap();
    acks.next().await.unwrap().unwrap();
    drop(server);
    sender.send(views(10..20)).await.unwrap();
    let server = FakeServer::start_at(address);
    drop(sender);
    let acks = all(&mut acks).await;
    assert_eq!(accepted(&acks[0].results), 10);
    assert_eq!(server.accepted().len(), 10);
}

#[tokio::test]
async fn a_server_that_stays_away_is_given_up() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    drop(server);
    let (mut sender, mut acks) = client.publish_stream(options()).unwrap();
    sender.send(views(0..1)).await.unwrap();
    let error = acks.next().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(acks.next().await.unwrap().is_none());
    assert!(matches!(sender.send(views(1..2)).await, Err(Error::Closed)));
    assert!(matches!(sender.try_send(views(1..2)), Err(Unsent::Closed)));
}

#[tokio::test]
async fn a_refusal_ends_the_stream_with_its_reason() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let (mut sender, mut acks) = client.publish_stream(PublishOptions::new("nothing")).unwrap();
    sender.send(views(0..1)).await.unwrap();
    assert_eq!(acks.next().await.unwrap_err().reason(), Some("UNKNOWN_STREAM"));
    server.fail_next(refusal(Code::Unauthenticated, "UNAUTHENTICATED", "no token", None));
    let (mut sender, mut acks) = client.publish_stream(options()).unwrap();
    sender.send(views(0..1)).await.unwrap();
    assert_eq!(acks.next().await.unwrap_err().reason(), Some("UNAUTHENTICATED"));
}

#[tokio::test]
async fn silence_counts_as_a_broken_stream() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    server.set_silent(true);
    let quick = PublishOptions { answer_timeout: Duration::from_millis(300), ..options() };
    let (mut sender, mut acks) = client.publish_stream(quick).unwrap();
    let started = Instant::now();
    sender.send(views(0..1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    server.set_silent(false);
    let ack = acks.next().await.unwrap().unwrap();
    assert!(ack.attempts > 1);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_impossible_window_is_refused() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let none = PublishOptions { in_flight_records_max: 0, ..options() };
    assert!(matches!(client.publish_stream(none), Err(Error::Option { option: "in_flight_records_max", .. })));
}
