use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ::redis::{Value, cmd};
use tokio::time::timeout;

use super::connection::{Connector, To};
use crate::LiveError;

/// How long a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The oldest Redis that has what the scripts use (`ZADD GT`).
const VERSION_MIN: (u32, u32) = (6, 2);

/// Whether every primary answers, is new enough, evicts nothing, and is a Cluster where one is expected.
pub(super) async fn check(connector: &Connector, cluster: bool, warned: &AtomicBool) -> Result<(), LiveError> {
    timeout(CHECK_TIMEOUT, nodes_are_suitable(connector, cluster, warned))
        .await
        .unwrap_or_else(|_| Err(LiveError::Unavailable(format!("no answer within {} ms", CHECK_TIMEOUT.as_millis()))))
}

async fn nodes_are_suitable(connector: &Connector, cluster: bool, warned: &AtomicBool) -> Result<(), LiveError> {
    let infos = match connector.run(&cmd("INFO"), To::Primaries).await {
        Ok(value) => texts(value),
        Err(failure) if failure.is_denial() => Vec::new(),
        Err(failure) => return Err(failure.into()),
    };
    let mut policies = Vec::new();
    for info in infos.iter().filter(|text| text.contains("redis_version:")) {
        version_is_suitable(field(info, "redis_version"))?;
        if !cluster && field(info, "redis_mode") == Some("cluster") {
            return Err(LiveError::Unsuitable(
                "this Redis is a node of a Cluster: say so in the settings, so that its other nodes are used".into(),
            ));
        }
        policies.extend(field(info, "maxmemory_policy").map(str::to_owned));
    }
    if policies.is_empty() {
        policies = configured_policies(connector, warned).await?;
    }
    match policies.iter().find(|policy| *policy != "noeviction") {
        None => Ok(()),
        Some(policy) => Err(LiveError::Unsuitable(format!(
            "Redis forgets keys when its memory is full (maxmemory-policy is {policy}), and statistics with them: \
             run CONFIG SET maxmemory-policy noeviction on every node, and keep caches in another Redis"
        ))),
    }
}

/// The policies of the nodes, from their configuration. None where it may not be read, as with some who host Redis.
async fn configured_policies(connector: &Connector, warned: &AtomicBool) -> Result<Vec<String>, LiveError> {
    match connector.run(cmd("CONFIG").arg("GET").arg("maxmemory-policy"), To::Primaries).await {
        Ok(value) => {
            let texts = texts(value);
            let policies = texts.windows(2).filter(|pair| pair[0] == "maxmemory-policy").map(|pair| pair[1].clone());
            Ok(policies.collect())
        }
        Err(failure) if failure.is_denial() => {
            if !warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(?failure, "Redis does not tell its maxmemory-policy; live statistics need noeviction");
            }
            Ok(Vec::new())
        }
        Err(failure) => Err(failure.into()),
    }
}

fn version_is_suitable(version: Option<&str>) -> Result<(), LiveError> {
    let mut numbers = version.unwrap_or_default().split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < VERSION_MIN => Err(LiveError::Unsuitable(format!(
            "live statistics need Redis {}.{} or later, this is {major}.{minor}: upgrade it",
            VERSION_MIN.0, VERSION_MIN.1
        ))),
        _ => Ok(()),
    }
}

/// The value of a field of INFO.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Every text in an answer, of one node or of many.
fn texts(value: Value) -> Vec<String> {
    match value {
        Value::BulkString(bytes) => vec![String::from_utf8_lossy(&bytes).into_owned()],
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => vec![text],
        Value::Array(values) | Value::Set(values) => values.into_iter().flat_map(texts).collect(),
        Value::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [texts(key), texts(value)].concat()).collect(),
        _ => Vec::new(),
    }
}
