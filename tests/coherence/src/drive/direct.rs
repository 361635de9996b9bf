use std::time::Duration;

use anyhow::Result;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Value, cmd};
use tokio::sync::Mutex;

use super::Key;
use crate::history::{Call, Condition, Ended, Layer};

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// The store without the cache, as redis-cli sees it.
pub(super) struct Direct {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    prefix: Vec<u8>,
}

impl Direct {
    pub(super) fn new(url: &str) -> Result<Self> {
        Ok(Self { client: Client::open(url)?, connection: Mutex::new(None), prefix: Vec::new() })
    }

    /// What the key of every value begins with.
    pub(super) fn set_prefix(&mut self, prefix: &[u8]) {
        self.prefix = prefix.to_vec();
    }

    /// Leases and etags are the cache's own.
    pub(super) fn can(&self, call: &Call) -> bool {
        !matches!(
            call,
            Call::Get { lease: true, .. } | Call::SetIf { condition: Condition::Value(_) | Condition::Lease(_), .. }
        )
    }

    pub(super) async fn ask(&self, key: &Key, call: &Call) -> Ended {
        let unknown = |error: &dyn ToString| Ended::Unknown { why: error.to_string() };
        let connection = self.connection.lock().await.clone();
        let mut connection = match connection {
            Some(connection) => connection,
            None => match self.connect().await {
                Ok(connection) => connection,
                Err(error) => return Ended::Failed { why: error.to_string() },
            },
        };
        let stored = [&self.prefix, key.name.as_bytes()].concat();
        let command = match call {
            Call::Get { .. } => cmd("GET").arg(&stored).take(),
            Call::Set { value } => cmd("SET").arg(&stored).arg(value).take(),
            Call::SetIf { value, condition, .. } => {
                let condition = if *condition == Condition::Absent { "NX" } else { "XX" };
                cmd("SET").arg(&stored).arg(value).arg(condition).take()
            }
            Call::Increment { delta } => cmd("INCRBY").arg(&stored).arg(*delta).take(),
            Call::Delete => cmd("DEL").arg(&stored).take(),
            Call::Load { .. } => Cmd::new(),
        };
        match command.query_async::<Value>(&mut connection).await {
            Ok(answer) => ended(call, answer),
            // It said no, and did nothing.
            Err(error) if error.code().is_some() && !error.is_io_error() => Ended::Failed { why: error.to_string() },
            Err(error) => {
                *self.connection.lock().await = None;
                unknown(&error)
            }
        }
    }

    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_MAX)).set_response_timeout(None);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        *self.connection.lock().await = Some(connection.clone());
        Ok(connection)
    }
}

fn ended(call: &Call, answer: Value) -> Ended {
    let done = |is_done, existed, sum| Ended::Wrote { is_done, existed, sum };
    match (call, answer) {
        (Call::Get { .. }, answer) => {
            let value = match answer {
                Value::BulkString(value) => Some(String::from_utf8_lossy(&value).into_owned()),
                _ => None,
            };
            Ended::Read { value, layer: Layer::L2, is_stale: false, is_collapsed: false, lease: None }
        }
        (Call::Delete, Value::Int(count)) => done(true, Some(count > 0), None),
        (Call::Increment { .. }, Value::Int(sum)) => done(true, None, Some(sum)),
        (_, Value::Okay) => done(true, None, None),
        (_, Value::Nil) => done(false, None, None),
        (_, answer) => Ended::Unknown { why: format!("{answer:?}") },
    }
}
