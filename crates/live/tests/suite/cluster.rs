//! On a real Cluster of three nodes.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use headwater_live::{
    ApplyOutcome, Figure, GenerationKey, LiveError, LiveStatistics,
    redis::{RedisLive, RedisOptions},
};
use redis::cmd;

use crate::{
    contract::{AMOUNTS, added, apply, batch, figure, generation, now_ms, request},
    every_case,
    server::RedisServer,
    store::{RedisStore, Store},
};

const READY_MAX: Duration = Duration::from_secs(20);
const SHARDS: u32 = 16;

struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    fn start() -> Self {
        let args =
            ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"];
        let nodes: Vec<RedisServer> = (0..3).map(|_| RedisServer::start(&args)).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        let output = create.arg("--cluster-yes").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let cluster = Self { nodes };
        cluster.wait_until_ok();
        cluster
    }

    fn wait_until_ok(&self) {
        let began = Instant::now();
        let is_ok = |node: &RedisServer| {
            let info: String = cmd("CLUSTER").arg("INFO").query(&mut node.connect()).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
        };
        while !self.nodes.iter().all(is_ok) {
            assert!(began.elapsed() < READY_MAX, "the Cluster does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn options(&self) -> RedisOptions {
        RedisOptions {
            cluster: true,
            urls: self.nodes[..2].iter().map(RedisServer::url).collect(),
            response_timeout: Duration::from_secs(5),
            ..RedisOptions::new("")
        }
    }

    fn store(&self) -> Store {
        Store::Redis(Box::new(RedisStore::new(self.options(), self.nodes.iter().map(RedisServer::url).collect())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_a_cluster() {
    let cluster = Cluster::start();
    every_case(&cluster.store()).await;
    // A generation with 16 shards has keys on every node.
    let live = RedisLive::new(cluster.options()).unwrap();
    let keys = |node: &RedisServer| cmd("DBSIZE").query::<u64>(&mut node.connect()).unwrap();
    let before: Vec<u64> = cluster.nodes.iter().map(keys).collect();
    let generation = GenerationKey { stream: "spread".into(), generation: 1, shards: SHARDS };
    assert_eq!(live.apply(&generation, &batch(0, 0, 1, vec![])).await, Ok(ApplyOutcome::Applied));
    let after: Vec<u64> = cluster.nodes.iter().map(keys).collect();
    assert!(before.iter().zip(&after).all(|(before, after)| before < after), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_found_again_and_a_moving_slot_takes_nothing_by_halves() {
    let now = now_ms();
    let mut cluster = Cluster::start();
    let store = cluster.store();
    let generation = generation(SHARDS);
    let add = |first: i64, key: &str| {
        let keys = (0..100).map(|n| format!("{key}-{n}"));
        batch(0, first, first + 1, keys.flat_map(|key| added(AMOUNTS, &key, now, 1)).collect())
    };
    assert_eq!(apply(&store, &generation, &add(0, "a")).await, ApplyOutcome::Applied);

    // One node refuses to be evicting like any other.
    cluster.nodes[2].run("CONFIG SET maxmemory-policy allkeys-random");
    let result = store.live().check().await;
    assert!(matches!(&result, Err(LiveError::Unsuitable(text)) if text.contains("allkeys-random")), "{result:?}");
    cluster.nodes[2].run("CONFIG SET maxmemory-policy noeviction");
    assert_eq!(store.live().check().await, Ok(()));

    // A node goes away and comes back empty: its shards have a gap, the others do not.
    cluster.nodes[2].kill();
    let began = Instant::now();
    let result = store.live().apply(&generation, &add(1, "a")).await;
    assert!(matches!(result, Err(LiveError::Unavailable(_))), "{result:?}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    cluster.nodes[2].start_again();
    cluster.wait_until_ok();
    assert_eq!(until_answered(&store, &generation, &add(1, "a")).await, ApplyOutcome::Gap { next: None });
    for first in [0, 1] {
        assert_eq!(apply(&store, &generation, &add(first, "a")).await, ApplyOutcome::Applied);
    }
    for n in 0..100 {
        let sum = figure(&store, &generation, &request(AMOUNTS, None, now), &format!("a-{n}")).await;
        assert_eq!(sum, Figure::Units(2));
    }

    // A slot that is being moved: what it has can be added to, a new key cannot come about on either side.
    let Store::Redis(redis) = &store else { unreachable!("a Cluster is Redis") };
    let (node, key) = redis.keys(":s0}:offsets").remove(0);
    let source = cluster.nodes.iter().find(|server| server.url() == node).unwrap();
    let target = cluster.nodes.iter().find(|server| server.url() != node).unwrap();
    let id = |server: &RedisServer| cmd("CLUSTER").arg("MYID").query::<String>(&mut server.connect()).unwrap();
    let slot: u16 = cmd("CLUSTER").arg("KEYSLOT").arg(&key).query(&mut source.connect()).unwrap();
    target.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(source)));
    source.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(target)));
    let mut later = add(2, "b");
    later.operations.extend((0..100).flat_map(|n| added(AMOUNTS, &format!("c-{n}"), now + 120 * 60_000, 1)));
    let result = store.live().apply(&generation, &later).await;
    assert!(matches!(result, Err(LiveError::Unavailable(_))), "{result:?}");
    assert_eq!(store.live().applied(&generation).await.unwrap(), [(0, 2)].into(), "its shard took nothing");
    source.run(&format!("CLUSTER SETSLOT {slot} STABLE"));
    target.run(&format!("CLUSTER SETSLOT {slot} STABLE"));
    assert_eq!(until_answered(&store, &generation, &later).await, ApplyOutcome::Applied);
    for key in (0..100).flat_map(|n| [format!("b-{n}"), format!("c-{n}")]) {
        assert_eq!(figure(&store, &generation, &request(AMOUNTS, None, now), &key).await, Figure::Units(1), "{key}");
    }

    // All of it goes away and comes back.
    cluster.nodes.iter_mut().for_each(RedisServer::kill);
    let result = store.live().check().await;
    assert!(matches!(result, Err(LiveError::Unavailable(_))), "{result:?}");
    cluster.nodes.iter_mut().for_each(RedisServer::start_again);
    cluster.wait_until_ok();
    assert_eq!(until_answered(&store, &generation, &add(3, "a")).await, ApplyOutcome::Gap { next: None });
}

/// Applies until the store answers, as the processor does.
async fn until_answered(
    store: &Store,
    generation: &GenerationKey,
    batch: &headwater_domain::LiveBatch,
) -> ApplyOutcome {
    let began = Instant::now();
    loop {
        match store.live().apply(generation, batch).await {
            Ok(outcome) => return outcome,
            Err(error) => assert!(began.elapsed() < READY_MAX, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
