//! Several bad things at the same time.

use std::sync::Arc;
use std::time::Duration;

use headwater_testkit::{Options, Redis};
use tokio::task::block_in_place;

use crate::support::calls::publish_all;
use crate::support::parts::Publisher;
use crate::support::stage::{Stage, Visit, mended, trouble};

const READY_MAX: Duration = Duration::from_secs(30);
const TOLD_MAX: Duration = Duration::from_secs(15);
const RECOVERY_MAX: Duration = Duration::from_secs(10);
const END_MAX: Duration = Duration::from_secs(10);
/// Less than an empty Redis needs.
const FULL_BYTES: u64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_in_many_troubles_tells_each_ends_when_told_and_mends() {
    const REMOVED: usize = 0;
    const LOCKED: usize = 1;
    const FINE: usize = 2;
    let redis = block_in_place(|| Redis::start(Options::default())).unwrap();
    let mut stage = Stage::new(&["gone", "held", "well"]).await;
    stage.redis = redis.url();
    let stage = Arc::new(stage);
    let more = ["--postgres-statement-timeout-ms", "2000"];
    let serving = stage.serve("ingest,stats", &more).await;
    let mut processor = stage.serve("processor", &more).await;
    serving.ready(READY_MAX).await;
    processor.ready(READY_MAX).await;
    let stats = serving.stats().await;
    let visits = |count: usize| (0..count).map(|n| Visit::new(&format!("user {n}"), "/")).collect::<Vec<_>>();
    for number in [REMOVED, LOCKED, FINE] {
        let records = stage.records(number, &visits(20));
        publish_all(&mut serving.ingest().await, stage.stream(number), records).await;
        stage.counted(RECOVERY_MAX, &stats, number, 20).await;
    }
    processor.signal("TERM");
    assert!(processor.ended(END_MAX).await.success());
    let records = stage.records(REMOVED, &visits(30));
    publish_all(&mut serving.ingest().await, stage.stream(REMOVED), records).await;
    stage.remove_before(REMOVED, 30).await;

    // Records were removed, a table is locked, the live store is full, and poison comes in.
    let mut processor = stage.serve("processor", &more).await;
    processor.ready(READY_MAX).await;
    let (session, connection) = tokio_postgres::connect(&stage.postgres, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let lock = format!("BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", stage.table(LOCKED));
    session.batch_execute(&lock).await.unwrap();
    redis.limit_memory(Some(FULL_BYTES)).unwrap();
    let from = Arc::clone(&stage);
    let publisher = Publisher::on(serving.ingest().await, stage.stream(LOCKED), move |n| {
        from.records(LOCKED, &[Visit::new(&format!("user {}", n % 50), "/")]).remove(0)
    });
    publish_all(&mut serving.ingest().await, stage.stream(FINE), stage.records(FINE, &visits(10))).await;
    stage.produce_at_once(FINE, b"poison", 5).await;

    let names =
        [format!("{}/0", stage.stream(REMOVED)), "processor: history".into(), "processor: live statistics".into()];
    for name in &names {
        trouble(&processor, TOLD_MAX, name).await;
    }
    stage.stored(RECOVERY_MAX, FINE, 30).await;
    assert_eq!(stage.count("headwater.dead_letters", "true").await, 5);
    processor.signal("TERM");
    assert!(processor.ended(END_MAX).await.success(), "it ends in the middle of all that");

    let processor = stage.serve("processor", &more).await;
    for name in &names {
        trouble(&processor, READY_MAX, name).await;
    }
    redis.limit_memory(None).unwrap();
    session.batch_execute("ROLLBACK").await.unwrap();
    drop(session);
    connection.await.unwrap().unwrap();
    let (accepted, _) = publisher.end().await;
    stage.counted(RECOVERY_MAX, &stats, LOCKED, 20 + accepted).await;
    stage.counted(RECOVERY_MAX, &stats, FINE, 30).await;
    for name in &names[1..] {
        mended(&processor, RECOVERY_MAX, name).await;
    }
    trouble(&processor, TOLD_MAX, &names[0]).await;
    let (done, told) = stage.resume(REMOVED, &[]).await;
    assert!(done, "{told}");
    stage.counted(2 * RECOVERY_MAX, &stats, REMOVED, 40).await;
    for (number, events) in [(REMOVED, 40), (LOCKED, 20 + accepted), (FINE, 30)] {
        stage.stored(RECOVERY_MAX, number, events).await;
    }
    mended(&processor, RECOVERY_MAX, &names[0]).await;
}
