//! Parts that are there to be broken: a cluster of brokers, a proxy that cuts at a COMMIT, a Redis that goes back.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use headwater_testkit::{CutAt, KafkaCluster, Options, POSTGRES, PostgresProxy, Redis, fresh_database, require};
use tokio_postgres::{Client, NoTls};

/// Ways of the proxy to break, and whether what was committed then is stored.
const CUTS: [(CutAt, Option<bool>); 3] =
    [(CutAt::BeforeCommit, Some(false)), (CutAt::InCommit, None), (CutAt::AfterCommit, Some(true))];
const WITHIN: Duration = Duration::from_secs(10);

#[test]
fn kafka_brokers_do_without_one_of_them() {
    let mut cluster = KafkaCluster::start(3, &Options::default()).unwrap();
    assert_eq!(cluster.bootstrap().split(',').count(), 3);
    cluster.brokers()[1].kill().unwrap();
    assert!(cluster.brokers()[0].process().is_some());
    // It becomes ready only where the others take it in again.
    cluster.brokers()[1].restart().unwrap();
}

#[test]
fn redis_goes_back_to_what_it_was() {
    let mut redis = Redis::start(Options::default().setting("appendonly", "no")).unwrap();
    let copy = tempfile::NamedTempFile::new().unwrap();
    redis.ask("SET a 1").unwrap();
    redis.copy_to(copy.path()).unwrap();
    redis.ask("SET a 2").unwrap();
    redis.go_back_to(copy.path()).unwrap();
    assert_eq!(redis.ask("GET a").unwrap().as_deref(), Some("1"));
    redis.kill().unwrap();
    redis.restart().unwrap();
    assert_eq!(redis.ask("GET a").unwrap(), None, "it keeps nothing by itself");
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A server, a database on it, the way through a proxy, and the way without it.
async fn behind_proxy() -> (PostgresProxy, String, String) {
    let direct = fresh_database(&require(POSTGRES)).await.unwrap();
    let config: tokio_postgres::Config = direct.parse().unwrap();
    let port = config.get_ports()[0];
    let proxy = PostgresProxy::start(port).await.unwrap();
    let through = direct.replacen(&format!(":{port}/"), &format!(":{}/", proxy.port()), 1);
    connect(&direct).await.batch_execute("CREATE TABLE t (n integer)").await.unwrap();
    (proxy, through, direct)
}

/// Copies a row and commits, as the platform does.
async fn copy_and_commit(url: &str) -> Result<(), tokio_postgres::Error> {
    let mut client = connect(url).await;
    let transaction = client.transaction().await?;
    let mut sink = pin!(transaction.copy_in::<_, Bytes>("COPY t FROM STDIN").await?);
    sink.send(Bytes::from_static(b"1\n")).await?;
    sink.finish().await?;
    transaction.commit().await
}

async fn rows(url: &str) -> i64 {
    connect(url).await.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_proxy_cuts_where_it_is_told_to_and_only_there() {
    let (proxy, through, direct) = behind_proxy().await;
    copy_and_commit(&through).await.unwrap();
    assert_eq!(rows(&direct).await, 1);
    for (cut, is_stored) in CUTS {
        let before = rows(&direct).await;
        proxy.arm(cut).await;
        // A transaction that copies nothing is not the one that is waited for.
        connect(&through).await.batch_execute("BEGIN; SELECT 1").await.unwrap();
        copy_and_commit(&through).await.unwrap_err();
        assert!(proxy.caught(WITHIN).await.is_some(), "{cut:?}");
        copy_and_commit(&through).await.expect("it cuts once");
        let more = rows(&direct).await - before - 1;
        assert!((0..=1).contains(&more) && is_stored.is_none_or(|stored| more == i64::from(stored)), "{cut:?}: {more}");
    }
    proxy.arm(CutAt::BeforeCommit).await;
    assert_eq!(proxy.caught(Duration::from_millis(20)).await, None, "there was no occasion");
    copy_and_commit(&through).await.expect("it is not armed any more");
}

#[tokio::test]
async fn a_proxy_holds_a_copy_up_in_its_middle() {
    let (proxy, through, direct) = behind_proxy().await;
    proxy.arm(CutAt::InCopy).await;
    let copying = tokio::spawn(async move { copy_and_commit(&through).await });
    assert!(proxy.caught(WITHIN).await.is_some());
    assert!(!copying.is_finished(), "it is held up");
    proxy.let_go();
    copying.await.unwrap().unwrap_err();
    assert_eq!(rows(&direct).await, 0);
}
