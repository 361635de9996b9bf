//! What an entry of L1 costs beside its key and value.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headwater_cache::{Cache, CacheOptions, Capacity, Condition, Declared, OpAsk, PolicyPatch, WriteAsk};
use headwater_cache_store::redis::{RedisStore, RedisStoreOptions};
use headwater_testkit::{Options, Redis};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::metrics::noop::NoopMeterProvider;

use crate::RunArgs;

const ENTRIES: usize = 200_000;
const BATCH: usize = 500;
const KEY_BYTES: usize = 16;

/// Each size in a process of its own, so that none uses what another has given back.
pub(crate) fn run(_: &RunArgs) -> Result<()> {
    for value_bytes in [100_usize, 1024] {
        let own = std::env::current_exe()?;
        let status = Command::new(own).args(["memory", &value_bytes.to_string()]).status()?;
        ensure!(status.success(), "the process that measures ended with {status}");
    }
    Ok(())
}

/// Memory of this process before and after its L1 has taken so many entries.
pub(crate) fn one(value_bytes: usize) -> Result<()> {
    let redis = Redis::start(Options::default().setting("appendonly", "no"))?;
    tokio::runtime::Runtime::new()?.block_on(measure(&redis, value_bytes))
}

async fn measure(redis: &Redis, value_bytes: usize) -> Result<()> {
    let store = RedisStore::new(RedisStoreOptions::new(redis.url(), CacheOptions::default().root))?;
    let patch = PolicyPatch { capacity: Some(Capacity::EntriesMax(1_000_000)), ..PolicyPatch::default() };
    let meter = NoopMeterProvider::new().meter("bench");
    let declared = vec![Declared { patch, ..Declared::new("default") }];
    let cache = Cache::new(std::sync::Arc::new(store), CacheOptions::default(), declared, &meter)?;
    let runs = cache.clone();
    tokio::spawn(async move { runs.run(|_: &str, _: Option<String>| {}).await });
    let namespace = cache.namespace("default")?;
    let key = |index: usize| Bytes::from(format!("{index:0KEY_BYTES$}"));
    for first in (0..ENTRIES).step_by(BATCH) {
        let value = Bytes::from(vec![b'v'; value_bytes]);
        let put = |index| WriteAsk {
            key: key(index),
            op: OpAsk::Put { value: value.clone(), ttl_ms: None, condition: Condition::Any },
        };
        for result in cache.write(&namespace, (first..first + BATCH).map(put).collect()).await {
            result?;
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let before = memory_bytes()?;
    for first in (0..ENTRIES).step_by(BATCH) {
        let keys: Vec<Bytes> = (first..first + BATCH).map(key).collect();
        for answer in cache.batch_get(&namespace, &keys, false).await {
            answer?;
        }
    }
    let held = cache.usage(&namespace).await?;
    let grown = memory_bytes()?.saturating_sub(before);
    let entries = held.l1_entries.max(1);
    println!(
        "   {value_bytes:>5} bytes of value: {entries} entries, {} bytes each, of which {} are key and value",
        grown / entries,
        held.l1_bytes / entries
    );
    Ok(())
}

fn memory_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}
