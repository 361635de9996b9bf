//! The same on a Cluster, where the keys of a batch lie on several nodes.

use headwater_testkit::{Options, RedisCluster};
use tokio::task::block_in_place;

use crate::stage::Stage;
use crate::{bad_input, http, methods, namespaces, queued, watching};

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
