use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt;
use headwater_domain::Reason;
use http::{Request, Response};
use http_body_util::{BodyStream, StreamBody};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::admission::{Admission, Place};
use super::body::GuardedBody;
use super::clients::Peer;
use super::deadline::{Deadline, Limit};
use super::methods::{Method, Methods};
use super::request_id::{self, RequestId};
use super::translate::{better_status, code_in};
use crate::Problem;
use crate::settings::RpcSettings;
use crate::telemetry::RpcMetrics;

/// What every call passes before it reaches its service, and every answer on its way back. In this order:
///
/// 1. the measurement and the span, so that whatever is refused below is counted and logged too;
/// 2. the token, so that a stranger takes no place from others; health is exempt;
/// 3. the limits of calls in flight, which refuse at once and never queue; health is exempt;
/// 4. the deadline, as late as possible, so that it is the service's own time.
///
/// One service and not four layers: each layer would cost every call a future and a boxed body.
#[derive(Clone)]
pub(super) struct Gate<S> {
    inner: S,
    rules: Arc<GateRules>,
}

pub(super) struct GateRules {
    pub(super) methods: Methods,
    pub(super) metrics: Arc<RpcMetrics>,
    pub(super) admission: Admission,
    pub(super) rpc: RpcSettings,
    pub(super) drain: CancellationToken,
}

/// A call under way: measured, named in the log, and holding its place among the calls in flight.
pub(super) struct Call {
    pub(super) method: Arc<Method>,
    pub(super) limit: Option<Limit>,
    rules: Arc<GateRules>,
    id: RequestId,
    path: String,
    peer: Option<std::net::SocketAddr>,
    began: Instant,
    span: tracing::Span,
    is_over: bool,
    _place: Option<Place>,
}

impl<S> Gate<S> {
    pub(super) fn new(inner: S, rules: GateRules) -> Self {
        Self { inner, rules: Arc::new(rules) }
    }
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<GuardedBody>;
    type Error = Infallible;
    type Future = GateFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut call = Call::begin(&self.rules, &request);
        let admitted = call.admit(&request);
        if let Some(limit) = call.limit {
            request.extensions_mut().insert(Deadline(limit.at));
        }
        request.extensions_mut().insert(call.id.clone());
        match admitted {
            Ok(()) => {
                if call.method.ends_with_drain {
                    request = request.map(|body| until_drained(body, self.rules.drain.clone()));
                }
                let sleep = call.limit.map(|limit| sleep_until(limit.at));
                let answer = {
                    let _entered = call.span.enter();
                    self.inner.call(request)
                };
                GateFuture { answer: Some(answer), sleep, refused: None, call: Some(call) }
            }
            Err(problem) => GateFuture { answer: None, sleep: None, refused: Some(problem), call: Some(call) },
        }
    }
}

pin_project! {
    /// The answer to a call, or its refusal.
    pub(super) struct GateFuture<F> {
        #[pin]
        answer: Option<F>,
        #[pin]
        sleep: Option<Sleep>,
        refused: Option<Problem>,
        call: Option<Call>,
    }
}

impl<F> GateFuture<F> {
    /// Whether it is likely answered without waiting for anything: its method says so, or it is refused.
    pub(super) fn is_quick(&self) -> bool {
        self.refused.is_some() || self.call.as_ref().is_some_and(|call| call.method.is_quick)
    }
}

impl<F> Future for GateFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<GuardedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(call) = this.call.as_ref() else { return Poll::Pending };
        let answer = match this.refused.take() {
            Some(problem) => Err(problem),
            None => {
                let polled = match this.answer.as_mut().as_pin_mut() {
                    Some(answer) => call.poll(|| answer.poll(cx)),
                    None => return Poll::Pending,
                };
                match polled {
                    Ok(Poll::Ready(Ok(response))) => Ok(response),
                    Err(problem) => Err(problem),
                    Ok(Poll::Pending) => match call.limit {
                        Some(limit) if is_over(this.sleep.as_mut(), limit, cx) => Err(limit.problem()),
                        _ => return Poll::Pending,
                    },
                }
            }
        };
        // Ends the work of a call that is answered without it.
        this.answer.set(None);
        let call = this.call.take().expect("looked at above, and nothing else takes it");
        Poll::Ready(Ok(match answer {
            Ok(response) => call.answer(response),
            Err(problem) => call.refuse(problem),
        }))
    }
}

/// Whether the deadline has passed; else the task is woken when it does.
pub(super) fn is_over(sleep: Pin<&mut Option<Sleep>>, limit: Limit, cx: &mut Context<'_>) -> bool {
    // The clock as well as the timer, which fires on whole milliseconds.
    sleep.as_pin_mut().is_some_and(|sleep| sleep.poll(cx).is_ready()) || Instant::now() >= limit.at
}

