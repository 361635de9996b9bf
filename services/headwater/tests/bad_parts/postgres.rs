//! A history that does not take anything: its disk is full, or somebody holds a lock on a table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_testkit::{Options, Postgres};
use tokio::task::block_in_place;
use tonic::Code;

use crate::support::calls::{all_of, history, publish_all};
use crate::support::parts::Publisher;
use crate::support::process::Headwater;
use crate::support::stage::{Stage, Visit, mended, report, trouble};
use crate::support::within;

const READY_MAX: Duration = Duration::from_secs(30);
const TOLD_MAX: Duration = Duration::from_secs(20);
const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// How long a process may take to end, whatever state it is in.
const END_MAX: Duration = Duration::from_secs(10);
const HISTORY: &str = "processor: history";
const DISK_MIB: u32 = 96;

fn load(stage: &Arc<Stage>, ingest: crate::support::process::Ingest, number: usize) -> Publisher {
    let from = Arc::clone(stage);
    Publisher::on(ingest, stage.stream(number), move |n| {
        from.records(number, &[Visit::new(&format!("user {}", n % 50), &format!("/{}", n % 3))]).remove(0)
    })
}

/// Ends the processor in the state that it is in, and starts another.
async fn replaced(stage: &Stage, mut processor: Headwater, more: &[&str]) -> Headwater {
    processor.signal("TERM");
    assert!(processor.ended(END_MAX).await.success(), "{}", processor.log());
    stage.serve("processor", more).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_waited_out() {
    let postgres = block_in_place(|| Postgres::start(Options::default())).unwrap();
    let (disk, url) = postgres.database_on_small_disk(DISK_MIB).await.unwrap();
    let mut stage = Stage::new(&["full"]).await;
    stage.postgres = url;
    let stage = Arc::new(stage);
    let ingest = stage.serve("ingest,stats", &[]).await;
    let processor = stage.serve("processor", &[]).await;
    ingest.ready(READY_MAX).await;
    processor.ready(READY_MAX).await;
    let mut stats = ingest.stats().await;
    let publisher = load(&stage, ingest.ingest().await, 0);
    publisher.goes_on(RECOVERY_MAX).await;

    block_in_place(|| disk.fill()).unwrap();
    let told = trouble(&processor, TOLD_MAX, HISTORY).await;
    assert!(told.contains("No space left on device"), "{told}");
    assert!(processor.log().contains("No space left on device"), "it is logged");
    assert_eq!(report(&processor).await["ready"], true, "the process serves");
    publisher.goes_on(RECOVERY_MAX).await;
    history(&mut stats, all_of(stage.stream(0))).await.expect("what is stored can be read");
    let processor = replaced(&stage, processor, &[]).await;
    let retries = || async { processor.metric("headwater_processor_retries_total", &[("system", "history")]).await };
    within(TOLD_MAX, "the next one waits too", || async {
        if retries().await > 0.0 { Ok(()) } else { Err(report(&processor).await.to_string()) }
    })
    .await;

    block_in_place(|| disk.empty()).unwrap();
    let emptied = Instant::now();
    let (accepted, _) = publisher.end().await;
    stage.counted(RECOVERY_MAX, &stats, 0, accepted).await;
    eprintln!("all {accepted} are counted {:?} after there is space", emptied.elapsed());
    stage.stored(RECOVERY_MAX, 0, accepted).await;
    mended(&processor, RECOVERY_MAX, HISTORY).await;
    // The server before its disk.
    drop((processor, ingest, postgres));
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_a_table_is_told_and_waited_out() {
    const LOCKED: usize = 0;
    const FREE: usize = 1;
    // Longer than any bound in the path: a statement or its wait for the lock (2 s), and its answer, with connecting
    // (8 s). HEADWATER_TEST_LONG=1 takes the bounds that are the default, and a whole minute.
    let (timeout_ms, held) = match std::env::var_os("HEADWATER_TEST_LONG") {
        Some(_) => ("30000", Duration::from_secs(60)),
        None => ("2000", Duration::from_secs(11)),
    };
    let more = ["--postgres-statement-timeout-ms", timeout_ms];
    let stage = Arc::new(Stage::new(&["locked", "free"]).await);
    let ingest = stage.serve("ingest,stats", &more).await;
    let processor = stage.serve("processor", &more).await;
    ingest.ready(READY_MAX).await;
    processor.ready(READY_MAX).await;
    let mut stats = ingest.stats().await;
    let publisher = load(&stage, ingest.ingest().await, LOCKED);
    let (before, _) = publisher.goes_on(RECOVERY_MAX).await;
    stage.counted_at_least(RECOVERY_MAX, &stats, LOCKED, before).await;

    let (session, connection) = tokio_postgres::connect(&stage.postgres, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let lock = format!("BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", stage.table(LOCKED));
    session.batch_execute(&lock).await.unwrap();
    let locked = Instant::now();
    let told = trouble(&processor, TOLD_MAX, HISTORY).await;
    assert!(
        told.contains("lock timeout") || told.contains("statement timeout") || told.contains("no answer"),
        "{told}"
    );
    // Nothing else is held up: publishing, another stream, and the figures that there are.
    publisher.goes_on(RECOVERY_MAX).await;
    let visits: Vec<Visit> = (0..10).map(|n| Visit::new(&format!("user {n}"), "/")).collect();
    publish_all(&mut ingest.ingest().await, stage.stream(FREE), stage.records(FREE, &visits)).await;
    stage.counted(RECOVERY_MAX, &stats, FREE, 10).await;
    stage.views(&mut stats, LOCKED, None, "").await.expect("figures are answered");
    let status = history(&mut stats, all_of(stage.stream(LOCKED))).await.expect_err("the table cannot be read");
    // Whichever is first: the statement's bound, or the call's own deadline, here or there.
    let told = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled].contains(&status.code());
    assert!(told, "{status:?}");
    let processor = replaced(&stage, processor, &more).await;
    tokio::time::sleep(held.saturating_sub(locked.elapsed())).await;

    session.batch_execute("ROLLBACK").await.unwrap();
    let released = Instant::now();
    drop(session);
    connection.await.unwrap().unwrap();
    let (accepted, _) = publisher.end().await;
    stage.counted(RECOVERY_MAX, &stats, LOCKED, accepted).await;
    eprintln!("held for {:?}; all {accepted} are counted {:?} later", released - locked, released.elapsed());
    stage.stored(RECOVERY_MAX, LOCKED, accepted).await;
    mended(&processor, RECOVERY_MAX, HISTORY).await;
}
