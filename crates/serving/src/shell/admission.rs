use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use headwater_domain::Reason;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::Auth;
use super::clients::{ClientPlace, Peer};
use crate::Problem;
use crate::settings::{AuthSettings, RpcSettings};
use crate::telemetry::{HttpMetrics, Metrics};

/// Who may call, and how many calls may be in flight: of one client, and in all. Clones share the count.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    auth: Auth,
    in_flight: Arc<Semaphore>,
    in_flight_max: usize,
    client_max: usize,
    deadline: Duration,
    metrics: HttpMetrics,
}

/// The place of a call in flight.
#[derive(Debug)]
pub(super) struct Place {
    _of_client: Option<ClientPlace>,
    _of_all: OwnedSemaphorePermit,
}

impl Admission {
    pub(super) fn new(auth: &AuthSettings, rpc: &RpcSettings, metrics: &Metrics) -> Self {
        Self(Arc::new(Rules {
            auth: Auth::new(auth.token.clone()),
            in_flight: Arc::new(Semaphore::new(rpc.requests_in_flight_max)),
            in_flight_max: rpc.requests_in_flight_max,
            client_max: rpc.requests_in_flight_per_client_max,
            deadline: Duration::from_millis(rpc.deadline_default_ms),
            metrics: HttpMetrics::new(&metrics.meter("headwater.http")),
        }))
    }

    /// Routes that ask for the token, count among the calls in flight, answer within `rpc.deadline_default_ms`, and are
    /// measured, as calls of gRPC are. What is refused is answered as a [`Problem`].
    pub fn guard<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>) -> Router<S> {
        routes.layer(from_fn_with_state(self.clone(), pass))
    }

    /// A place for a call. The token first, so that a stranger takes no place from others; then the client's own limit, so
    /// that one client alone does not reach the limit of all. Refuses at once and never queues.
    pub(super) fn admit(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Place, Problem> {
        let rules = &*self.0;
        rules.auth.check(headers)?;
        let over = |detail: String, limit: usize| {
            Problem::new(Reason::Overloaded, detail).with_metadata("limit", limit.to_string())
        };
        let most = rules.client_max;
        let of_client = peer.map(|peer| {
            peer.client.place(most).ok_or_else(|| {
                let limit = "rpc.requests_in_flight_per_client_max";
                over(format!("{most} calls of this client are in flight ({limit})"), most)
            })
        });
        let of_client = of_client.transpose()?;
        let most = rules.in_flight_max;
        let of_all = Arc::clone(&rules.in_flight)
            .try_acquire_owned()
            .map_err(|_| over(format!("{most} calls are in flight (rpc.requests_in_flight_max)"), most))?;
        Ok(Place { _of_client: of_client, _of_all: of_all })
    }
}

/// Lets a request of HTTP pass, and keeps its place until its answer is sent or given up.
async fn pass(State(admission): State<Admission>, request: Request, next: Next) -> Response {
    let (began, method) = (Instant::now(), request.method().clone());
    let answer = admitted(&admission, request, next).await;
    admission.0.metrics.answered(&method, answer.status(), began.elapsed());
    answer
}

async fn admitted(admission: &Admission, request: Request, next: Next) -> Response {
    let place = match admission.admit(request.headers(), request.extensions().get::<Peer>()) {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let deadline = admission.0.deadline;
    let answer = match tokio::time::timeout(deadline, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            let detail = format!("no answer within {} ms (rpc.deadline_default_ms)", deadline.as_millis());
            Problem::new(Reason::DeadlineExceeded, detail).into_response()
        }
    };
    answer.map(|body| Body::new(Placed { body, _place: place }))
}

/// An answer's body, which gives the call's place back once it is sent or given up.
struct Placed {
    body: Body,
    _place: Place,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
