//! The unary calls and subscriptions, against the in-process server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use headwater_client::testing::{FakeServer, refusal};
use headwater_client::v1::event::PageEvent;
use headwater_client::v1::ingest::Record;
use headwater_client::v1::ingest::record_result::Result as Outcome;
use headwater_client::v1::stats::{QueryHistoryRequest, StatQuery, StatResult, StatValue, SubscribeStatsRequest};
use headwater_client::{Client, ConnectOptions, Error, RetryPolicy, record};
use prost::Message;
use tonic::{Code, Status};

fn view(id: u32, user: &str) -> Record {
    let event = PageEvent {
        event_id: format!("00000000-0000-7000-8000-{id:012}"),
        timestamp: Some(prost_types::Timestamp { seconds: 1_710_513_000, nanos: 0 }),
        user_id: user.into(),
        event_type: "page_view".into(),
        page_url: "/".into(),
        session_id: "s".into(),
    };
    record("headwater.event.v1.PageEvent", event.encode_to_vec())
}

fn query(stat: &str) -> StatQuery {
    StatQuery { stream: "page-events".into(), stat: stat.into(), ..StatQuery::default() }
}

#[tokio::test]
async fn each_record_has_its_result() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let answer = client.publish("page-events", vec![view(1, "u"), view(2, ""), view(3, "u")]).await.unwrap();
    assert!(matches!(answer.results[0].result, Some(Outcome::Accepted(_))));
    let Some(Outcome::Rejected(rejected)) = &answer.results[1].result else { panic!("{answer:?}") };
    assert_eq!(rejected.violations[0].field, "user_id");
    assert!(!answer.consistency_token.is_empty());
    let history = client
        .query_history(QueryHistoryRequest { stream: "page-events".into(), ..QueryHistoryRequest::default() })
        .await
        .unwrap();
    assert_eq!(history.events.len(), 2);
}

#[tokio::test]
async fn lists_are_followed_to_their_last_page() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let streams = client.list_streams().await.unwrap();
    assert_eq!(streams.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>(), ["page-events", "transactions"]);
    assert_eq!(client.list_stats("page-events").await.unwrap().len(), 3);
    assert_eq!(client.list_stats("").await.unwrap().len(), 4);
}

#[tokio::test]
async fn the_server_is_told_the_deadline_and_the_token() {
    let server = FakeServer::start();
    let options = ConnectOptions { token: Some("secret".into()), ..server.connect_options() };
    let client = Client::connect(options).await.unwrap();
    client.with_deadline(Duration::from_millis(1500)).get_stats(vec![query("top_pages")], "a token").await.unwrap();
    let call = &server.calls()[0];
    assert_eq!(call.metadata["authorization"], "Bearer secret");
    assert_eq!(call.at_least, "a token");
    let told = &call.metadata["grpc-timeout"];
    let millis = match told.split_at(told.len() - 1) {
        (n, "n") => n.parse::<u64>().unwrap() / 1_000_000,
        (n, "u") => n.parse::<u64>().unwrap() / 1000,
        (n, "m") => n.parse::<u64>().unwrap(),
        other => panic!("{other:?}"),
    };
    assert!((1000..=1500).contains(&millis), "{told}");
}

#[tokio::test]
async fn what_can_pass_is_tried_again_after_the_delay_asked_for() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let wait = Duration::from_millis(400);
    server.fail_next(refusal(Code::ResourceExhausted, "OVERLOADED", "too much in flight", Some(wait)));
    server.fail_next(refusal(Code::Unavailable, "NOT_READY", "draining", None));
    let started = Instant::now();
    client.publish("page-events", vec![view(1, "u")]).await.unwrap();
    assert!(started.elapsed() >= wait, "{:?}", started.elapsed());
    assert_eq!(server.calls().len(), 3);
    assert_eq!(server.accepted().len(), 1);
}

