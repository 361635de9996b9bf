use ::redis::{Value, cmd};

use super::{failure::Failure, router::Router, topology::Address};
use crate::{StoreError, StoreInfo};

/// The oldest Redis that has what the scripts use (`ZRANDMEMBER`, `ZRANGE … BYSCORE`).
const VERSION_MIN: (u32, u32) = (6, 2);

/// Asks every primary how it is set.
pub(super) async fn check(router: &Router) -> Result<StoreInfo, StoreError> {
    let mut doubts = Vec::new();
    let mut losses = Vec::new();
    let mut has_replicas = false;
    for (address, info) in router.on_primaries(&cmd("INFO")).await? {
        let info = match info {
            Ok(info) => info.into_iter().flat_map(texts).collect::<Vec<_>>().join("\n"),
            Err(failure) if failure.is_denial() => {
                router.on(&address, vec![super::ping()]).await?;
                doubts.push("the user may not run INFO: how Redis is set is not known".to_owned());
                losses.push(Loss::Unknown);
                continue;
            }
            Err(failure) => return Err(failure.into()),
        };
        has_replicas |= field(&info, "connected_slaves").is_some_and(|count| count != "0");
        losses.push(loss(router, &address, &info).await?);
        doubts.extend(doubts_of(router, &info));
        let policy = match field(&info, "maxmemory_policy") {
            Some(policy) => Some(policy.to_owned()),
            None => configured(router, &address, "maxmemory-policy").await?,
        };
        if let Some(policy) = policy.filter(|policy| policy.starts_with("allkeys")) {
            doubts.push(format!(
                "maxmemory-policy is {policy}: when memory is full, queued writes, ranks and namespaces can be forgotten; \
                 noeviction or volatile-lru keeps them"
            ));
        }
    }
    doubts.sort_unstable();
    doubts.dedup();
    let worst = losses.into_iter().max().unwrap_or(Loss::Unknown);
    let failover = if has_replicas || router.is_cluster() {
        " A failover to a replica may lose the last writes that it was not told of."
    } else {
        ""
    };
    Ok(StoreInfo { durability: format!("{}{failover}", worst.sentence()), doubts })
}

/// What a crash may lose, the worst last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Loss {
    Nothing,
    Second,
    Buffered,
    SinceSnapshot(String),
    Unknown,
    Everything,
}

impl Loss {
    fn sentence(&self) -> String {
        match self {
            Self::Nothing => "A crash of Redis loses nothing that it acknowledged (appendonly, appendfsync always).".into(),
            Self::Second => {
                "A crash of Redis' machine may lose the last second, and under load two, which a crash of Redis alone may lose \
                 then too (appendonly, appendfsync everysec)."
                    .into()
            }
            Self::Buffered => {
                "A crash of Redis' machine may lose the last half minute, of Redis alone next to nothing (appendonly, appendfsync no)."
                    .into()
            }
            Self::SinceSnapshot(rules) => {
                format!("A crash of Redis loses what was written since its last snapshot (save {rules}; no appendonly file).")
            }
            Self::Unknown => "What a crash of Redis loses is not known: it does not say how it is set.".into(),
            Self::Everything => "A crash of Redis loses everything (no appendonly file, no snapshots).".into(),
        }
    }
}

async fn loss(router: &Router, address: &Address, info: &str) -> Result<Loss, StoreError> {
    match field(info, "aof_enabled") {
        Some("1") => Ok(match configured(router, address, "appendfsync").await?.as_deref() {
            Some("always") => Loss::Nothing,
            Some("everysec") => Loss::Second,
            Some("no") => Loss::Buffered,
            _ => Loss::Unknown,
        }),
        Some("0") => Ok(match configured(router, address, "save").await? {
            Some(rules) if rules.is_empty() => Loss::Everything,
            Some(rules) => Loss::SinceSnapshot(rules),
            None => Loss::Unknown,
        }),
        _ => Ok(Loss::Unknown),
    }
}

fn doubts_of(router: &Router, info: &str) -> Vec<String> {
    let mut doubts = Vec::new();
    let version = field(info, "redis_version").unwrap_or_default();
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    if let (Some(major), Some(minor)) = (numbers.next(), numbers.next())
        && (major, minor) < VERSION_MIN
    {
        let (least_major, least_minor) = VERSION_MIN;
        doubts.push(format!("this is Redis {major}.{minor}, the cache needs {least_major}.{least_minor} or later"));
    }
    if field(info, "role") == Some("slave") {
        doubts.push("this Redis is a replica: it takes no writes".into());
    }
    if !router.is_cluster() && field(info, "redis_mode") == Some("cluster") {
        doubts
            .push("this Redis is a node of a Cluster: say so in the settings, so that its other nodes are used".into());
    }
    if field(info, "aof_last_write_status").is_some_and(|status| status != "ok") {
        doubts.push("Redis could not write its appendonly file the last time".into());
    }
    doubts
}

/// A setting of a node. None where it may not be read, as with some who host Redis.
async fn configured(router: &Router, address: &Address, name: &str) -> Result<Option<String>, StoreError> {
    match router.on(address, vec![cmd("CONFIG").arg("GET").arg(name).take()]).await {
        Ok(answer) => Ok(answer.into_iter().flat_map(texts).nth(1)),
        Err(failure @ Failure::Answered(_)) if failure.is_denial() => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// The value of a field of INFO.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Every text in an answer.
fn texts(value: Value) -> Vec<String> {
    match value {
        Value::BulkString(bytes) => vec![String::from_utf8_lossy(&bytes).into_owned()],
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => vec![text],
        Value::Array(values) | Value::Set(values) => values.into_iter().flat_map(texts).collect(),
        Value::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [texts(key), texts(value)].concat()).collect(),
        _ => Vec::new(),
    }
}
