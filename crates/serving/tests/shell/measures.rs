use std::time::Duration;

use crate::Running;
use crate::client::{Client, get, http1, next};
use crate::echo::SERVICE;

/// The value of a sample whose line begins so and has all of these labels.
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        (line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")))
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn calls_are_measured_by_method_and_code() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    for _ in 0..3 {
        client.tell("echo x").await.unwrap();
    }
    client.tell("problem").await.unwrap_err();
    for n in 0..50 {
        client.unary::<String, String>(&format!("/guess.Service{n}/Call"), String::new()).await.unwrap_err();
    }
    let path = format!("/{SERVICE}/Watch");
    let mut stream = client.stream::<String, String>(&path, "forever".to_owned()).await.unwrap();
    next(&mut stream).await.unwrap();

    let count = "rpc_server_call_duration_seconds_count";
    let unary = format!("rpc_method=\"{SERVICE}/Unary\"");
    let watch = format!("rpc_method=\"{SERVICE}/Watch\"");
    let text = get(running.http, "/metrics").await.text();
    let of = |labels: &[&str]| sample(&text, count, labels);
    assert_eq!(of(&[&unary, "rpc_response_status_code=\"OK\"", "rpc_system_name=\"grpc\""]), Some(3.0), "{text}");
    assert_eq!(of(&[&unary, "rpc_response_status_code=\"UNAVAILABLE\"", "error_type=\"UNAVAILABLE\""]), Some(1.0));
    assert_eq!(of(&["rpc_method=\"_OTHER\"", "rpc_response_status_code=\"UNIMPLEMENTED\""]), Some(50.0));
    assert!(!text.contains("guess"), "{text}");
    assert_eq!(sample(&text, "headwater_rpc_calls_in_flight", &[]), Some(1.0), "{text}");
    assert_eq!(sample(&text, "headwater_connections_open", &[]), Some(2.0), "{text}");
    assert!(sample(&text, "headwater_runtime_tasks", &[]).is_some_and(|tasks| tasks > 0.0), "{text}");
    assert!(sample(&text, "headwater_process_descriptors", &[]).is_some_and(|open| open > 2.0), "{text}");

    drop(stream);
    let mut text = String::new();
    for _ in 0..200 {
        text = get(running.http, "/metrics").await.text();
        if sample(&text, "headwater_rpc_calls_in_flight", &[]) == Some(0.0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sample(&text, count, &[&watch, "rpc_response_status_code=\"CANCELLED\""]), Some(1.0), "{text}");
    assert_eq!(sample(&text, "headwater_rpc_calls_in_flight", &[]), Some(0.0), "{text}");
    running.end().await;
}

#[tokio::test]
async fn pages_that_count_as_calls_are_measured_by_method_and_status() {
    let running = Running::start(|settings| settings.rpc.requests_in_flight_max = 1).await;
    assert_eq!(get(running.http, "/counted").await.status, 200);
    let client = Client::connect(running.grpc).await;
    let path = format!("/{SERVICE}/Watch");
    let mut stream = client.stream::<String, String>(&path, "forever".to_owned()).await.unwrap();
    next(&mut stream).await.unwrap();
    for method in ["GET", "MADEUP"] {
        let request = format!("{method} /counted HTTP/1.0\r\nhost: x\r\n\r\n").into_bytes();
        assert_eq!(http1(running.http, request).await.status, 429);
    }
    let text = get(running.http, "/metrics").await.text();
    let of = |labels: &[&str]| sample(&text, "http_server_request_duration_seconds_count", labels);
    assert_eq!(of(&["http_request_method=\"GET\"", "http_response_status_code=\"200\""]), Some(1.0), "{text}");
    assert_eq!(of(&["http_request_method=\"GET\"", "http_response_status_code=\"429\""]), Some(1.0), "{text}");
    assert_eq!(of(&["http_request_method=\"_OTHER\"", "http_response_status_code=\"429\""]), Some(1.0), "{text}");
    running.end().await;
}
