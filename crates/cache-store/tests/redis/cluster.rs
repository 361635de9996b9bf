//! A Cluster whose nodes die and whose slots move.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use headwater_cache_store::{
    CacheStore, Layout, Space, StoreError,
    redis::{RedisStore, RedisStoreOptions},
};
use headwater_testkit::{Options, RedisCluster};

use crate::world::{Listener, add, number, put, set, spread, value, write};

/// From the loss of a primary until its replica serves: the nodes notice after a second, and vote.
const FAILOVER_MAX: Duration = Duration::from_secs(10);

fn store_of(cluster: &RedisCluster) -> Arc<RedisStore> {
    let options = RedisStoreOptions { urls: cluster.urls(), cluster: true, ..RedisStoreOptions::new("", "root") };
    Arc::new(RedisStore::new(options).unwrap())
}

fn stored(space: &Space, key: &str) -> String {
    String::from_utf8(space.stored_key(key.as_bytes())).unwrap()
}

fn slot_of(cluster: &mut RedisCluster, key: &str) -> u16 {
    cluster.nodes()[0].ask(&format!("CLUSTER KEYSLOT {key}")).unwrap().unwrap().parse().unwrap()
}

/// Tries until it succeeds: it must before long.
async fn until_done<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let began = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => {
                let may_pass = matches!(error, StoreError::Unavailable(_) | StoreError::Declined(_));
                assert!(may_pass, "{what}: {error:?}");
                assert!(began.elapsed() < FAILOVER_MAX, "{what}: {error:?} after {:?}", began.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_and_the_other_nodes_go_on() {
    let mut cluster = RedisCluster::with_replicas(3, Options::default()).unwrap();
    let store = store_of(&cluster);
    let space = spread("root");
    let slotted = Space::new("root", "queue", Layout::Slot);
    let keys: Vec<Bytes> = (0..60).map(|n| n.to_string().into()).collect();
    let writes: Vec<_> = (0..60).map(|n| put(&n.to_string(), "1")).collect();
    assert!(store.write(&space, &writes).await.iter().all(Result::is_ok));
    set(&store, &slotted, "a", "1").await;
    let listener = Listener::start(&store, &["root:v:"]).await;
    let owners: Vec<usize> = keys
        .iter()
        .map(|key| {
            let slot = slot_of(&mut cluster, &stored(&space, std::str::from_utf8(key).unwrap()));
            cluster.primary_of(slot).unwrap()
        })
        .collect();
    let slot = slot_of(&mut cluster, &stored(&slotted, "a"));
    let dead = cluster.primary_of(slot).unwrap();
    // What was acknowledged a moment ago may be lost with the primary; this is not about that.
    cluster.await_replica(dead, dead + 3).unwrap();
    cluster.nodes()[dead].kill().unwrap();

    // Those who follow are told at once that they may miss something.
    assert!(matches!(listener.end().await, StoreError::Unavailable(_)));
    // Only the keys of the node that is gone fail.
    let read = store.batch_get(&space, &keys).await;
    let written = store.write(&space, &writes).await;
    for ((owner, read), written) in owners.iter().zip(&read).zip(&written) {
        assert_eq!(read.is_ok(), *owner != dead, "{owner}: {read:?}");
        assert_eq!(written.is_ok(), *owner != dead, "{owner}: {written:?}");
    }
    until_done("the write", async || write(&store, &slotted, put("b", "2")).await).await;
    until_done("the read", async || value(&store, &slotted, "a").await).await;
    assert_eq!(value(&store, &slotted, "a").await, Ok(Some("1".into())));
    let entries = async || store.batch_get(&space, &keys).await.into_iter().collect::<Result<Vec<_>, _>>();
    assert!(until_done("the batch", entries).await.iter().all(Option::is_some));
    cluster.await_other_primary(slot, dead).unwrap();
    let mut listener = Listener::start_anew(&store, &["root:v:"]).await;
    set(&store, &slotted, "a", "3").await;
    assert_eq!(listener.told().await, [stored(&slotted, "a")]);
    // The former primary comes back, as a replica.
    cluster.nodes()[dead].restart().unwrap();
    cluster.await_whole().unwrap();
    set(&store, &slotted, "a", "4").await;
    assert_eq!(value(&store, &slotted, "a").await, Ok(Some("4".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_while_it_is_used() {
    let mut cluster = RedisCluster::start(2, Options::default()).unwrap();
    let store = store_of(&cluster);
    let space = Space::new("root", "moving", Layout::Slot);
    let slot = slot_of(&mut cluster, &stored(&space, "0"));
    let from = cluster.primary_of(slot).unwrap();
    let to = 1 - from;
    let keys: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    for key in &keys {
        assert_eq!(number(write(&store, &space, add(key, 1)).await), 1);
    }
    // A key of another layout in the same slot.
    let spread = spread("root");
    let beside = "{moving}";
    set(&store, &spread, beside, "1").await;
    let mut listener = Listener::start(&store, &["root:v:"]).await;

    // As redis-cli --cluster reshard does it.
    let ids = [0, 1].map(|node: usize| cluster.nodes()[node].ask("CLUSTER MYID").unwrap().unwrap());
    let ask = |cluster: &mut RedisCluster, node: usize, command: String| cluster.nodes()[node].ask(&command).unwrap();
    ask(&mut cluster, to, format!("CLUSTER SETSLOT {slot} IMPORTING {}", ids[from]));
    ask(&mut cluster, from, format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[to]));
    let port = cluster.nodes()[to].port();
    for (index, key) in keys.iter().enumerate() {
        ask(&mut cluster, from, format!("MIGRATE 127.0.0.1 {port} {} 0 5000", stored(&space, key)));
        // Keys that moved and keys that did not are read and told of.
        for read in [key, &keys[(index + 1) % keys.len()]] {
            assert_eq!(value(&store, &space, read).await, Ok(Some("1".into())), "{read}");
        }
    }
    assert!(listener.told().await.contains(&stored(&space, "0")));
    // Writes name keys that are not there, which a slot on its way cannot tell: they are refused, and not half done.
    let refused = write(&store, &space, add("0", 1)).await;
    assert_eq!(refused, Err(StoreError::Declined("the cluster is moving the key".into())));
    let refused = write(&store, &spread, put(beside, "2")).await;
    assert_eq!(refused, Err(StoreError::Declined("the cluster is moving the key".into())));
    assert_eq!(value(&store, &spread, beside).await, Ok(Some("1".into())));
    ask(&mut cluster, from, format!("MIGRATE 127.0.0.1 {port} {} 0 5000", stored(&spread, beside)));
    assert_eq!(value(&store, &spread, beside).await, Ok(Some("1".into())));
    for node in [to, from] {
        ask(&mut cluster, node, format!("CLUSTER SETSLOT {slot} NODE {}", ids[to]));
    }
    assert!(matches!(listener.end().await, StoreError::Unavailable(_)));
    for key in &keys {
        assert_eq!(
            number(until_done(key, async || write(&store, &space, add(key, 1)).await.map(Ok)).await),
            2,
            "{key}"
        );
    }
    set(&store, &spread, beside, "2").await;
    // What is no string is no value here too.
    ask(&mut cluster, to, format!("DEL {}", stored(&space, "0")));
    ask(&mut cluster, to, format!("RPUSH {} 1", stored(&space, "0")));
    assert_eq!(value(&store, &space, "0").await, Ok(None));
    let read = store.batch_get(&space, &["0".into(), "1".into()]).await;
    assert!(matches!(&read[..], [Ok(None), Ok(Some(_))]), "{read:?}");
}
