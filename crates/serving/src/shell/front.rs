use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{Request, Response, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer, Service, ServiceExt};

use super::body::GuardedBody;
use super::gate::{Gate, GateFuture};

type Rpc = Gate<Routes>;

/// Tells gRPC, gRPC-Web and pages apart by their content type. gRPC takes the short way, without a box.
#[derive(Clone)]
pub(super) struct Front {
    rpc: Rpc,
    web: GrpcWebService<Rpc>,
    pages: axum::Router,
}

impl Front {
    pub(super) fn new(rpc: Rpc, pages: axum::Router) -> Self {
        let web = GrpcWebLayer::new().layer(rpc.clone());
        // Readies the router's lookups once, not per connection.
        Self { rpc, web, pages: pages.with_state(()) }
    }
}

impl Service<Request<Body>> for Front {
    type Response = Response<FrontBody>;
    type Error = Infallible;
    type Future = FrontFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.rpc.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> FrontFuture {
        const GRPC: &[u8] = b"application/grpc";
        let rest = request.headers().get(CONTENT_TYPE).and_then(|value| value.as_bytes().strip_prefix(GRPC));
        match rest {
            Some(rest) if request.version() == Version::HTTP_2 && !rest.starts_with(b"-web") => {
                FrontFuture::Rpc { future: self.rpc.call(request) }
            }
            // gRPC over HTTP/1 goes here too, and is answered 400.
            Some(_) => FrontFuture::Other { future: Box::pin(self.web.clone().oneshot(request)) },
            None => {
                let answer = self.pages.clone().oneshot(request.map(axum::body::Body::new));
                FrontFuture::Other { future: Box::pin(async { answer.await.map(|response| response.map(Body::new)) }) }
            }
        }
    }
}

pin_project! {
    #[project = FrontFutureProjection]
    pub(super) enum FrontFuture {
        Rpc { #[pin] future: GateFuture<<Routes as Service<Request<Body>>>::Future> },
        Other { future: BoxFuture<'static, Result<Response<Body>, Infallible>> },
    }
}

impl FrontFuture {
    /// Whether it is likely answered without waiting for anything.
    pub(super) fn is_quick(&self) -> bool {
        matches!(self, Self::Rpc { future } if future.is_quick())
    }
}

impl Future for FrontFuture {
    type Output = Result<Response<FrontBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            FrontFutureProjection::Rpc { future } => {
                future.poll(cx).map_ok(|response| response.map(|body| FrontBody::Rpc { body }))
            }
            FrontFutureProjection::Other { future } => {
                future.as_mut().poll(cx).map_ok(|response| response.map(|body| FrontBody::Other { body }))
            }
        }
    }
}

pin_project! {
    #[project = FrontBodyProjection]
    pub(super) enum FrontBody {
        Rpc { #[pin] body: GuardedBody },
        Other { #[pin] body: Body },
    }
}

impl HttpBody for FrontBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.project() {
            FrontBodyProjection::Rpc { body } => body.poll_frame(cx),
            FrontBodyProjection::Other { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Rpc { body } => body.is_end_stream(),
            Self::Other { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Rpc { body } => body.size_hint(),
            Self::Other { body } => body.size_hint(),
        }
    }
}
