//! Serving gRPC and HTTP: from two bound listeners to a drained process.

mod admission;
mod auth;
mod body;
mod clients;
mod connections;
mod deadline;
mod front;
mod gate;
mod health;
mod listeners;
mod methods;
mod pages;
mod request_id;
mod server;
mod services;
mod translate;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;
use crate::settings::{ListenSettings, RpcSettings};
use crate::telemetry::{Metrics, RpcMetrics};
use crate::{Condition, Settings};
use clients::Clients;
use connections::Connections;
use front::Front;
use gate::{Gate, GateRules};

pub use admission::Admission;
pub use deadline::Deadline;
pub use listeners::{BindError, BindErrors, Listeners};
pub use request_id::RequestId;
pub use services::Services;

/// How long connections that outlived the drain may take to notice that they were cut.
const CUT_TIMEOUT: Duration = Duration::from_millis(500);

/// The process's servers, before they serve.
#[derive(Debug)]
pub struct Shell {
    listen: ListenSettings,
    rpc: RpcSettings,
    admission: Admission,
    metrics: Metrics,
    readiness: Readiness,
    listening: Condition,
    drain: CancellationToken,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had calls in flight when `rpc.drain_timeout_ms` was over, and were cut.
    pub connections_cut: usize,
}

/// Why serving did not begin, or ended by itself.
#[derive(Debug, Error)]
pub enum ShellError {
    /// The descriptor set is none.
    #[error("the descriptor set cannot be decoded: {0}")]
    Descriptors(String),
    /// A service is served that the descriptor set does not declare: reflection and deadlines need it.
    #[error("the descriptor set does not declare the service {0}")]
    UndeclaredService(&'static str),
    /// A server ended without being told to.
    #[error("serving ended: {0}")]
    Ended(String),
}

impl Shell {
    /// A shell that serves until `drain` is cancelled. Give the same token to services with streams, so that they end them.
    pub fn new(settings: &Settings, metrics: &Metrics, readiness: &Readiness, drain: CancellationToken) -> Self {
        Self {
            listen: settings.listen.clone(),
            rpc: settings.rpc.clone(),
            admission: Admission::new(&settings.auth, &settings.rpc, metrics),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            listening: readiness.condition("shell: serving", &[]),
            drain,
        }
    }

    /// What pages must pass that count as calls: see [`Admission::guard`].
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Serves the services on both listeners, and the pages, `/metrics`, `/livez` and `/readyz` on the HTTP one.
    ///
    /// When `drain` is cancelled readiness says no, the listeners close, connections are told to go away, and calls in
    /// flight may end for `rpc.drain_timeout_ms`; then what is left is cut, and this returns.
    ///
    /// # Errors
    /// Where the descriptors do not declare what is served, or a server ends by itself.
    pub async fn serve(
        self,
        listeners: Listeners,
        services: Services,
        pages: axum::Router,
    ) -> Result<Drained, ShellError> {
        let metrics = Arc::new(RpcMetrics::new(&self.metrics.meter("headwater.rpc")));
        let (routes, methods) = services.into_routes(&self.readiness)?;
        let gate = Gate::new(
            routes,
            GateRules {
                methods,
                metrics: metrics.clone(),
                admission: self.admission.clone(),
                rpc: self.rpc.clone(),
                drain: self.drain.clone(),
            },
        );
        let grpc = Front::new(gate.clone(), pages::hint(listeners.http_addr()));
        let http = Front::new(gate, pages::router(pages, &self.metrics, &self.readiness));

        let stop = CancellationToken::new();
        let cut = CancellationToken::new();
        let open = Arc::new(AtomicUsize::new(0));
        let clients = Clients::default();
        let connections = |listener: TcpListener| {
            Connections::new(listener, self.listen.connections_max, &clients, &open, &cut, &metrics)
        };
        let (grpc_listener, http_listener) = listeners.into_parts();
        let grpc = server::serve(grpc, connections(grpc_listener), &self.rpc, stop.clone());
        let http = server::serve(http, connections(http_listener), &self.rpc, stop.clone());
        let both = async { tokio::join!(grpc, http) };
        tokio::pin!(both);

        self.listening.met();
        tokio::select! {
            _ = &mut both => return Err(ShellError::Ended("no listener is left".into())),
            () = self.drain.cancelled() => {}
        }
        // Readiness first, so that whoever asks a last time hears no before the connection goes away.
        self.readiness.drain();
        stop.cancel();
        let timeout = Duration::from_millis(self.rpc.drain_timeout_ms);
        if tokio::time::timeout(timeout, &mut both).await.is_ok() {
            return Ok(Drained { connections_cut: 0 });
        }
        let connections_cut = open.load(Ordering::Relaxed);
        tracing::warn!(connections_cut, "calls were still in flight after rpc.drain_timeout_ms");
        cut.cancel();
        // Whether they noticed or not, the process has waited as long as it may.
        let _ = tokio::time::timeout(CUT_TIMEOUT, &mut both).await;
        Ok(Drained { connections_cut })
    }
}
