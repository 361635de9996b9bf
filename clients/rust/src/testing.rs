//! An in-process server that answers like the platform, for tests of programs that use this client.
//!
//! It checks records against the shipped contracts, keeps what it accepted and what is cached in memory, serves reflection,
//! and can be told to fail: calls ([`FakeServer::fail_next`]), records ([`FakeServer::retry_next`]), streams
//! ([`FakeServer::break_stream_after`], [`FakeServer::end_watches`]).

mod cache;
mod ingest;
mod stats;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_contracts::Contracts;
use tokio::sync::{oneshot, watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::ConnectOptions;
use crate::v1::cache::cache_service_server::CacheServiceServer;
use crate::v1::ingest::ingest_service_server::IngestServiceServer;
use crate::v1::stats::stats_service_server::StatsServiceServer;
use crate::v1::stats::{ExplainVerdictResponse, StatResult};

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct FakeServer {
    address: SocketAddr,
    state: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A record that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The stream.
    pub stream: String,
    /// The event's id.
    pub id: String,
    /// The event's bytes.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    contracts: Contracts,
    plan: Mutex<Plan>,
    /// Changes with the figures, for subscriptions.
    figures: watch::Sender<u64>,
    cache: cache::State,
}

#[derive(Debug, Default)]
struct Plan {
    accepted: Vec<Accepted>,
    calls: Vec<Call>,
    failures: VecDeque<Status>,
    retries: VecDeque<usize>,
    break_after: VecDeque<usize>,
    delay: Duration,
    silent: bool,
    results: HashMap<(String, String), StatResult>,
    explanations: HashMap<(String, String), ExplainVerdictResponse>,
}

/// A call that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Name of the method, for example `Publish`.
    pub method: &'static str,
    /// Its `authorization` and `grpc-timeout`.
    pub metadata: BTreeMap<String, String>,
    /// Its `at_least`, where the method has one.
    pub at_least: String,
}

impl FakeServer {
    /// Starts on a free port of 127.0.0.1, with the shipped contracts.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts at an address, for example where one was before, as a server that comes back does. It knows nothing of that one.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn start_at(address: SocketAddr) -> Self {
        Self::start_with(address, Contracts::shipped().expect("the shipped contracts hold"), None)
    }

    /// Starts with these contracts; encrypted, with a certificate and its key in PEM, where they are given.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn start_with(address: SocketAddr, contracts: Contracts, identity: Option<(&str, &str)>) -> Self {
        let listener = std::net::TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("a bound socket has an address");
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(contracts.descriptors())
            .build_v1()
            .expect("the contracts' descriptors are whole");
        let state = Arc::new(Shared {
            contracts,
            plan: Mutex::default(),
            figures: watch::Sender::new(0),
            cache: cache::State::default(),
        });
        let mut server = Server::builder();
        if let Some((certificate, key)) = identity {
            let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
            server = server.tls_config(tls).expect("the certificate is whole");
        }
        let ingest = IngestServiceServer::from_arc(Arc::new(ingest::Ingest(Arc::clone(&state))));
        let router = server
            .add_service(reflection)
            .add_service(ingest.max_decoding_message_size(64 << 20))
            .add_service(StatsServiceServer::from_arc(Arc::new(stats::Stats(Arc::clone(&state)))))
            .add_service(CacheServiceServer::from_arc(Arc::new(cache::Cache(Arc::clone(&state)))));
        let (stop, stopped) = oneshot::channel::<()>();
        // A runtime of its own, whose end cuts every connection: a server that was stopped is gone.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    served = router.serve_with_incoming(TcpListenerStream::new(listener)) => served.expect("serving"),
                    _ = stopped => {}
                }
            });
        });
        Self { address, state, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The options to connect to it.
    pub fn connect_options(&self) -> ConnectOptions {
        ConnectOptions::new(format!("http://{}", self.address))
    }

    /// What was accepted so far, in order.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.state.plan().accepted.clone()
    }

    /// The calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state.plan().calls.clone()
    }

    /// Lets the next call fail so; told several times, one call each.
    pub fn fail_next(&self, status: Status) {
        self.state.plan().failures.push_back(status);
    }

    /// Answers the next batch's first `count` records with RETRY; told several times, one batch each.
    pub fn retry_next(&self, count: usize) {
        self.state.plan().retries.push_back(count);
    }

    /// Cuts the next stream after `batches` batches, the last one kept without an answer; told several times, one stream each.
    pub fn break_stream_after(&self, batches: usize) {
        self.state.plan().break_after.push_back(batches);
    }

    /// Waits so long before each answer from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.state.plan().delay = delay;
    }

    /// Answers nothing on streams from now on, or again.
    pub fn set_silent(&self, silent: bool) {
        self.state.plan().silent = silent;
    }

    /// What GetStats and SubscribeStats answer for a statistic.
    pub fn set_result(&self, result: StatResult) {
        self.state.plan().results.insert((result.stream.clone(), result.stat.clone()), result);
        self.state.figures.send_modify(|changes| *changes += 1);
    }

    /// What ExplainVerdict answers for an event of a stream; else that nothing is known.
    pub fn set_explanation(&self, stream: &str, id: &str, answer: ExplainVerdictResponse) {
        self.state.plan().explanations.insert((stream.to_owned(), id.to_owned()), answer);
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed by its thread.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a call, and lets it fail where that was asked for.
    async fn begin<T>(&self, method: &'static str, at_least: &str, request: &Request<T>) -> Result<(), Status> {
        let (failure, delay) = {
            let mut plan = self.plan();
            let metadata = ["authorization", "grpc-timeout"]
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), request.metadata().get(name)?.to_str().ok()?.to_owned())))
                .collect();
            plan.calls.push(Call { method, metadata, at_least: at_least.to_owned() });
            (plan.failures.pop_front(), plan.delay)
        };
        tokio::time::sleep(delay).await;
        failure.map_or(Ok(()), Err)
    }
}

/// A status as the platform makes them.
pub fn refusal(code: Code, reason: &str, detail: &str, retry_after: Option<Duration>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "headwater", []);
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(code, detail, details)
}
