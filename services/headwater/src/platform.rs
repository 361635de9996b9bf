//! The roles of one process: started, watched, and ended together.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use headwater_contracts::Contracts;
use headwater_serving::{Listeners, Metrics, Readiness, Services, Settings, Shell, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::outside::Systems;
use crate::page;
use crate::roles::{Roles, Stage};

/// How long roles may take to end after the last call has been answered.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// What a shell reports of a process that was interrupted twice.
const EXIT_INTERRUPTED: i32 = 130;

/// What is known once the ports are bound.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) readiness: Readiness,
    /// Ends when the process is told to.
    pub(crate) drain: CancellationToken,
}

/// Runs the roles until SIGINT or SIGTERM, and `beside` with them; then drains.
pub(crate) async fn run<F>(
    settings: Settings,
    roles: Roles,
    systems: Systems,
    beside: impl FnOnce(Running) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    telemetry::init_logging(&settings.log)?;
    if headwater_planted::ON {
        warn!(bug = ?std::env::var_os(headwater_planted::VARIABLE), "with planted bugs: not a release");
    }
    let contracts = Arc::new(match &settings.contracts.path {
        Some(path) => Contracts::with_path(path)?,
        None => Contracts::shipped()?,
    });
    let listeners = Listeners::bind(&settings.listen).await?;
    let (grpc, http) = (listeners.grpc_addr(), listeners.http_addr());
    info!(%grpc, %http, "listening");
    let metrics = Metrics::new()?;
    let readiness = Readiness::new();
    let drain = drain_on_signals()?;
    let shell = Shell::new(&settings, &metrics, &readiness, drain.clone());
    let services = Services::new(contracts.descriptors());
    let mut stage = Stage {
        settings: &settings,
        contracts,
        metrics: &metrics,
        readiness: &readiness,
        drain: &drain,
        admission: shell.admission(),
        services,
        pages: page::router(),
        tasks: JoinSet::new(),
    };
    roles.start(&mut stage, &systems)?;
    let Stage { services, pages, mut tasks, .. } = stage;
    let beside = tokio::spawn(beside(Running { grpc, http, readiness: readiness.clone(), drain: drain.clone() }));
    let served = tokio::spawn(shell.serve(listeners, services, pages));

    let failed = first_failure(&mut tasks, &drain).await;
    drain.cancel();
    let drained = served.await.context("serving panicked")?;
    if tokio::time::timeout(END_TIMEOUT, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        warn!("a role did not end in time");
    }
    beside.abort();
    if let Some(events) = &systems.events {
        events.log.flush(END_TIMEOUT).await;
    }
    failed?;
    let drained = drained?;
    info!(connections_cut = drained.connections_cut, "drained");
    Ok(())
}

/// Waits for the drain, or for a role that cannot go on.
async fn first_failure(tasks: &mut JoinSet<anyhow::Result<()>>, drain: &CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = drain.cancelled() => return Ok(()),
            ended = tasks.join_next(), if !tasks.is_empty() => {
                if let Some(ended) = ended {
                    ended.context("a role panicked")??;
                }
            }
        }
    }
}

fn drain_on_signals() -> anyhow::Result<CancellationToken> {
    let drain = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let told = drain.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.is_cancelled() {
                std::process::exit(EXIT_INTERRUPTED);
            }
            info!("draining; once more to end at once");
            told.cancel();
        }
    });
    Ok(drain)
}
