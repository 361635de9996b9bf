//! Reads over gRPC, of a server on a core of its own.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headwater_contracts::v1::cache::cache_service_client::CacheServiceClient;
use headwater_contracts::v1::cache::{BatchGetRequest, GetRequest, Layer, batch_get_result};
use headwater_testkit::{Options, Redis, free_port};
use tonic::transport::Channel;

use crate::RunArgs;
use crate::floor::Kind;
use crate::load::{Shape, connect, round};
use crate::pair::alternate;
use crate::server::{Server, leave_first_core};
use crate::zipf::Zipf;

const KEYS: usize = 10_000;
/// Keys of which L1 has next to none.
const KEYS_OUTSIDE: usize = 100_000;
const ENTRIES_OF_L1: usize = 1000;
/// Keys that are written to Redis in one go.
const FILLED_AT_ONCE: usize = 1000;
const VALUE_BYTES: usize = 1024;
const BATCH: usize = 64;
const ROOT: &str = "headwater:cache:v:default:";

/// Redis with its keys, ours and the floor, each called over connections of its own.
struct Stand {
    runtime: tokio::runtime::Runtime,
    ours: Server,
    floor: Server,
    to_ours: Vec<Channel>,
    to_floor: Vec<Channel>,
    shape: Shape,
    _redis: Redis,
}

impl Stand {
    fn new(args: &RunArgs, kind: Kind, shape: Shape, keys: usize, entries_max: usize) -> Result<Self> {
        leave_first_core()?;
        let redis = Redis::start(Options::default().setting("appendonly", "no"))?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(fill(&redis.url(), keys))?;
        ensure!(args.headwater.exists(), "{} is not there: make build", args.headwater.display());
        let (grpc, http, port) = (free_port()?, free_port()?, free_port()?);
        let ours = Server::start(grpc, |command: &mut Command| {
            command.arg(&args.headwater).args(["serve", "--role", "cache"]);
            command.arg(format!("--listen-grpc=127.0.0.1:{grpc}")).arg(format!("--listen-http=127.0.0.1:{http}"));
            command.arg(format!("--cache-redis-url={}", redis.url())).arg("--log-filter=warn");
            command.arg(format!("--cache-entries-max={entries_max}"));
        })?;
        let own = std::env::current_exe()?;
        let floor = Server::start(port, |command: &mut Command| {
            command.arg(&own).args(["floor", kind.name(), "--port", &port.to_string(), "--prefix", ROOT]);
            command.args(["--redis", &redis.url(), "--value-bytes", &VALUE_BYTES.to_string()]);
        })?;
        let to_ours = runtime.block_on(connect(ours.port, shape.connections))?;
        let to_floor = runtime.block_on(connect(floor.port, shape.connections))?;
        Ok(Self { runtime, ours, floor, to_ours, to_floor, shape, _redis: redis })
    }

    fn compare<F, Fut>(&self, args: &RunArgs, unit: &str, call: F) -> Result<()>
    where
        F: Fn(Channel, fastrand::Rng) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<fastrand::Rng>> + Send,
    {
        let side = |server, channels| {
            let call = call.clone();
            move || self.runtime.block_on(round(server, channels, self.shape, args.round(), call.clone()))
        };
        alternate(args.rounds, unit, side(&self.ours, &self.to_ours), side(&self.floor, &self.to_floor))
    }
}

/// Hits of L1 against an empty call.
pub(crate) fn l1_hit(args: &RunArgs, connections: usize) -> Result<()> {
    let shape = Shape { connections, calls: 64 / connections.min(8), units: 1 };
    let stand = Stand::new(args, Kind::Empty, shape, KEYS, 2 * KEYS)?;
    let zipf = Zipf::new(KEYS, 0.9);
    let channel = stand.to_ours[0].clone();
    stand.runtime.block_on(async {
        // Everything is in L1 before it is measured.
        let mut client = CacheServiceClient::new(channel);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        for key in 0..KEYS {
            client.get(get(key)).await?;
        }
        let status = client.get(get(1)).await?.into_inner().status.context("no status")?;
        ensure!(status.layer() == Layer::L1, "it is not L1 that answers: {status:?}");
        anyhow::Ok(())
    })?;
    stand.compare(args, "calls", move |channel, mut random| {
        let key = zipf.draw(&mut random);
        async move {
            let answer = CacheServiceClient::new(channel).get(get(key)).await?.into_inner();
            ensure!(answer.value.is_some_and(|value| value.len() == VALUE_BYTES), "no value");
            Ok(random)
        }
    })
}

/// Hits of Redis against a handler with one GET: past L1, or through it with keys that it does not have and takes.
pub(crate) fn l2_hit(args: &RunArgs, no_cache: bool) -> Result<()> {
    let keys = if no_cache { KEYS } else { KEYS_OUTSIDE };
    let stand = Stand::new(args, Kind::Get, Shape { connections: 8, calls: 8, units: 1 }, keys, ENTRIES_OF_L1)?;
    stand.compare(args, "calls", move |channel, mut random| async move {
        let request = GetRequest { no_cache, ..get(random.usize(..keys)) };
        let answer = CacheServiceClient::new(channel).get(request).await?.into_inner();
        ensure!(answer.value.is_some_and(|value| value.len() == VALUE_BYTES), "no value");
        Ok(random)
    })
}

/// Batches from Redis against a handler with one MGET: past L1, or through it with keys that it does not have and takes.
pub(crate) fn batch_get(args: &RunArgs, no_cache: bool) -> Result<()> {
    let count = if no_cache { KEYS } else { KEYS_OUTSIDE };
    let shape = Shape { connections: 8, calls: 2, units: BATCH as u64 };
    let stand = Stand::new(args, Kind::Mget, shape, count, ENTRIES_OF_L1)?;
    stand.compare(args, "keys", move |channel, mut random| async move {
        let keys = (0..BATCH).map(|_| key(random.usize(..count))).collect();
        let request = BatchGetRequest { keys, no_cache, ..BatchGetRequest::default() };
        let mut client = CacheServiceClient::new(channel).max_decoding_message_size(1 << 24);
        let answer = client.batch_get(request).await?.into_inner();
        let found = answer.results.iter().filter(
            |result| matches!(&result.result, Some(batch_get_result::Result::Found(found)) if found.value.is_some()),
        );
        ensure!(found.count() == BATCH, "keys are missing");
        Ok(random)
    })
}

fn key(index: usize) -> Bytes {
    format!("key:{index:08}").into()
}

fn get(index: usize) -> GetRequest {
    GetRequest { key: key(index), ..GetRequest::default() }
}

async fn fill(url: &str, keys: usize) -> Result<()> {
    let mut redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let value = vec![b'v'; VALUE_BYTES];
    for first in (0..keys).step_by(FILLED_AT_ONCE) {
        let mut pipeline = redis::pipe();
        for index in first..(first + FILLED_AT_ONCE).min(keys) {
            let name = [ROOT.as_bytes(), &key(index)].concat();
            pipeline.cmd("SET").arg(name).arg(&value).arg("EX").arg(3600).ignore();
        }
        pipeline.exec_async(&mut redis).await?;
    }
    Ok(())
}
