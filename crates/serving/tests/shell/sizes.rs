use futures::stream;
use headwater_domain::Reason;
use headwater_serving::problem::reason_of;
use tonic::{Code, Status};

use crate::Running;
use crate::client::{Client, next};
use crate::echo::SERVICE;

const LIMIT: usize = 64 * 1024;

fn assert_too_large(status: &Status) {
    assert_eq!((status.code(), reason_of(status)), (Code::InvalidArgument, Some(Reason::BatchTooLarge)), "{status}");
    let message = status.message();
    assert!(message.contains("65536 bytes after decompression (rpc.request_bytes_max)"), "{message}");
}

#[tokio::test]
async fn a_request_is_limited_after_decompression() {
    let running = Running::start(|settings| settings.rpc.request_bytes_max = LIMIT).await;
    let client = Client::connect(running.grpc).await;
    let fits = format!("length {}", "x".repeat(LIMIT - 100));
    assert_eq!(client.tell(fits.clone()).await.unwrap(), (LIMIT - 100).to_string());
    assert_eq!(client.gzipped().tell(fits).await.unwrap(), (LIMIT - 100).to_string());
    let too_large = format!("length {}", "x".repeat(LIMIT));
    assert_too_large(&client.tell(too_large.clone()).await.unwrap_err());
    // A kilobyte on the wire.
    assert_too_large(&client.gzipped().tell(too_large).await.unwrap_err());
    let bomb = format!("length {}", "x".repeat(LIMIT * 1000));
    assert_too_large(&client.gzipped().tell(bomb).await.unwrap_err());
    assert_eq!(client.tell("echo x").await.unwrap(), "x", "the connection lives on");
    running.end().await;
}

#[tokio::test]
async fn a_message_on_a_stream_is_limited_too() {
    let running = Running::start(|settings| settings.rpc.request_bytes_max = LIMIT).await;
    let client = Client::connect(running.grpc).await;
    for client in [client.clone(), client.gzipped()] {
        let messages = stream::iter(["small".to_owned(), "x".repeat(LIMIT + 1)]);
        let mut answers = client.chat::<String, String, _>(&format!("/{SERVICE}/Chat"), messages).await.unwrap();
        assert_eq!(next(&mut answers).await.unwrap().unwrap(), "small");
        assert_too_large(&next(&mut answers).await.unwrap_err());
    }
    running.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_message_are_malformed() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    // As bytes it is a message, as a string it is none.
    let answer = client.unary::<Vec<u8>, String>(&format!("/{SERVICE}/Unary"), vec![0xff, 0xfe]).await;
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason_of(&status)), (Code::InvalidArgument, Some(Reason::Malformed)), "{status}");
    running.end().await;
}
