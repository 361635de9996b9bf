use std::time::{Duration, Instant};

use headwater_domain::Reason;
use headwater_serving::problem::reason_of;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::Running;
use crate::client::{Client, becomes, next};
use crate::echo::SERVICE;

fn assert_exceeded(status: &Status, why: &str) {
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(reason_of(status), Some(Reason::DeadlineExceeded));
    assert!(status.message().contains(why), "{status}");
    assert!(status.get_details_retry_info().is_none());
}

#[tokio::test]
async fn a_call_ends_at_its_own_deadline_and_its_work_with_it() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("held");
    let began = Instant::now();
    let status = client.with("grpc-timeout", "150m").tell(format!("hold {}", file.display())).await.unwrap_err();
    assert_exceeded(&status, "no answer within 150 ms (the call's own deadline)");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(140) && took < Duration::from_secs(2), "{took:?}");
    assert!(becomes(|| !file.exists()).await, "the handler goes on");
    assert_exceeded(&client.with("grpc-timeout", "0n").tell("sleep 5000").await.unwrap_err(), "0 ms");
    running.end().await;
}

#[tokio::test]
async fn a_call_without_a_deadline_has_the_default_and_none_is_longer_than_the_most() {
    let running = Running::start(|settings| {
        settings.rpc.deadline_default_ms = 100;
        settings.rpc.deadline_max_ms = 200;
    })
    .await;
    let client = Client::connect(running.grpc).await;
    assert_exceeded(&client.tell("sleep 5000").await.unwrap_err(), "100 ms (rpc.deadline_default_ms");
    let status = client.with("grpc-timeout", "9S").tell("sleep 5000").await.unwrap_err();
    assert_exceeded(&status, "200 ms (rpc.deadline_max_ms");
    assert_eq!(client.tell("sleep 10").await.unwrap(), "slept");
    running.end().await;
}

#[tokio::test]
async fn the_rest_of_the_deadline_is_passed_on() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let left = |text: String| text.parse::<u64>().unwrap();
    let given = left(client.with("grpc-timeout", "5S").tell("left").await.unwrap());
    assert!((4000..=5000).contains(&given), "{given}");
    let default = left(client.tell("left").await.unwrap());
    assert!((9000..=10_000).contains(&default), "{default}");
    let most = left(client.with("grpc-timeout", "1H").tell("left").await.unwrap());
    assert!((59_000..=60_000).contains(&most), "{most}");
    running.end().await;
}

#[tokio::test]
async fn a_unary_body_that_does_not_end_is_covered() {
    let running = Running::start(|settings| settings.rpc.deadline_default_ms = 150).await;
    let client = Client::connect(running.grpc).await;
    let answer = client.unary::<String, String>(&format!("/{SERVICE}/Stall"), String::new()).await;
    assert_exceeded(&answer.unwrap_err(), "150 ms");
    running.end().await;
}

#[tokio::test]
async fn a_stream_has_only_the_deadline_that_it_brings() {
    let running = Running::start(|settings| {
        settings.rpc.deadline_default_ms = 50;
        settings.rpc.deadline_max_ms = 50;
    })
    .await;
    let client = Client::connect(running.grpc).await;
    let path = format!("/{SERVICE}/Watch");
    let mut free = client.stream::<String, String>(&path, "3 80".to_owned()).await.unwrap();
    let mut seen = Vec::new();
    while let Some(text) = next(&mut free).await.unwrap() {
        seen.push(text);
    }
    assert_eq!(seen, ["begun", "1", "2", "3"]);

    let began = Instant::now();
    let mut bound =
        client.with("grpc-timeout", "200m").stream::<String, String>(&path, "100 80".to_owned()).await.unwrap();
    let mut count = 0;
    let status = loop {
        match next(&mut bound).await {
            Ok(Some(_)) => count += 1,
            Ok(None) => panic!("it ended without a status"),
            Err(status) => break status,
        }
    };
    assert_exceeded(&status, "200 ms (the call's own deadline)");
    assert!((1..=4).contains(&count) && began.elapsed() < Duration::from_secs(2), "{count}");
    running.end().await;
}
