//! HTTP on accepted connections, until told to stop.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::Service;

use super::clients::Peer;
use super::connections::{Connection, Connections};
use super::front::{Front, FrontBody, FrontFuture};
use crate::settings::RpcSettings;

/// Serves until `stop`; then the listener closes, connections are told to go away, and this returns once they have.
pub(super) async fn serve(front: Front, connections: Connections, rpc: &RpcSettings, stop: CancellationToken) {
    let tracker = TaskTracker::new();
    loop {
        let connection = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            connection = connections.next() => connection,
        };
        tracker.spawn(drive(connection, front.clone(), rpc.clone(), stop.clone()));
    }
    drop(connections);
    tracker.close();
    tracker.wait().await;
}

/// Serves one connection to its end.
async fn drive(connection: Connection, front: Front, rpc: RpcSettings, stop: CancellationToken) {
    let calls = Calls::default();
    let service = OneConnection { peer: connection.peer(), front: Mutex::new(front), calls: calls.clone() };
    let builder = builder(&rpc, calls.clone());
    let mut served = pin!(builder.serve_connection(TokioIo::new(connection), service));
    let mut stopped = pin!(stop.cancelled());
    let mut aged = pin!(async {
        match rpc.connection_age_max_s {
            0 => std::future::pending().await,
            age_max_s => tokio::time::sleep(Duration::from_secs(age_max_s)).await,
        }
    });
    let mut is_ending = false;
    let ended = poll_fn(|cx| {
        if !is_ending && (stopped.as_mut().poll(cx).is_ready() || aged.as_mut().poll(cx).is_ready()) {
            is_ending = true;
            served.as_mut().graceful_shutdown();
        }
        loop {
            let polled = served.as_mut().poll(cx);
            // What was answered at once goes out with the next poll, together.
            if !calls.begin() || polled.is_ready() {
                return polled;
            }
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// HTTP as the settings say. HTTP/1 is for pages and gRPC-Web.
fn builder(rpc: &RpcSettings, calls: Calls) -> Builder<Calls> {
    let mut builder = Builder::new(calls);
    builder
        .http2()
        .timer(TokioTimer::new())
        // A client that is over the limit shall hear so, and not wait in its own queue for a free stream.
        .max_concurrent_streams(u32::try_from(rpc.requests_in_flight_max).unwrap_or(u32::MAX))
        .keep_alive_interval((rpc.keepalive_interval_s > 0).then(|| Duration::from_secs(rpc.keepalive_interval_s)))
        .keep_alive_timeout(Duration::from_secs(rpc.keepalive_timeout_s));
    // With a timer, hyper bounds how long the headers of HTTP/1 may take.
    builder.http1().timer(TokioTimer::new());
    builder
}

/// The requests of a connection, on their way to the front.
struct OneConnection {
    peer: Peer,
    /// Never waited for: a connection's requests come one after another.
    front: Mutex<Front>,
    calls: Calls,
}

impl hyper::service::Service<Request<Incoming>> for OneConnection {
    type Response = Response<FrontBody>;
    type Error = Infallible;
    type Future = FrontFuture;

    fn call(&self, request: Request<Incoming>) -> FrontFuture {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer.clone());
        let answer = self.front.lock().call(request);
        self.calls.next_is_quick.store(answer.is_quick(), Ordering::Relaxed);
        answer
    }
}

/// The calls of a connection of HTTP/2 that came in and have not begun.
///
/// Usually each call is a task of its own. One that is likely answered without waiting begins in the connection's task
/// instead, once all that came in with it are read: that spares the task, and their answers are written together, where
/// otherwise each answer would be a write of its own. Only what has to wait becomes a task.
#[derive(Clone, Default)]
struct Calls(Arc<CallsOfConnection>);

#[derive(Default)]
struct CallsOfConnection {
    /// Whether the call that hyper is about to hand over is such a one: it does so right after calling the service.
    next_is_quick: AtomicBool,
    waiting: Mutex<Vec<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl std::ops::Deref for Calls {
    type Target = CallsOfConnection;
    fn deref(&self) -> &CallsOfConnection {
        &self.0
    }
}

impl<F> Executor<F> for Calls
where
    F: Future + Send + 'static,
{
    fn execute(&self, call: F) {
        let call = async move { drop(call.await) };
        if self.next_is_quick.swap(false, Ordering::Relaxed) {
            self.waiting.lock().push(Box::pin(call));
        } else {
            tokio::spawn(call);
        }
    }
}

impl Calls {
    /// Begins what came in; whether anything did.
    fn begin(&self) -> bool {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let is_any = !waiting.is_empty();
        for mut call in waiting {
            // What it waits for wakes nobody yet: as a task it is polled again, and then with a waker of its own.
            let mut nobody = Context::from_waker(Waker::noop());
            match std::panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut nobody))) {
                Ok(Poll::Pending) => drop(tokio::spawn(call)),
                Ok(Poll::Ready(())) => {}
                Err(_) => tracing::error!("a call panicked outside its service"),
            }
        }
        is_any
    }
}
