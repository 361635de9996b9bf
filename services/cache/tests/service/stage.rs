//! The service on a store, in this process, on free ports.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_cache::{Cache, CacheOptions, CacheStore, Declared, PolicyPatch};
use headwater_cache_service::{CacheFront, CacheFrontOptions, routes};
use headwater_cache_store::memory::{MemoryStore, MemoryStoreOptions};
use headwater_cache_store::redis::{RedisStore, RedisStoreOptions};
use headwater_contracts::Contracts;
use headwater_contracts::v1::cache::cache_service_client::CacheServiceClient;
use headwater_contracts::v1::cache::cache_service_server::CacheServiceServer;
use headwater_contracts::v1::cache::{self as proto, CreateNamespaceRequest, GetRequest, Namespace, SetRequest};
use headwater_contracts::v1::error::Reason;
use headwater_serving::{Listeners, Metrics, Readiness, Services, Settings, Shell, limited};
use headwater_testkit::{REDIS, RedisCluster, require, unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

pub(crate) type Client = CacheServiceClient<Channel>;

/// Longer than anything that is waited for takes.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(15);
/// The namespace that refuses to overwrite; the HTTP routes work on it where a test says so.
pub(crate) const ONCE: &str = "once";

/// A service that runs.
pub(crate) struct Stage {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    _drain: DropGuard,
}

/// How a service is not as by default.
pub(crate) struct Setup {
    pub(crate) options: CacheOptions,
    pub(crate) declared: Vec<Declared>,
    pub(crate) settings: Settings,
    pub(crate) http_namespace: &'static str,
}

impl Setup {
    pub(crate) fn new(root: impl Into<String>) -> Self {
        let once = PolicyPatch { overwrite: Some(headwater_cache::Overwrite::Refused), ..Default::default() };
        Self {
            options: CacheOptions { root: root.into(), ..CacheOptions::default() },
            declared: vec![Declared { patch: once, ..Declared::new(ONCE) }],
            settings: Settings::default(),
            http_namespace: "default",
        }
    }
}

impl Stage {
    pub(crate) async fn memory() -> Self {
        Self::start(memory(), Setup::new("test")).await
    }

    /// On the Redis that all tests share, under names of its own.
    pub(crate) async fn redis() -> Self {
        let root = unique("service");
        let store = RedisStore::new(RedisStoreOptions::new(require(REDIS), &root)).unwrap();
        Self::start(Arc::new(store), Setup::new(root)).await
    }

    /// On a Cluster, under names of its own.
    pub(crate) async fn cluster(cluster: &RedisCluster) -> Self {
        let root = unique("service");
        let options = RedisStoreOptions { urls: cluster.urls(), cluster: true, ..RedisStoreOptions::new("", &root) };
        Self::start(Arc::new(RedisStore::new(options).unwrap()), Setup::new(root)).await
    }

    pub(crate) async fn start(store: Arc<dyn CacheStore>, setup: Setup) -> Self {
        let Setup { options, declared, mut settings, http_namespace } = setup;
        settings.listen.grpc = "127.0.0.1:0".parse().unwrap();
        settings.listen.http = "127.0.0.1:0".parse().unwrap();
        let metrics = Metrics::new().unwrap();
        let cache = Cache::new(store, options, declared, &metrics.meter("cache")).unwrap();
        let drain = CancellationToken::new();
        let listeners = Listeners::bind(&settings.listen).await.unwrap();
        let (grpc, http) = (listeners.grpc_addr(), listeners.http_addr());
        let limits = CacheFrontOptions {
            batch_keys_max: settings.cache.batch_keys_max,
            batch_bytes_max: settings.cache.batch_bytes_max,
            watch_keys_max: settings.cache.watch_keys_max,
        };
        let front = CacheFront::new(cache.clone(), limits, drain.clone());
        let mut services = Services::new(Contracts::shipped().unwrap().descriptors());
        services.add(limited!(CacheServiceServer::new(front), settings.rpc));
        let readiness = Readiness::new();
        let shell = Shell::new(&settings, &metrics, &readiness, drain.clone());
        let body_bytes_max = settings.rpc.request_bytes_max;
        let pages = shell.admission().guard(routes(cache.clone(), http_namespace.to_owned(), body_bytes_max));
        tokio::spawn(shell.serve(listeners, services, pages));
        let until = drain.clone();
        tokio::spawn(async move { until.run_until_cancelled(cache.run(|_: &str, _: Option<String>| {})).await });
        Self { grpc, http, _drain: drain.drop_guard() }
    }

    /// A connection of its own.
    pub(crate) async fn client(&self) -> Client {
        let channel = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap();
        Client::new(channel)
    }

    /// Makes a namespace with a name of its own.
    pub(crate) async fn namespace(&self, namespace: Namespace) -> String {
        let name = unique("n");
        let namespace = Namespace { name: name.clone(), ..namespace };
        let request = CreateNamespaceRequest { namespace: Some(namespace) };
        self.client().await.create_namespace(request).await.unwrap();
        name
    }

    /// The answer to an HTTP request: status, headers in lower case, body.
    pub(crate) async fn http(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let mut io = TcpStream::connect(self.http).await.unwrap();
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.0\r\nhost: x\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
        // What is refused before it was read whole is answered, and the connection closed.
        let sent = io.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let read = io.read_to_end(&mut answer).await;
        assert!(!answer.is_empty(), "no answer: {sent:?} {read:?}");
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }
}

pub(crate) fn memory() -> Arc<dyn CacheStore> {
    Arc::new(MemoryStore::new(MemoryStoreOptions::default()))
}

/// A store on a Redis of the test's own, whose answers may take so long.
pub(crate) fn redis_at(url: &str, timeout: Duration) -> Arc<dyn CacheStore> {
    let options = RedisStoreOptions {
        connect_timeout: timeout,
        response_timeout: timeout,
        ..RedisStoreOptions::new(url, "test")
    };
    Arc::new(RedisStore::new(options).unwrap())
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Sets a key of a namespace.
pub(crate) async fn set(
    client: &mut Client,
    namespace: &str,
    key: &str,
    value: &str,
) -> Result<proto::Written, Status> {
    let request =
        SetRequest { namespace: namespace.to_owned(), key: bytes(key), value: bytes(value), ..Default::default() };
    Ok(client.set(request).await?.into_inner().written.unwrap())
}

/// Reads a key of a namespace.
pub(crate) async fn get(client: &mut Client, namespace: &str, key: &str) -> Result<proto::GetResponse, Status> {
    let request = GetRequest { namespace: namespace.to_owned(), key: bytes(key), ..Default::default() };
    Ok(client.get(request).await?.into_inner())
}

/// The value that a read found.
pub(crate) async fn value(client: &mut Client, namespace: &str, key: &str) -> Option<String> {
    let answer = get(client, namespace, key).await.unwrap();
    answer.value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

/// The reason of a refused call.
pub(crate) fn reason<T: Debug>(result: Result<T, Status>) -> Reason {
    let status = result.expect_err("refused");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    let reason = Reason::from_str_name(&format!("REASON_{}", info.reason)).unwrap();
    let is_advised = status.get_details_retry_info().is_some();
    let is_passing = matches!(status.code(), tonic::Code::Unavailable | tonic::Code::ResourceExhausted);
    assert_eq!(is_advised, is_passing, "RetryInfo where a retry can help: {status:?}");
    reason
}

/// The field that a refused call was wrong in.
pub(crate) fn wrong_field<T: Debug>(result: Result<T, Status>) -> String {
    let status = result.expect_err("refused");
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().unwrap_or_else(|| panic!("no BadRequest: {status:?}"));
    assert_eq!(violations.field_violations.len(), 1, "{status:?}");
    violations.field_violations[0].field.clone()
}

/// Asks again and again until it is so.
pub(crate) async fn until<T: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(began.elapsed() < WAIT_MAX, "{what}: not within {WAIT_MAX:?}: {seen}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}
