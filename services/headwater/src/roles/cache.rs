use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use headwater_cache::{
    Cache, CacheOptions, CacheStore, Capacity, Declared, Eviction, Overwrite, Policy, PolicyPatch, WriteMode,
};
use headwater_cache_service::{CacheFront, CacheFrontOptions, routes};
use headwater_contracts::v1::cache::cache_service_server::{CacheServiceServer, SERVICE_NAME as CACHE};
use headwater_serving::settings::{CacheSettings, NamespaceSettings};
use headwater_serving::{Settings, limited};

use super::Stage;
use super::start::Start;
use crate::outside::cache_root;

/// Answered from memory as a rule, and the call there is most of.
const GET: &str = "headwater.cache.v1.CacheService/Get";

/// How often the store is asked within `cache.staleness_max_ms` whether it still tells of changes.
const HEARD_IN_BOUND: u32 = 5;

/// CacheService, its HTTP routes, and what the cache does beside calls.
pub(super) fn start(stage: &mut Stage<'_>, store: Arc<dyn CacheStore>) -> anyhow::Result<()> {
    let settings = stage.settings;
    let cache = Cache::new(store, options(settings), declared(settings), &stage.metrics.meter("headwater.cache"))
        .context("the cache")?;
    let limits = CacheFrontOptions {
        batch_keys_max: settings.cache.batch_keys_max,
        batch_bytes_max: settings.cache.batch_bytes_max,
        watch_keys_max: settings.cache.watch_keys_max,
    };
    let front = CacheFront::new(cache.clone(), limits, stage.drain.clone());
    stage.services.add(limited!(CacheServiceServer::new(front), settings.rpc)).quick(GET);
    if !settings.cache.http_namespace.is_empty() {
        let routes = routes(cache.clone(), settings.cache.http_namespace.clone(), settings.rpc.request_bytes_max);
        stage.pages = std::mem::take(&mut stage.pages).merge(stage.admission.guard(routes));
    }
    let start = Start::new(stage.readiness, "cache: store", &[CACHE]);
    let readiness = stage.readiness.clone();
    let drain = stage.drain.clone();
    stage.tasks.spawn(async move {
        let told = |part: &str, reason: Option<String>| {
            if part == "store" && reason.is_none() {
                readiness.note("cache: durability", cache.durability());
            }
            if part == "store" && !start.is_met() {
                return start.tell(reason);
            }
            readiness.trouble(&format!("cache: {part}"), reason);
        };
        tokio::select! {
            () = drain.cancelled() => {}
            () = cache.run(told) => {}
        }
        Ok(())
    });
    Ok(())
}

fn options(settings: &Settings) -> CacheOptions {
    let cache = &settings.cache;
    let staleness_max = Duration::from_millis(cache.staleness_max_ms);
    CacheOptions {
        root: cache_root(settings),
        defaults: policy(&cache.namespace_default()),
        staleness_max,
        heard_every: staleness_max / HEARD_IN_BOUND,
        namespaces_max: cache.namespaces_max,
        namespaces_refresh: Duration::from_millis(cache.namespaces_refresh_ms),
        breaker_failures_max: cache.breaker_failures_max,
        breaker_pause: Duration::from_millis(cache.breaker_pause_ms),
        load_timeout: Duration::from_millis(cache.load_timeout_ms),
        loads_max: cache.loads_max,
        ranks_flush_every: Duration::from_millis(cache.ranks_flush_ms),
        queue_lease: Duration::from_millis(cache.queue_lease_ms),
        watches_max: cache.watches_max,
        watch_pending_max: cache.watch_pending_max,
        ..CacheOptions::default()
    }
}

/// The namespaces that the settings declare. That of the HTTP routes is one, where its keys are those of the store.
fn declared(settings: &Settings) -> Vec<Declared> {
    let CacheSettings { http_namespace, http_plain_keys, .. } = &settings.cache;
    let declared = |name: &str, patch| Declared { patch, ..Declared::new(name) };
    let mut all: BTreeMap<&str, Declared> = settings
        .cache_namespaces
        .iter()
        .map(|(name, namespace)| (name.as_str(), declared(name, patch(namespace))))
        .collect();
    if *http_plain_keys && !http_namespace.is_empty() {
        let http = all.entry(http_namespace).or_insert_with(|| declared(http_namespace, PolicyPatch::default()));
        http.store_prefix = Some(Bytes::new());
    }
    all.into_values().collect()
}

fn policy(namespace: &NamespaceSettings) -> Policy {
    let capacity = match namespace.bytes_max {
        0 => Capacity::EntriesMax(namespace.entries_max),
        bytes => Capacity::BytesMax(bytes),
    };
    let eviction = match namespace.eviction.as_str() {
        "rank" => Eviction::Rank,
        "lru" => Eviction::Lru,
        _ => Eviction::TinyLfu,
    };
    let write_mode = if namespace.write_mode == "queued" { WriteMode::Queued } else { WriteMode::AtOnce };
    let overwrite = if namespace.overwrite == "refused" { Overwrite::Refused } else { Overwrite::Allowed };
    Policy {
        capacity,
        eviction,
        ttl_ms: namespace.ttl_ms,
        ttl_max_ms: namespace.ttl_max_ms,
        ttl_jitter_percent: namespace.ttl_jitter_percent,
        stale_while_revalidate_ms: namespace.stale_while_revalidate_ms,
        stale_if_error_ms: namespace.stale_if_error_ms,
        negative_ttl_ms: namespace.negative_ttl_ms,
        write_mode,
        overwrite,
        key_bytes_max: namespace.key_bytes_max,
        value_bytes_max: namespace.value_bytes_max,
        queue_max: namespace.queue_max,
    }
}

/// The same as what is set of it: all.
fn patch(namespace: &NamespaceSettings) -> PolicyPatch {
    let all = policy(namespace);
    PolicyPatch {
        capacity: Some(all.capacity),
        eviction: Some(all.eviction),
        ttl_ms: Some(all.ttl_ms),
        ttl_max_ms: Some(all.ttl_max_ms),
        ttl_jitter_percent: Some(all.ttl_jitter_percent),
        stale_while_revalidate_ms: Some(all.stale_while_revalidate_ms),
        stale_if_error_ms: Some(all.stale_if_error_ms),
        negative_ttl_ms: Some(all.negative_ttl_ms),
        write_mode: Some(all.write_mode),
        overwrite: Some(all.overwrite),
        key_bytes_max: Some(all.key_bytes_max),
        value_bytes_max: Some(all.value_bytes_max),
        queue_max: Some(all.queue_max),
    }
}
