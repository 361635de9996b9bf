//! The shell over real loopback connections, with a small service of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod admission;
mod client;
mod deadlines;
mod drain;
mod echo;
mod health;
mod http_side;
mod listening;
mod measures;
mod quick;
mod sizes;

use std::net::SocketAddr;
use std::time::Duration;

use headwater_serving::{Drained, Listeners, Metrics, Readiness, Services, Settings, Shell, ShellError, limited};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, and short enough that a hang is told.
const PATIENCE: Duration = Duration::from_secs(20);

/// A shell that serves the echo service.
struct Running {
    grpc: SocketAddr,
    http: SocketAddr,
    readiness: Readiness,
    drain: CancellationToken,
    served: JoinHandle<Result<Drained, ShellError>>,
}

impl Running {
    /// Serves with the defaults as changed, on free ports.
    async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        settings.listen.grpc = "127.0.0.1:0".parse().unwrap();
        settings.listen.http = "127.0.0.1:0".parse().unwrap();
        change(&mut settings);
        let listeners = Listeners::bind(&settings.listen).await.unwrap();
        let (grpc, http) = (listeners.grpc_addr(), listeners.http_addr());
        let readiness = Readiness::new();
        let drain = CancellationToken::new();
        let metrics = Metrics::new().unwrap();
        let mut services = Services::new(echo::descriptors());
        services
            .add(limited!(echo::Echo::new(drain.clone()), settings.rpc))
            .quick("headwater.test.v1.EchoService/Quick");
        let shell = Shell::new(&settings, &metrics, &readiness, drain.clone());
        let counted = axum::Router::new()
            .route("/counted", axum::routing::get(|| async { "counted" }))
            .route("/never", axum::routing::get(std::future::pending::<&'static str>));
        let pages = axum::Router::new()
            .route("/", axum::routing::get(|| async { "the page" }))
            .merge(shell.admission().guard(counted));
        let served = tokio::spawn(shell.serve(listeners, services, pages));
        Self { grpc, http, readiness, drain, served }
    }

    /// Drains, and says how it ended.
    async fn end(self) -> Drained {
        self.drain.cancel();
        tokio::time::timeout(PATIENCE, self.served).await.expect("drained").unwrap().unwrap()
    }
}
