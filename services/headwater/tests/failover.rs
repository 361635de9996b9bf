//! The Redis of live statistics fails over to a replica that was behind: what it had not heard of comes back from the
//! history by itself, and until then answers say that they are incomplete.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use headwater_testkit::{Options, Redis};
use support::calls::publish_all;
use support::process::Ingest;
use support::stage::{Stage, Visit};
use support::within;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, block_in_place};

/// How long mending may take, from the failover on.
const RECOVERY_MAX: Duration = Duration::from_secs(10);
const READY_MAX: Duration = Duration::from_secs(30);
const SYNC_MAX: Duration = Duration::from_secs(20);

/// One address for whichever server is the primary, as a service in front of a Redis with replicas gives it.
struct Primary {
    port: u16,
    upstream: Arc<AtomicU16>,
    /// Connections die with the primary.
    _serving: JoinSet<()>,
}

impl Primary {
    async fn new(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = Arc::new(AtomicU16::new(upstream));
        let mut serving = JoinSet::new();
        let to = Arc::clone(&upstream);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let port = to.load(Ordering::SeqCst);
                connections.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { port, upstream, _serving: serving }
    }
}

async fn visits(stage: &Stage, ingest: &mut Ingest, count: usize) -> String {
    let visits: Vec<Visit> = (0..count).map(|n| Visit::new(&format!("user {n}"), &format!("/{}", n % 7))).collect();
    publish_all(ingest, stage.stream(0), stage.records(0, &visits)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_behind_is_mended() {
    let mut stage = Stage::new(&["failover"]).await;
    let (old, new) = block_in_place(|| {
        let start = || Redis::start(Options::default().setting("appendonly", "no")).unwrap();
        (start(), start())
    });
    new.ask(&format!("REPLICAOF 127.0.0.1 {}", old.port())).unwrap();
    let primary = Primary::new(old.port()).await;
    stage.redis = format!("redis://127.0.0.1:{}", primary.port);
    let headwater = stage.serve("ingest,processor,stats", &[]).await;
    headwater.ready(READY_MAX).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);

    let token = visits(&stage, &mut ingest, 100).await;
    assert_eq!(stage.views(&mut stats, 0, None, &token).await.unwrap(), (100, true));
    let keys = |redis: &Redis| redis.ask("DBSIZE").unwrap();
    within(SYNC_MAX, "the replica has what there is", || async {
        if keys(&new) == keys(&old) && keys(&old) != Some("0".into()) {
            Ok(())
        } else {
            Err(format!("{:?}", keys(&new)))
        }
    })
    .await;
    // It hears nothing more.
    new.ask("REPLICAOF NO ONE").unwrap();
    let token = visits(&stage, &mut ingest, 50).await;
    assert_eq!(stage.views(&mut stats, 0, None, &token).await.unwrap(), (150, true));

    primary.upstream.store(new.port(), Ordering::SeqCst);
    let failed_over = Instant::now();
    drop(old);
    let mut incomplete = 0;
    loop {
        match stage.views(&mut stats, 0, None, "").await {
            Ok((views, true)) => {
                assert_eq!(views, 150, "a figure that is wrong is said to be");
                break;
            }
            Ok((_, false)) => incomplete += 1,
            // Redis is away for a moment.
            Err(_) => {}
        }
        assert!(failed_over.elapsed() < RECOVERY_MAX, "not mended; {incomplete} answers were incomplete");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    eprintln!("failed over: whole after {:?}, {incomplete} answers were incomplete", failed_over.elapsed());
    let token = visits(&stage, &mut ingest, 7).await;
    assert_eq!(stage.views(&mut stats, 0, None, &token).await.unwrap(), (157, true));
}
