//! The roles of one process: started, watched, and ended together.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use headwater_contracts::Contracts;
use headwater_contracts::v1::ingest::ingest_service_server::{IngestServiceServer, SERVICE_NAME as INGEST};
use headwater_contracts::v1::rebuild::rebuild_service_server::{RebuildServiceServer, SERVICE_NAME as REBUILD};
use headwater_contracts::v1::stats::stats_service_server::{SERVICE_NAME as STATS, StatsServiceServer};
use headwater_event_log::TopicSpec;
use headwater_ingest::{Ingest, IngestOptions};
use headwater_processor::{Outside, Processor, ProcessorOptions};
use headwater_serving::{Condition, Listeners, Metrics, Readiness, Services, Settings, Shell, limited, telemetry};
use headwater_stats::{Rebuilds, Stats, StatsOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::page;

/// How long roles may take to end after the last call has been answered.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// What a shell reports of a process that was interrupted twice.
const EXIT_INTERRUPTED: i32 = 130;

/// Which services a process runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roles {
    pub(crate) ingest: bool,
    pub(crate) processor: bool,
    pub(crate) stats: bool,
}

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
    outside: Outside,
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
    let mut services = Services::new(contracts.descriptors());
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();

    if roles.ingest {
        let ingest = Ingest::new(
            ingest_options(&settings),
            Arc::clone(&contracts),
            Arc::clone(&outside.log),
            Arc::clone(&outside.registry),
            drain.clone(),
            &metrics.meter("headwater.ingest"),
        );
        services.add(limited!(IngestServiceServer::new(ingest.clone()), settings.rpc));
        let condition = readiness.condition("ingest: topics and schemas", &[INGEST]);
        let drain = drain.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = drain.cancelled() => {}
                prepared = ingest.prepare(|error| condition.unmet(error.to_string())) => {
                    prepared.context("ingest cannot start")?;
                    condition.met();
                }
            }
            Ok(())
        });
    }
    if roles.stats {
        let stats = Stats::new(
            stats_options(&settings),
            Arc::clone(&contracts),
            Arc::clone(&outside.history),
            Arc::clone(&outside.live),
            Some(Arc::clone(&outside.log)),
            drain.clone(),
        );
        services.add(limited!(StatsServiceServer::new(stats.clone()), settings.rpc));
        let rebuilds = Rebuilds::new(
            Arc::clone(&contracts),
            Arc::clone(&outside.history),
            Arc::clone(&outside.live),
            drain.clone(),
        );
        services.add(limited!(RebuildServiceServer::new(rebuilds), settings.rpc));
        let started = [
            ("stats: history", Start::new(&readiness, "stats: history", &[STATS, REBUILD])),
            ("stats: live statistics", Start::new(&readiness, "stats: live statistics", &[STATS, REBUILD])),
        ];
        let drain = drain.clone();
        tasks.spawn(async move {
            let told = |name: &str, reason: Option<String>| {
                if let Some((_, start)) = started.iter().find(|(known, _)| *known == name) {
                    start.tell(reason);
                }
            };
            tokio::select! {
                () = drain.cancelled() => {}
                () = stats.run(told) => {}
            }
            Ok(())
        });
    }
    if roles.processor {
        let start = Start::new(&readiness, "processor", &["headwater.processor"]);
        let troubles = readiness.clone();
        let conditions = Arc::new(move |name: &str, reason: Option<String>| {
            // What comes and goes later is shown: the process still serves.
            if start.is_met() {
                troubles.trouble(name, reason);
            } else if name == "processor" || reason.is_some() {
                start.tell(reason);
            }
        });
        let processor = Processor::new(
            processor_options(&settings),
            Arc::clone(&contracts),
            outside.clone(),
            conditions,
            &metrics.meter("headwater.processor"),
        );
        let drain = drain.clone();
        tasks.spawn(async move {
            processor.run(drain).await;
            Ok(())
        });
    }
    let shell = Shell::new(&settings, &metrics, &readiness, drain.clone());
    let beside = tokio::spawn(beside(Running { grpc, http, readiness: readiness.clone(), drain: drain.clone() }));
    let served = tokio::spawn(shell.serve(listeners, services, page::router()));

    let failed = first_failure(&mut tasks, &drain).await;
    drain.cancel();
    let drained = served.await.context("serving panicked")?;
    if tokio::time::timeout(END_TIMEOUT, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        warn!("a role did not end in time");
    }
    beside.abort();
    outside.log.flush(END_TIMEOUT).await;
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

/// A condition of the start: once it was met, an outage is told by the answers of calls and not by health, or every
/// replica would leave the mesh at once.
struct Start {
    condition: Condition,
    met: AtomicBool,
}

impl Start {
    fn new(readiness: &Readiness, name: &str, services: &[&str]) -> Self {
        Self { condition: readiness.condition(name, services), met: AtomicBool::new(false) }
    }

    fn is_met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    fn tell(&self, reason: Option<String>) {
        match reason {
            None => {
                self.met.store(true, Ordering::Relaxed);
                self.condition.met();
            }
            Some(reason) if !self.is_met() => self.condition.unmet(reason),
            Some(_) => {}
        }
    }
}

fn topic_spec(settings: &Settings) -> TopicSpec {
    TopicSpec {
        name: String::new(),
        partitions: settings.topics.partitions,
        replication: settings.topics.replication,
        min_insync: settings.topics.min_insync,
        retention_ms: settings.topics.retention_ms,
    }
}

fn ingest_options(settings: &Settings) -> IngestOptions {
    let ingest = &settings.ingest;
    IngestOptions {
        batch_records_max: ingest.batch_records_max,
        record_bytes_max: ingest.record_bytes_max,
        records_in_flight_max: ingest.records_in_flight_max,
        stream_records_in_flight_max: ingest.stream_records_in_flight_max,
        topic: topic_spec(settings),
    }
}

fn stats_options(settings: &Settings) -> StatsOptions {
    StatsOptions {
        window_max_ms: settings.stats.window_max_s * 1000,
        subscriptions_max: settings.stats.subscriptions_max,
    }
}

fn processor_options(settings: &Settings) -> ProcessorOptions {
    let processor = &settings.processor;
    ProcessorOptions {
        group: settings.kafka.group.clone(),
        owner: owner(),
        topic: topic_spec(settings),
        dead_letter_suffix: processor.dead_letter_topic_suffix.clone(),
        batch_records_max: processor.batch_records_max,
        batch_bytes_max: processor.batch_bytes_max,
        batch_linger: Duration::from_millis(processor.batch_linger_ms),
        retry_max: Duration::from_millis(processor.retry_max_ms),
        rule_spans_max: processor.rule_spans_max,
        window_max_ms: settings.stats.window_max_s * 1000,
        shards: settings.redis.shards,
        live_queue_max: processor.live_queue_max,
        batches_kept_ms: i64::try_from(processor.batches_kept_s * 1000).unwrap_or(i64::MAX),
        events_kept_days: processor.events_kept_days,
        upkeep_interval: Duration::from_secs(processor.upkeep_interval_s),
    }
}

/// Names this process for people: its host's name and its id.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}:{}", if host.is_empty() { "localhost" } else { host }, std::process::id())
}