#[tokio::test]
async fn attempts_are_bounded_and_the_reason_is_kept() {
    let server = FakeServer::start();
    let retry = RetryPolicy { attempts_max: 3, backoff_min: Duration::from_millis(1), ..RetryPolicy::default() };
    let client = Client::connect(ConnectOptions { retry, ..server.connect_options() }).await.unwrap();
    for _ in 0..5 {
        server.fail_next(refusal(Code::Unavailable, "EVENT_LOG_UNAVAILABLE", "no broker", None));
    }
    let error = client.publish("page-events", vec![view(1, "u")]).await.unwrap_err();
    assert_eq!(error.reason(), Some("EVENT_LOG_UNAVAILABLE"));
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let error = client.publish("pageevents", vec![view(1, "u")]).await.unwrap_err();
    assert_eq!(error.reason(), Some("UNKNOWN_STREAM"));
    server.fail_next(Status::resource_exhausted("message too large"));
    assert!(client.publish("page-events", vec![view(1, "u")]).await.is_err());
    assert_eq!(server.calls().len(), 2);
    // A delay beyond the deadline: waiting would only turn a clear reason into DEADLINE_EXCEEDED.
    let wait = Some(Duration::from_secs(60));
    server.fail_next(refusal(Code::Unavailable, "NOT_READY", "starting", wait));
    let started = Instant::now();
    let error = client.publish("page-events", vec![view(1, "u")]).await.unwrap_err();
    assert_eq!((error.reason(), error.retry_after()), (Some("NOT_READY"), wait));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_deadline_ends_a_call() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap().with_deadline(Duration::from_millis(200));
    server.set_delay(Duration::from_secs(5));
    let started = Instant::now();
    let error = client.list_streams().await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
    assert_eq!(error.reason(), Some("DEADLINE_EXCEEDED"));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn where_nobody_listens_the_address_is_named() {
    let server = FakeServer::start();
    let address = server.address();
    let retry = RetryPolicy { attempts_max: 2, backoff_min: Duration::from_millis(1), ..RetryPolicy::default() };
    let options = ConnectOptions { retry, ..server.connect_options() };
    let client = Client::connect(options.clone()).await.unwrap();
    drop(server);
    for error in [
        Client::connect(options.clone()).await.unwrap_err(),
        Client::connect_lazy(&options).unwrap().list_streams().await.unwrap_err(),
        client.list_streams().await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("http://{address}")), "{error}");
    }
    let _server = FakeServer::start_at(address);
    assert_eq!(client.list_streams().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_subscription_answers_now_and_at_each_change() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let request = SubscribeStatsRequest { queries: vec![query("top_pages")], ..SubscribeStatsRequest::default() };
    let mut answers = client.subscribe_stats(request).await.unwrap();
    assert!(answers.next().await.unwrap().unwrap().results[0].values.is_empty());
    let value = StatValue { key: "/".into(), value: 7, text: "7".into(), overflowed: false };
    server.set_result(StatResult {
        stream: "page-events".into(),
        stat: "top_pages".into(),
        values: vec![value],
        ..StatResult::default()
    });
    assert_eq!(answers.next().await.unwrap().unwrap().results[0].values[0].text, "7");
    drop(server);
    let error = answers.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let other = FakeServer::start();
    let client = Client::connect(other.connect_options()).await.unwrap();
    let request = SubscribeStatsRequest { queries: vec![query("top_page")], ..SubscribeStatsRequest::default() };
    assert_eq!(client.subscribe_stats(request).await.unwrap_err().reason(), Some("UNKNOWN_STAT"));
}

#[tokio::test]
async fn a_message_is_described_by_reflection() {
    let server = FakeServer::start();
    let client = Client::connect(server.connect_options()).await.unwrap();
    let descriptor = client.message_descriptor("headwater.event.v1.PageEvent").await.unwrap();
    assert_eq!(descriptor.fields().count(), 6);
    let error = client.message_descriptor("acme.Missing").await.unwrap_err();
    assert!(error.to_string().contains("acme.Missing"), "{error}");
}

#[tokio::test]
async fn an_encrypted_connection_believes_only_its_ca() {
    let contracts = headwater_contracts::Contracts::shipped().unwrap();
    let identity = (include_str!("tls/server.pem"), include_str!("tls/server.key"));
    let server = FakeServer::start_with(([127, 0, 0, 1], 0).into(), contracts, Some(identity));
    let endpoint = format!("https://127.0.0.1:{}", server.address().port());
    let options = ConnectOptions {
        tls_ca_pem: Some(include_bytes!("tls/ca.pem").to_vec()),
        retry: RetryPolicy::none(),
        ..ConnectOptions::new(endpoint)
    };
    let client = Client::connect(options.clone()).await.unwrap();
    assert_eq!(client.list_streams().await.unwrap().len(), 2);
    let other = ConnectOptions { tls_ca_pem: Some(include_bytes!("tls/server.pem").to_vec()), ..options };
    assert!(matches!(Client::connect(other).await.unwrap_err(), Error::Unreachable { .. }));
}
