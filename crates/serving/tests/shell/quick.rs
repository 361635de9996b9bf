//! Calls that begin in their connection's task are calls as any other.

use std::time::{Duration, Instant};

use headwater_domain::Reason;
use headwater_serving::problem::reason_of;
use tonic::{Code, Status};

use crate::Running;
use crate::client::{Client, becomes};
use crate::echo::SERVICE;

async fn quick(client: &Client, text: impl Into<String>) -> Result<String, Status> {
    client.unary::<String, String>(&format!("/{SERVICE}/Quick"), text.into()).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn one_that_waits_after_all_holds_up_no_other() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let began = Instant::now();
    let calls: Vec<_> = (0..200)
        .map(|n| {
            let client = client.clone();
            let text = if n % 2 == 0 { "sleep 100".to_owned() } else { format!("echo {n}") };
            tokio::spawn(async move { (n, quick(&client, text).await.unwrap()) })
        })
        .collect();
    for call in calls {
        let (n, answer) = call.await.unwrap();
        assert_eq!(answer, if n % 2 == 0 { "slept".to_owned() } else { n.to_string() });
    }
    // One after another they would take ten seconds.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    running.end().await;
}

#[tokio::test]
async fn a_panic_is_the_problem_of_its_call_only() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let status = quick(&client, "panic").await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status)), (Code::Internal, Some(Reason::Internal)));
    assert_eq!(quick(&client, "echo on the same connection").await.unwrap(), "on the same connection");
    running.end().await;
}

#[tokio::test]
async fn its_deadline_and_its_caller_end_its_work() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("held");
    let hold = format!("hold {}", file.display());
    let status = quick(&client.with("grpc-timeout", "150m"), hold.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(becomes(|| !file.exists()).await, "the handler goes on after the deadline");
    let held = tokio::spawn({
        let client = client.clone();
        async move { quick(&client, hold).await }
    });
    assert!(becomes(|| file.exists()).await);
    held.abort();
    assert!(becomes(|| !file.exists()).await, "the handler goes on without its caller");
    running.end().await;
}

#[tokio::test]
async fn one_in_flight_is_answered_while_the_process_drains() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let call = tokio::spawn(async move { quick(&client, "sleep 300").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(running.end().await.connections_cut, 0);
    assert_eq!(call.await.unwrap().unwrap(), "slept");
}
