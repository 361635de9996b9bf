use std::time::{Duration, Instant};

use headwater_domain::Reason;
use headwater_serving::problem::reason_of;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

use crate::Running;
use crate::client::{Client, becomes, get, http1, next};
use crate::echo::SERVICE;

const CHECK: &str = "/grpc.health.v1.Health/Check";

#[tokio::test]
async fn over_the_limit_is_told_at_once() {
    let running = Running::start(|settings| settings.rpc.requests_in_flight_max = 2).await;
    let client = Client::connect(running.grpc).await;
    // A call and a stream take the two places.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("held");
    let held = tokio::spawn({
        let (client, text) = (client.clone(), format!("hold {}", file.display()));
        async move { client.tell(text).await }
    });
    assert!(becomes(|| file.exists()).await);
    let path = format!("/{SERVICE}/Watch");
    let mut stream = client.stream::<String, String>(&path, "forever".to_owned()).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "begun");

    let other = Client::connect(running.http).await;
    let began = Instant::now();
    let status = other.tell("echo x").await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&status), Some(Reason::Overloaded));
    assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    assert!(status.message().contains("2 calls are in flight (rpc.requests_in_flight_max)"), "{status}");
    let health = other.unary::<_, HealthCheckResponse>(CHECK, HealthCheckRequest::default()).await;
    assert!(health.is_ok(), "health is exempt");

    drop(stream);
    let mut answer = other.tell("echo x").await;
    for _ in 0..200 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        answer = other.tell("echo x").await;
    }
    assert_eq!(answer.unwrap(), "x", "the stream's place is free again");
    held.abort();
    running.end().await;
}

#[tokio::test]
async fn a_client_with_a_thousand_streams_leaves_the_others_their_places() {
    let running = Running::start(|_| {}).await;
    let path = format!("/{SERVICE}/Watch");
    // On several connections: it is one client all the same.
    let mut streams = Vec::new();
    for address in [running.grpc, running.http] {
        let client = Client::connect(address).await;
        for _ in 0..500 {
            let mut stream = client.stream::<String, String>(&path, "forever".to_owned()).await.unwrap();
            assert_eq!(next(&mut stream).await.unwrap().unwrap(), "begun");
            streams.push(stream);
        }
    }
    let client = Client::connect(running.grpc).await;
    for refused in [
        client.tell("echo x").await.unwrap_err(),
        client.stream::<String, String>(&path, "forever".to_owned()).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!((refused.code(), reason_of(&refused)), (Code::ResourceExhausted, Some(Reason::Overloaded)));
        assert!(refused.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
        let told = "1000 calls of this client are in flight (rpc.requests_in_flight_per_client_max)";
        assert!(refused.message().contains(told), "{refused}");
    }
    let page = get(running.http, "/counted").await;
    assert_eq!(page.status, 429, "{}", page.text());
    assert!(page.headers.contains("retry-after: 1"), "{}", page.headers);
    assert_eq!(get(running.http, "/readyz").await.status, 200, "pages of the shell's own are exempt");

    let other = Client::connect_from("127.0.0.2".parse().unwrap(), running.grpc).await;
    assert_eq!(other.tell("echo x").await.unwrap(), "x", "another client is served");
    drop(streams);
    let mut answer = client.tell("echo x").await;
    for _ in 0..500 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        answer = client.tell("echo x").await;
    }
    assert_eq!(answer.unwrap(), "x", "its places are free again");
    assert_eq!(get(running.http, "/counted").await.text(), "counted");
    running.end().await;
}

