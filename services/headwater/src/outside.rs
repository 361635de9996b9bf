//! The outside systems: the real ones, or the embedded ones.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use headwater_cache_store::CacheStore;
use headwater_cache_store::memory::{MemoryStore, MemoryStoreOptions};
use headwater_cache_store::redis::{RedisStore, RedisStoreOptions};
use headwater_event_log::kafka::{KafkaLog, KafkaOptions};
use headwater_event_log::registry::{ConfluentRegistry, SqliteRegistry};
use headwater_event_log::sqlite::{SqliteLog, SqliteLogOptions};
use headwater_history::postgres::{OldDays, PostgresHistory, PostgresOptions};
use headwater_history::sqlite::SqliteHistory;
use headwater_live::memory::MemoryLive;
use headwater_live::redis::{RedisLive, RedisOptions};
use headwater_processor::Outside;
use headwater_serving::Settings;

use crate::roles::Roles;

const CLIENT_ID: &str = "headwater";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REDIS_RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The frame that stands before a message, at most: magic byte, id, and indexes of nested messages.
const FRAME_BYTES_MAX: usize = 1024;

/// The systems that the roles of a process work on.
pub(crate) struct Systems {
    /// Of roles that work on events.
    pub(crate) events: Option<Outside>,
    /// Of the cache.
    pub(crate) cache: Option<Arc<dyn CacheStore>>,
}

/// Kafka, a Schema Registry, Postgres and Redis, as far as the roles need them. None of them needs to be there yet.
pub(crate) fn production(settings: &Settings, roles: Roles) -> anyhow::Result<Systems> {
    let events = roles.need_events().then(|| events(settings)).transpose()?;
    let cache = roles.cache.then(|| cache(settings)).transpose()?;
    Ok(Systems { events, cache })
}

fn cache(settings: &Settings) -> anyhow::Result<Arc<dyn CacheStore>> {
    let cache = &settings.cache;
    let (url, cluster) = match &cache.redis_url {
        Some(url) => (url, cache.redis_cluster),
        None => (&settings.redis.url, settings.redis.cluster),
    };
    let timeout = Duration::from_millis(cache.timeout_ms);
    let store = RedisStore::new(RedisStoreOptions {
        urls: url.split(',').map(|url| url.trim().to_owned()).collect(),
        cluster,
        root: cache_root(settings),
        connect_timeout: timeout,
        response_timeout: timeout,
    })
    .context("cache.redis_url")?;
    Ok(Arc::new(store))
}

/// What every key of the cache's store begins with.
pub(crate) fn cache_root(settings: &Settings) -> String {
    format!("{}:cache", settings.cache.prefix)
}

/// Kafka and a Schema Registry: all that it takes to make a topic.
pub(crate) fn log_and_registry(settings: &Settings) -> anyhow::Result<(KafkaLog, ConfluentRegistry)> {
    let kafka = &settings.kafka;
    let log = KafkaLog::connect(KafkaOptions {
        properties: (*kafka.properties).clone(),
        client_id: CLIENT_ID.into(),
        delivery_timeout: Duration::from_millis(kafka.delivery_timeout_ms),
        linger_ms: kafka.linger_ms,
        queue_records_max: u32::try_from(settings.ingest.records_in_flight_max).unwrap_or(u32::MAX),
        record_bytes_max: u32::try_from(settings.ingest.record_bytes_max + FRAME_BYTES_MAX).unwrap_or(u32::MAX),
        compression: kafka.compression.clone(),
        ..KafkaOptions::new(&kafka.brokers)
    })
    .context("kafka")?;
    let registry = ConfluentRegistry::new(&settings.registry.url, Duration::from_millis(settings.registry.timeout_ms))
        .context("registry.url")?;
    Ok((log, registry))
}

/// Kafka, a Schema Registry, Postgres and Redis: what roles that work on events need.
pub(crate) fn events(settings: &Settings) -> anyhow::Result<Outside> {
    let (log, registry) = log_and_registry(settings)?;
    let history = PostgresHistory::connect(&PostgresOptions {
        url: settings.postgres.url.to_string(),
        pool_size_max: settings.postgres.pool_size_max,
        connect_timeout: CONNECT_TIMEOUT,
        statement_timeout: Duration::from_millis(settings.postgres.statement_timeout_ms),
        schema: settings.postgres.schema.clone(),
        old_days: if settings.postgres.old_days == "detach" { OldDays::Detach } else { OldDays::Drop },
    })
    .context("postgres.url")?;
    let redis = &settings.redis;
    let live = RedisLive::new(RedisOptions {
        urls: redis.url.split(',').map(|url| url.trim().to_owned()).collect(),
        cluster: redis.cluster,
        prefix: format!("{}:live", redis.prefix),
        connect_timeout: CONNECT_TIMEOUT,
        response_timeout: REDIS_RESPONSE_TIMEOUT,
        window_max_ms: settings.stats.window_max_s * 1000,
        members_max: settings.stats.members_max,
    })
    .context("redis.url")?;
    Ok(Outside { log: Arc::new(log), registry: Arc::new(registry), history: Arc::new(history), live: Arc::new(live) })
}

/// The embedded stores, in a folder or in memory. Live statistics are in memory, and are replayed from the history; so is
/// the cache, which begins empty.
pub(crate) fn embedded(settings: &Settings, data: Option<&Path>) -> anyhow::Result<Systems> {
    if let Some(data) = data {
        std::fs::create_dir_all(data).with_context(|| format!("dev.data: {} cannot be made", data.display()))?;
    }
    let file = |name: &str| data.map(|data| data.join(name));
    let log_options = SqliteLogOptions { retention_ms: settings.topics.retention_ms, ..SqliteLogOptions::default() };
    let log = SqliteLog::open(file("log.sqlite3").as_deref(), log_options)
        .context("dev.data: the event log (one process has the folder to itself: does another headwater use it?)")?;
    let registry = SqliteRegistry::open(file("registry.sqlite3").as_deref()).context("the schema registry")?;
    let history = SqliteHistory::open(file("history.sqlite3").as_deref()).context("the history")?;
    let live = MemoryLive::new(settings.stats.window_max_s * 1000);
    let events =
        Outside { log: Arc::new(log), registry: Arc::new(registry), history: Arc::new(history), live: Arc::new(live) };
    let cache = MemoryStore::new(MemoryStoreOptions { bytes_max: settings.cache.memory_bytes_max });
    Ok(Systems { events: Some(events), cache: Some(Arc::new(cache)) })
}
