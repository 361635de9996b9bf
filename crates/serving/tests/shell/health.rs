use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::{v1, v1alpha};

use crate::Running;
use crate::client::{Client, get, next};
use crate::echo::SERVICE;

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn check(client: &Client, service: &str) -> Result<ServingStatus, Code> {
    let answer = client.unary::<_, HealthCheckResponse>("/grpc.health.v1.Health/Check", of(service)).await;
    answer.map(|answer| answer.get_ref().status()).map_err(|status| status.code())
}

#[tokio::test]
async fn health_follows_the_conditions() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let elsewhere = running.readiness.condition("stats: history", &["headwater.stats.v1.StatsService"]);
    assert_eq!(check(&client, SERVICE).await, Ok(ServingStatus::Serving));
    assert_eq!(check(&client, "").await, Ok(ServingStatus::NotServing));
    let log = running.readiness.condition("ingest: event log", &[SERVICE]);
    assert_eq!(check(&client, SERVICE).await, Ok(ServingStatus::NotServing));

    let page = get(running.http, "/readyz").await;
    assert_eq!(page.status, 503);
    let report: serde_json::Value = serde_json::from_str(&page.text()).unwrap();
    assert_eq!((&report["ready"], &report["draining"]), (&false.into(), &false.into()));
    assert_eq!(report["conditions"][0]["name"], "ingest: event log");
    assert_eq!(report["conditions"][0]["reason"], "starting");
    log.unmet("127.0.0.1:9092 refused the connection");
    assert!(get(running.http, "/readyz").await.text().contains("refused the connection"));
    assert_eq!(get(running.http, "/livez").await.status, 200);

    log.met();
    elsewhere.met();
    assert_eq!(check(&client, SERVICE).await, Ok(ServingStatus::Serving));
    assert_eq!(check(&client, "").await, Ok(ServingStatus::Serving));
    assert_eq!(get(running.http, "/readyz").await.status, 200);
    assert_eq!(check(&client, "no.such.Service").await, Err(Code::NotFound));
    running.end().await;
}

#[tokio::test]
async fn a_watcher_is_told_of_every_change_and_of_the_drain() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let condition = running.readiness.condition("ingest: event log", &[SERVICE]);
    let path = "/grpc.health.v1.Health/Watch";
    let mut watch = client.stream::<_, HealthCheckResponse>(path, of(SERVICE)).await.unwrap();
    let mut unknown = client.stream::<_, HealthCheckResponse>(path, of("no.such.Service")).await.unwrap();
    assert_eq!(next(&mut unknown).await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    for expected in [ServingStatus::NotServing, ServingStatus::Serving] {
        assert_eq!(next(&mut watch).await.unwrap().unwrap().status(), expected);
        condition.met();
    }
    let drained = tokio::spawn(running.end());
    assert_eq!(next(&mut watch).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(next(&mut watch).await.unwrap().is_none());
    assert!(next(&mut unknown).await.unwrap().is_none());
    assert_eq!(drained.await.unwrap().connections_cut, 0);
}

#[tokio::test]
async fn reflection_lists_what_is_served_in_both_versions() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let served = ["grpc.health.v1.Health", SERVICE];

    let ask = |request| v1::ServerReflectionRequest { message_request: Some(request), ..Default::default() };
    let asked = [
        ask(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        ask(v1::server_reflection_request::MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
    ];
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let mut answers =
        client.chat::<_, v1::ServerReflectionResponse, _>(path, futures::stream::iter(asked)).await.unwrap();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        next(&mut answers).await.unwrap().unwrap().message_response
    else {
        panic!("no list");
    };
    let mut names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, served);
    let Some(v1::server_reflection_response::MessageResponse::FileDescriptorResponse(file)) =
        next(&mut answers).await.unwrap().unwrap().message_response
    else {
        panic!("no file");
    };
    assert_eq!(file.file_descriptor_proto.len(), 1);

    let ask = v1alpha::ServerReflectionRequest {
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    let mut answers =
        client.chat::<_, v1alpha::ServerReflectionResponse, _>(path, futures::stream::iter([ask])).await.unwrap();
    let Some(v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        next(&mut answers).await.unwrap().unwrap().message_response
    else {
        panic!("no list");
    };
    assert_eq!(list.service.len(), served.len());
    running.end().await;
}

#[tokio::test]
async fn a_reflection_stream_that_is_held_open_does_not_hold_up_the_drain() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let asks = futures::stream::pending::<v1::ServerReflectionRequest>();
    let mut answers = client.chat::<_, v1::ServerReflectionResponse, _>(path, asks).await.unwrap();
    let began = std::time::Instant::now();
    let drained = tokio::spawn(running.end());
    assert!(next(&mut answers).await.unwrap().is_none());
    assert_eq!(drained.await.unwrap().connections_cut, 0);
    assert!(began.elapsed() < std::time::Duration::from_secs(3));
}