#[tokio::test]
async fn pages_that_count_as_calls_pass_what_calls_pass() {
    let running = Running::start(|settings| {
        let command = headwater_serving::settings::augment_clap(clap::Command::new("x"));
        let matches = command.get_matches_from(["x", "--auth-token", "correct-horse-battery"]);
        settings.auth = headwater_serving::settings::load(&matches, [], &[]).unwrap().auth;
        settings.rpc.deadline_default_ms = 200;
    })
    .await;
    let page = get(running.http, "/counted").await;
    assert_eq!(page.status, 401);
    assert!(page.text().contains("UNAUTHENTICATED"), "{}", page.text());
    let with_token = |path: &str| {
        format!("GET {path} HTTP/1.0\r\nhost: x\r\nauthorization: Bearer correct-horse-battery\r\n\r\n").into_bytes()
    };
    assert_eq!(http1(running.http, with_token("/counted")).await.text(), "counted");
    let late = http1(running.http, with_token("/never")).await;
    assert_eq!(late.status, 504);
    assert!(late.text().contains("DEADLINE_EXCEEDED"), "{}", late.text());
    running.end().await;
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_at_once() {
    let running = Running::start(|settings| settings.listen.connections_max = 1).await;
    let (first, first_end) = Client::try_connect(running.grpc).await.unwrap();
    assert_eq!(first.tell("echo x").await.unwrap(), "x");
    let began = Instant::now();
    if let Ok((second, _)) = Client::try_connect(running.grpc).await {
        assert!(second.tell("echo x").await.is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    drop(first);
    first_end.await.unwrap().unwrap();
    let mut is_served = false;
    for _ in 0..200 {
        if let Ok((third, _)) = Client::try_connect(running.grpc).await
            && third.tell("echo x").await.is_ok()
        {
            is_served = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_served);
    running.end().await;
}

#[tokio::test]
async fn the_token_is_asked_of_every_call_but_health() {
    let token = "correct-horse-battery";
    let running = Running::start(|settings| {
        let command = headwater_serving::settings::augment_clap(clap::Command::new("x"));
        let matches = command.get_matches_from(["x", "--auth-token", token]);
        settings.auth = headwater_serving::settings::load(&matches, [], &[]).unwrap().auth;
    })
    .await;
    let client = Client::connect(running.grpc).await;
    for wrong in [
        client.clone(),
        client.with("authorization", token),
        client.with("authorization", "Bearer "),
        client.with("authorization", "Bearer correct-horse-batterz"),
        client.with("authorization", "Bearer correct-horse-battery-"),
    ] {
        let status = wrong.tell("echo x").await.unwrap_err();
        assert_eq!((status.code(), reason_of(&status)), (Code::Unauthenticated, Some(Reason::Unauthenticated)));
        assert!(!format!("{status:?}").contains(token));
    }
    let right = client.with("authorization", &format!("Bearer {token}"));
    assert_eq!(right.tell("echo x").await.unwrap(), "x");
    assert!(client.unary::<_, HealthCheckResponse>(CHECK, HealthCheckRequest::default()).await.is_ok());
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let answer = client.chat::<String, String, _>(reflection, futures::stream::empty()).await;
    assert_eq!(answer.map(|_| ()).unwrap_err().code(), Code::Unauthenticated);
    running.end().await;
}

#[tokio::test]
async fn a_panic_is_one_call_s_problem() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let status = client.tell("panic").await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status)), (Code::Internal, Some(Reason::Internal)));
    assert!(!status.message().contains("told to"), "{status}");
    let path = format!("/{SERVICE}/Watch");
    let mut stream = client.stream::<String, String>(&path, "panic".to_owned()).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "begun");
    assert_eq!(reason_of(&next(&mut stream).await.unwrap_err()), Some(Reason::Internal));
    assert_eq!(client.tell("echo x").await.unwrap(), "x", "the connection lives on");
    running.end().await;
}

#[tokio::test]
async fn a_failed_call_is_named() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let id_of = |status: &tonic::Status| status.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    let status = client.with("x-request-id", "mine-7").tell("problem").await.unwrap_err();
    assert_eq!(id_of(&status), "mine-7");
    assert_eq!(reason_of(&status), Some(Reason::LiveUnavailable));
    assert_eq!(client.with("x-request-id", "mine-7").tell("id").await.unwrap(), "mine-7");
    let first = id_of(&client.tell("problem").await.unwrap_err());
    let second = id_of(&client.tell("driver").await.unwrap_err());
    assert!(first != second && !first.is_empty());
    let too_long = "x".repeat(65);
    assert_ne!(client.with("x-request-id", &too_long).tell("id").await.unwrap(), too_long);
    running.end().await;
}

#[tokio::test]
async fn a_method_that_there_is_not_is_named() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    for path in
        ["/no.such.Service/Call", "/headwater.test.v1.EchoService/Nothing", "/headwater.test.v1.AbsentService/Unary"]
    {
        let status = client.unary::<String, String>(path, String::new()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        let is_named = status.message().contains(path);
        assert!(is_named || path.contains("Absent"), "{path}: {status}");
    }
    running.end().await;
}
