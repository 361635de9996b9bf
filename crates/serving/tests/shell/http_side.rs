use std::net::SocketAddr;

use prost::Message;

use crate::Running;
use crate::client::{Client, Page, get, http1};
use crate::echo::SERVICE;

/// A gRPC-Web call of the unary method over HTTP/1.
async fn web(address: SocketAddr, text: &str, headers: &str) -> Page {
    let message = text.to_owned().encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let mut request = format!(
        "POST /{SERVICE}/Unary HTTP/1.0\r\nhost: x\r\ncontent-type: application/grpc-web+proto\r\n\
         content-length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    http1(address, request).await
}

#[tokio::test]
async fn grpc_web_is_spoken_on_both_addresses() {
    let running = Running::start(|_| {}).await;
    for address in [running.grpc, running.http] {
        let page = web(address, "echo hello", "").await;
        assert_eq!(page.status, 200, "{}", page.headers);
        assert!(page.headers.contains("application/grpc-web"), "{}", page.headers);
        let length = u32::from_be_bytes(page.body[1..5].try_into().unwrap()) as usize;
        assert_eq!(page.body[0], 0);
        assert_eq!(String::decode(&page.body[5..5 + length]).unwrap(), "hello");
        let trailers = &page.body[5 + length..];
        assert_eq!(trailers[0], 0x80);
        assert!(String::from_utf8_lossy(&trailers[5..]).contains("grpc-status:0"));
    }
    let failed = web(running.http, "problem", "x-request-id: web-1\r\n").await;
    let all = format!("{}{}", failed.headers, String::from_utf8_lossy(&failed.body));
    assert!(all.contains("grpc-status") && all.contains("14") && all.contains("web-1"), "{all}");
    running.end().await;
}

#[tokio::test]
async fn grpc_is_spoken_on_both_addresses() {
    let running = Running::start(|_| {}).await;
    for address in [running.grpc, running.http] {
        assert_eq!(Client::connect(address).await.tell("echo x").await.unwrap(), "x");
    }
    running.end().await;
}

#[tokio::test]
async fn pages_are_on_the_http_address_and_the_other_points_there() {
    let running = Running::start(|_| {}).await;
    let page = get(running.http, "/").await;
    assert_eq!((page.status, page.text().as_str()), (200, "the page"));
    assert_eq!(get(running.http, "/nothing").await.status, 404);
    let hint = get(running.grpc, "/").await;
    assert_eq!(hint.status, 404);
    assert!(hint.text().contains(&format!("http://{}/", running.http)), "{}", hint.text());
    running.end().await;
}
