//! A service that does what it is told in a text.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{Stream, StreamExt};
use headwater_domain::Reason;
use headwater_serving::{Deadline, Problem, RequestId};
use http_body_util::StreamBody;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::{CompressionEncoding, EnabledCompressionEncodings};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

pub(crate) const SERVICE: &str = "headwater.test.v1.EchoService";

/// What a handler's end looks like from outside: the name of a file that is removed when the handler is dropped.
struct RemovedOnDrop(String);

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[derive(Clone)]
pub(crate) struct Echo {
    drain: CancellationToken,
    accepted: EnabledCompressionEncodings,
    request_bytes_max: Option<usize>,
}

impl Echo {
    pub(crate) fn new(drain: CancellationToken) -> Self {
        Self { drain, accepted: EnabledCompressionEncodings::default(), request_bytes_max: None }
    }

    // As generated servers have them.
    pub(crate) fn accept_compressed(mut self, encoding: CompressionEncoding) -> Self {
        self.accepted.enable(encoding);
        self
    }

    pub(crate) fn max_decoding_message_size(mut self, bytes: usize) -> Self {
        self.request_bytes_max = Some(bytes);
        self
    }
}

impl NamedService for Echo {
    const NAME: &'static str = SERVICE;
}

type Answers = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let drain = self.drain.clone();
        let mut grpc = Grpc::new(ProstCodec::<String, String>::default())
            .apply_compression_config(self.accepted, EnabledCompressionEncodings::default())
            .apply_max_message_size_config(self.request_bytes_max, None);
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        Box::pin(async move {
            Ok(match method.as_str() {
                "Unary" | "Quick" => grpc.unary(service_fn(unary), request).await,
                "Stall" => stall(),
                "Watch" => {
                    let watch = service_fn(move |request| watch(request, drain.clone()));
                    grpc.server_streaming(watch, request).await
                }
                "Chat" => grpc.streaming(service_fn(chat), request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

/// `echo X`, `length X`, `sleep MS`, `hold FILE`, `left`, `id`, `problem`, `driver`, `panic`.
async fn unary(request: Request<String>) -> Result<Response<String>, Status> {
    let deadline = Deadline::of(&request);
    let id = request.extensions().get::<RequestId>().map(ToString::to_string);
    let text = request.into_inner();
    let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
    Ok(Response::new(match verb {
        "echo" => rest.to_owned(),
        "length" => rest.len().to_string(),
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(rest.parse().unwrap())).await;
            "slept".to_owned()
        }
        "hold" => {
            let _removed = RemovedOnDrop(rest.to_owned());
            std::fs::write(rest, "held").unwrap();
            std::future::pending().await
        }
        "left" => deadline.map_or("none".to_owned(), |deadline| deadline.remaining().as_millis().to_string()),
        "id" => id.unwrap(),
        "problem" => return Err(Problem::new(Reason::LiveUnavailable, "away").into()),
        "driver" => return Err(Status::internal("as a library said it")),
        _ => panic!("told to"),
    }))
}

/// `N MS`: so many answers, so far apart; `until-drain`: answers once, and again when the process drains; `forever`.
async fn watch(request: Request<String>, drain: CancellationToken) -> Result<Response<Answers>, Status> {
    let text = request.into_inner();
    let first = futures::stream::once(async { Ok("begun".to_owned()) });
    let rest: Answers = match text.as_str() {
        "until-drain" => Box::pin(futures::stream::once(async move {
            drain.cancelled().await;
            Ok("bye".to_owned())
        })),
        "forever" => Box::pin(futures::stream::pending()),
        "panic" => Box::pin(futures::stream::once(async {
            // Not in the same poll as the first answer, which is still in the encoder's buffer then.
            tokio::time::sleep(Duration::from_millis(50)).await;
            panic!("told to")
        })),
        numbers => {
            let (n, ms) = numbers.split_once(' ').unwrap();
            let (n, ms): (u64, u64) = (n.parse().unwrap(), ms.parse().unwrap());
            Box::pin(futures::stream::iter(1..=n).then(move |i| async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(i.to_string())
            }))
        }
    };
    Ok(Response::new(Box::pin(first.chain(rest))))
}

/// Sends back what it gets.
async fn chat(request: Request<Streaming<String>>) -> Result<Response<Answers>, Status> {
    Ok(Response::new(Box::pin(request.into_inner())))
}

/// A unary answer whose body begins and never ends.
fn stall() -> http::Response<Body> {
    let body = StreamBody::new(futures::stream::pending::<Result<http_body::Frame<bytes::Bytes>, Status>>());
    http::Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

/// The service's descriptors, and those of a service that is not served.
pub(crate) fn descriptors() -> Vec<u8> {
    let method = |name: &str, client_streaming, server_streaming| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(".headwater.test.v1.Text".to_owned()),
        output_type: Some(".headwater.test.v1.Text".to_owned()),
        client_streaming: Some(client_streaming),
        server_streaming: Some(server_streaming),
        ..Default::default()
    };
    let service = |name: &str, method| ServiceDescriptorProto { name: Some(name.to_owned()), method, options: None };
    let file = FileDescriptorProto {
        name: Some("headwater/test/v1/echo.proto".to_owned()),
        package: Some("headwater.test.v1".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![DescriptorProto {
            name: Some("Text".to_owned()),
            field: vec![FieldDescriptorProto {
                name: Some("value".to_owned()),
                number: Some(1),
                label: Some(Label::Optional.into()),
                r#type: Some(Type::String.into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        service: vec![
            service(
                "EchoService",
                vec![
                    method("Unary", false, false),
                    method("Quick", false, false),
                    method("Stall", false, false),
                    method("Watch", false, true),
                    method("Chat", true, true),
                ],
            ),
            service("AbsentService", vec![method("Unary", false, false)]),
        ],
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}
