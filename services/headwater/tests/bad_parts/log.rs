//! A log that is not the one that was read, or does not hold what was to be read.

use std::time::Duration;

use crate::support::calls::publish_all;
use crate::support::process::Headwater;
use crate::support::stage::{Stage, Visit, mended, trouble};

/// How long the platform may take until it tells what is wrong, and until it is as it was.
const TOLD_MAX: Duration = Duration::from_secs(10);
const RECOVERY_MAX: Duration = Duration::from_secs(10);
const READY_MAX: Duration = Duration::from_secs(30);

/// So many visits, each by a user of its own.
fn visits(count: usize) -> Vec<Visit> {
    (0..count).map(|n| Visit::new(&format!("user {n}"), "/")).collect()
}

async fn publish(stage: &Stage, ingest: &Headwater, number: usize, count: usize) {
    let records = stage.records(number, &visits(count));
    publish_all(&mut ingest.ingest().await, stage.stream(number), records).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_does_not_hold_what_is_to_be_read_stops_its_partition_and_no_other() {
    const ANEW: usize = 0;
    const BEYOND: usize = 1;
    const REMOVED: usize = 2;
    const FINE: usize = 3;
    let stage = Stage::new(&["anew", "beyond", "removed", "fine"]).await;
    let ingest = stage.serve("ingest,stats", &[]).await;
    let mut processor = stage.serve("processor", &[]).await;
    ingest.ready(READY_MAX).await;
    processor.ready(READY_MAX).await;
    let stats = ingest.stats().await;
    for number in [ANEW, BEYOND, REMOVED, FINE] {
        publish(&stage, &ingest, number, 20).await;
        stage.counted(RECOVERY_MAX, &stats, number, 20).await;
    }
    processor.signal("TERM");
    assert!(processor.ended(RECOVERY_MAX).await.success());

    // While no processor runs: a topic is made anew and gets longer than it was, the history has more than the log of
    // another, and of a third the oldest records that nobody read are removed.
    stage.make_anew(ANEW).await;
    publish(&stage, &ingest, ANEW, 30).await;
    stage.execute("UPDATE headwater.offsets SET next_offset = next_offset + 1000 WHERE stream LIKE 'beyond-%'").await;
    publish(&stage, &ingest, REMOVED, 30).await;
    stage.remove_before(REMOVED, 32).await;
    publish(&stage, &ingest, FINE, 5).await;

    let mut processor = stage.serve("processor", &[]).await;
    processor.ready(READY_MAX).await;
    for number in [ANEW, BEYOND, REMOVED] {
        let told = trouble(&processor, TOLD_MAX, &format!("{}/0", stage.stream(number))).await;
        eprintln!("{told}");
    }
    stage.counted(RECOVERY_MAX, &stats, FINE, 25).await;
    eprintln!("{}", processor.log());
    processor.signal("TERM");
    assert!(processor.ended(RECOVERY_MAX).await.success());
    let _ = mended;
}
