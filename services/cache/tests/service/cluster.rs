//! The same on a Cluster, where the keys of a batch lie on several nodes, and one of them may be lost.

use headwater_contracts::v1::cache::batch_get_result::Result as Read;
use headwater_contracts::v1::cache::{BatchGetRequest, batch_get_result};
use headwater_contracts::v1::error::Reason;
use headwater_testkit::{Options, RedisCluster};
use tokio::task::block_in_place;

use crate::stage::{Client, Stage, bytes, get, reason, set, until, value};
use crate::{bad_input, http, methods, namespaces, queued, watching};

/// As many that every node has some of them.
const KEYS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster() {
    let cluster = block_in_place(|| RedisCluster::start(3, Options::default())).unwrap();
    let start = async || Stage::cluster(&cluster).await;
    methods::each(start).await;
    bad_input::each(start).await;
    namespaces::each(start).await;
    queued::each(start).await;
    watching::each(start).await;
    http::each(start).await;
}

/// What a batch of all keys says of each.
async fn read(client: &mut Client) -> Vec<batch_get_result::Result> {
    let keys = (0..KEYS).map(|n| bytes(&format!("k{n}"))).collect();
    let request = BatchGetRequest { keys, no_cache: true, ..Default::default() };
    let results = client.batch_get(request).await.unwrap().into_inner().results;
    results.into_iter().map(|result| result.result.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_node_fails_over_its_keys_are_refused_and_then_served_again() {
    // The keys of the other nodes are served meanwhile.
    let options = Options::default().setting("cluster-require-full-coverage", "no");
    let mut cluster = block_in_place(|| RedisCluster::with_replicas(3, options)).unwrap();
    let stage = Stage::cluster(&cluster).await;
    let client = &mut stage.client().await;
    for n in 0..KEYS {
        set(client, "", &format!("k{n}"), "1").await.unwrap();
    }
    let lost = cluster.primary_of(0).unwrap();
    cluster.nodes()[lost].kill().unwrap();
    let (mut refused, mut served) = (Vec::new(), Vec::new());
    for (n, answer) in read(client).await.into_iter().enumerate() {
        match answer {
            Read::Found(found) => {
                assert_eq!(found.value, Some(bytes("1")));
                served.push(n);
            }
            Read::Error(error) => {
                assert_eq!(error.reason(), Reason::CacheUnavailable);
                assert!(error.retry_delay.is_some());
                refused.push(n);
            }
        }
    }
    // One by one too, whatever becomes of calls for the keys that are lost.
    for n in served {
        for lost in &refused {
            drop(get(client, "", &format!("k{lost}")).await);
        }
        assert_eq!(value(client, "", &format!("k{n}")).await.as_deref(), Some("1"), "k{n}");
    }
    assert!((1..KEYS).contains(&refused.len()), "the keys of the node that is lost, and no others: {refused:?}");
    // Nobody starts anything anew.
    for n in 0..KEYS {
        until("it is written again", async || {
            let written = set(client, "", &format!("k{n}"), "2").await;
            match written {
                Ok(_) => Ok(()),
                Err(status) => {
                    let told = status.to_string();
                    assert_eq!(reason::<()>(Err(status)), Reason::CacheUnavailable);
                    Err(told)
                }
            }
        })
        .await;
    }
    for answer in read(client).await {
        match answer {
            Read::Found(found) => assert_eq!(found.value, Some(bytes("2"))),
            Read::Error(error) => panic!("{error:?}"),
        }
    }
}