impl Call {
    fn begin(rules: &Arc<GateRules>, request: &Request<Body>) -> Self {
        let method = rules.methods.find(request.uri().path()).clone();
        let id = RequestId::of(request.headers());
        // Of a method that there is, the labels say it.
        let path = if method.is_known { String::new() } else { request.uri().path().to_owned() };
        let span = tracing::debug_span!("rpc", method = method.name, id = %id);
        rules.metrics.began();
        Self {
            method,
            limit: None,
            rules: rules.clone(),
            id,
            path,
            peer: request.extensions().get::<Peer>().map(|peer| peer.address),
            began: Instant::now(),
            span,
            is_over: false,
            _place: None,
        }
    }

    fn admit(&mut self, request: &Request<Body>) -> Result<(), Problem> {
        if !self.method.is_exempt {
            let place = self.rules.admission.admit(request.headers(), request.extensions().get::<Peer>())?;
            self._place = Some(place);
        }
        self.limit = Limit::of(request.headers(), self.method.is_unary, &self.rules.rpc, self.began);
        Ok(())
    }

    /// Polls what belongs to the call, within its span. A panic is a problem of this call and no other.
    pub(super) fn poll<T>(&self, poll: impl FnOnce() -> T) -> Result<T, Problem> {
        let _entered = self.span.enter();
        // What panicked is dropped and never looked at again.
        std::panic::catch_unwind(AssertUnwindSafe(poll)).map_err(|panic| {
            let text = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(id = %self.id, method = self.method.name, panic = text, "a call panicked");
            Problem::new(Reason::Internal, format!("a fault of the platform's own; its log has more under {}", self.id))
        })
    }

    fn answer(mut self, response: Response<Body>) -> Response<GuardedBody> {
        let Some(code) = code_in(response.headers()) else {
            return response.map(|body| GuardedBody::new(body, self));
        };
        // The answer is all in its headers.
        if let Some(status) = better_status(response.headers(), &self.path, self.rules.rpc.request_bytes_max) {
            return self.end_with(status);
        }
        let (mut parts, body) = response.into_parts();
        if code != Code::Ok {
            parts.headers.insert(request_id::HEADER, self.id.to_header());
        }
        self.over(code);
        Response::from_parts(parts, GuardedBody::new(body, self))
    }

    fn refuse(self, problem: Problem) -> Response<GuardedBody> {
        self.end_with(problem.into())
    }

    fn end_with(mut self, status: Status) -> Response<GuardedBody> {
        self.over(status.code());
        let (mut parts, ()) = status.into_http::<()>().into_parts();
        parts.headers.insert(request_id::HEADER, self.id.to_header());
        Response::from_parts(parts, GuardedBody::empty())
    }

    /// The trailers that a stream ends with, made better, and the call over.
    pub(super) fn end_with_trailers(&mut self, trailers: http::HeaderMap) -> http::HeaderMap {
        let status = better_status(&trailers, &self.path, self.rules.rpc.request_bytes_max);
        let mut trailers = status.map_or(trailers, trailers_of);
        let code = code_in(&trailers).unwrap_or(Code::Unknown);
        if code != Code::Ok {
            trailers.insert(request_id::HEADER, self.id.to_header());
        }
        self.over(code);
        trailers
    }

    /// Measures and logs the end of the call, once.
    pub(super) fn over(&mut self, code: Code) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let took = self.began.elapsed();
        self.rules.metrics.ended(&self.method.labels, code, took);
        let took_ms = took.as_secs_f64() * 1000.0;
        let (id, method, peer) = (&self.id, &self.method.name, self.peer);
        match code {
            // Ours to mend, and rare: the operator is told. The rest the caller is told, and the metrics count it.
            Code::Internal | Code::Unknown | Code::DataLoss => {
                tracing::warn!(%id, method, ?peer, ?code, took_ms, "a call failed");
            }
            _ => tracing::debug!(%id, method, ?peer, ?code, took_ms, "a call ended"),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Dropped before its end: the caller went away.
        self.over(Code::Cancelled);
    }
}

/// A request body that ends when the process drains, and the call with it.
fn until_drained(body: Body, drain: CancellationToken) -> Body {
    Body::new(StreamBody::new(BodyStream::new(body).take_until(drain.cancelled_owned())))
}

/// A status as trailers.
pub(super) fn trailers_of(status: Status) -> http::HeaderMap {
    let mut trailers = http::HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("13"));
    }
    trailers
}
