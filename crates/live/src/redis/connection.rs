use std::time::Duration;

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout, timeout_at},
};

use super::RedisOptions;
use crate::LiveError;

/// How often the Cluster's driver tries a command again, for example where it was redirected.
const CLUSTER_RETRIES: u32 = 3;
const CLUSTER_RETRY_WAIT_MAX_MS: u64 = 200;

/// One connection that all calls share, made when it is needed and made anew when it was lost.
pub(super) struct Connector {
    target: Target,
    connect_timeout: Duration,
    response_timeout: Duration,
    state: Mutex<State>,
}

/// Which nodes a command is for.
#[derive(Clone, Copy)]
pub(super) enum To {
    /// The one that has its keys.
    ItsNode,
    /// Every node that has keys.
    Primaries,
}

/// Why a command had no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// Redis did not answer.
    Away(String),
    /// Redis, or its driver, answered with an error.
    Redis(RedisError),
}

enum Target {
    One(Client, AsyncConnectionConfig),
    Cluster(ClusterClient),
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Counts connections, so that only the one that failed is given up.
    number: u64,
}

impl Connector {
    pub(super) fn new(options: &RedisOptions) -> Result<Self, LiveError> {
        let target = if options.cluster {
            let builder = ClusterClientBuilder::new(options.urls.iter().map(String::as_str))
                .connection_timeout(options.connect_timeout)
                .response_timeout(options.response_timeout)
                .retries(CLUSTER_RETRIES)
                .max_retry_wait(CLUSTER_RETRY_WAIT_MAX_MS);
            Target::Cluster(builder.build().map_err(|error| unusable(&error))?)
        } else {
            let [url] = options.urls.as_slice() else {
                return Err(LiveError::Refused("Redis has one address, unless it is a Cluster".into()));
            };
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(options.connect_timeout))
                .set_response_timeout(Some(options.response_timeout));
            Target::One(Client::open(url.as_str()).map_err(|error| unusable(&error))?, config)
        };
        let Some(connect_timeout) = Some(options.connect_timeout).filter(|timeout| !timeout.is_zero()) else {
            return Err(LiveError::Refused("the time to connect to Redis is 0".into()));
        };
        Ok(Self { target, connect_timeout, response_timeout: options.response_timeout, state: Mutex::default() })
    }

    /// Runs a command, within the two timeouts together. A lost connection is made anew once: every command of this
    /// crate may run twice.
    pub(super) async fn run(&self, command: &Cmd, to: To) -> Result<Value, Failure> {
        let limit = self.connect_timeout + self.response_timeout;
        let mut used = None;
        match timeout_at(Instant::now() + limit, self.attempt(command, to, &mut used)).await {
            Ok(result) => result,
            Err(_) => {
                if let Some(number) = used {
                    self.give_up(number).await;
                }
                Err(Failure::Away(format!("no answer within {} ms", limit.as_millis())))
            }
        }
    }

    async fn attempt(&self, command: &Cmd, to: To, used: &mut Option<u64>) -> Result<Value, Failure> {
        loop {
            let is_second = used.is_some();
            let (number, mut connection) = self.connection().await?;
            *used = Some(number);
            match connection.send(command, to).await {
                Ok(value) => return Ok(value),
                Err(error) if is_lost(&error) => {
                    self.give_up(number).await;
                    if is_second || error.is_timeout() {
                        return Err(Failure::Redis(error));
                    }
                }
                Err(error) => return Err(Failure::Redis(error)),
            }
        }
    }

    async fn connection(&self) -> Result<(u64, Connection), Failure> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((state.number, connection.clone()));
        }
        match timeout(self.connect_timeout, self.target.connect()).await {
            Ok(Ok(connection)) => {
                state.number += 1;
                state.connection = Some(connection.clone());
                Ok((state.number, connection))
            }
            Ok(Err(error)) => Err(Failure::Redis(error)),
            Err(_) => Err(Failure::Away(format!("no connection within {} ms", self.connect_timeout.as_millis()))),
        }
    }

    async fn give_up(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.number == number {
            state.connection = None;
        }
    }
}

impl Target {
    async fn connect(&self) -> Result<Connection, RedisError> {
        match self {
            Self::One(client, config) => {
                client.get_multiplexed_async_connection_with_config(config).await.map(Connection::One)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

impl Connection {
    async fn send(&mut self, command: &Cmd, to: To) -> Result<Value, RedisError> {
        let value = match (self, to) {
            (Self::One(connection), _) => connection.req_packed_command(command).await,
            (Self::Cluster(connection), To::ItsNode) => connection.req_packed_command(command).await,
            (Self::Cluster(connection), To::Primaries) => {
                let routing = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                connection.route_command(command.clone(), routing).await
            }
        };
        value?.extract_error()
    }
}

/// Whether the connection is of no more use.
fn is_lost(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound => true,
        // What was the primary is not any more; behind the same address there may be another.
        ErrorKind::Server(ServerErrorKind::ReadOnly) => true,
        _ => false,
    }
}

fn unusable(error: &RedisError) -> LiveError {
    LiveError::Refused(format!("the address of Redis cannot be used: {}", error.category()))
}

impl Failure {
    /// Whether Redis answers, and does not let this user run this command.
    pub(super) fn is_denial(&self) -> bool {
        match self {
            Self::Away(_) => false,
            Self::Redis(error) => {
                error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
                    || error.detail().is_some_and(|detail| detail.contains("unknown command"))
            }
        }
    }
}

impl From<Failure> for LiveError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(detail) => Self::Unavailable(detail),
            Failure::Redis(error) if passes(&error) => Self::Unavailable(error.to_string()),
            Failure::Redis(error) => Self::Refused(error.to_string()),
        }
    }
}

/// Whether retrying can help.
fn passes(error: &RedisError) -> bool {
    /// Codes of passing states.
    const CODES: [&str; 4] = ["OOM", "BUSY", "MISCONF", "NOREPLICAS"];
    /// What such states say within a script's error, whose code says nothing (before Redis 7 of all of them).
    const TEXTS: [&str; 7] =
        ["OOM command", "MISCONF", "NOREPLICAS", "READONLY", "-LOADING", "non local key", "cluster is down"];
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound => true,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        ) => true,
        _ => {
            error.code().is_some_and(|code| CODES.contains(&code))
                || error.detail().is_some_and(|detail| TEXTS.iter().any(|text| detail.contains(text)))
        }
    }
}
