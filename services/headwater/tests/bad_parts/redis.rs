//! Live statistics whose memory is full, or that would forget.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_contracts::v1::stats::StatQuery;
use headwater_testkit::{Options, Redis};
use tokio::task::block_in_place;

use crate::support::calls::{get, query};
use crate::support::parts::Publisher;
use crate::support::stage::{Stage, Visit, mended, report, trouble};
use crate::support::within;

const READY_MAX: Duration = Duration::from_secs(30);
const TOLD_MAX: Duration = Duration::from_secs(10);
const RECOVERY_MAX: Duration = Duration::from_secs(10);
const END_MAX: Duration = Duration::from_secs(10);
/// Less than an empty Redis needs.
const FULL_BYTES: u64 = 100_000;
const LIVE: &str = "processor: live statistics";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_is_told_and_mended_and_the_history_goes_on() {
    let redis = block_in_place(|| Redis::start(Options::default())).unwrap();
    let mut stage = Stage::new(&["memory"]).await;
    stage.redis = redis.url();
    let stage = Arc::new(stage);
    let serving = stage.serve("ingest,stats", &[]).await;
    let mut processor = stage.serve("processor", &[]).await;
    serving.ready(READY_MAX).await;
    processor.ready(READY_MAX).await;
    let stats = serving.stats().await;
    let from = Arc::clone(&stage);
    let publisher = Publisher::on(serving.ingest().await, stage.stream(0), move |n| {
        from.records(0, &[Visit::new(&format!("user {n}"), &format!("/{}", n % 3))]).remove(0)
    });
    let (before, _) = publisher.goes_on(RECOVERY_MAX).await;
    stage.counted_at_least(RECOVERY_MAX, &stats, 0, before).await;

    redis.limit_memory(Some(FULL_BYTES)).unwrap();
    let told = trouble(&processor, TOLD_MAX, LIVE).await;
    assert!(told.contains("OOM") && told.contains("maxmemory"), "{told}");
    assert!(processor.log().contains("maxmemory"), "it is logged");
    assert_eq!(report(&processor).await["ready"], true, "the process serves");
    let (accepted, _) = publisher.goes_on(RECOVERY_MAX).await;
    within(RECOVERY_MAX, "the history goes on", || async {
        let stored = stage.count(&stage.table(0), "true").await;
        if stored >= accepted as i64 { Ok(()) } else { Err(format!("{stored} of {accepted}")) }
    })
    .await;
    // The figures that there are are answered, with how far they are behind.
    within(RECOVERY_MAX, "answers say that they are behind", || async {
        let result = get(&mut stats.clone(), query(stage.stream(0), "pages"), "").await.unwrap();
        let lag = result.lag.map_or(0, |lag| lag.seconds);
        if lag >= 1 { Ok(()) } else { Err(format!("{result:?}")) }
    })
    .await;
    processor.signal("TERM");
    assert!(processor.ended(END_MAX).await.success());
    let processor = stage.serve("processor", &[]).await;
    processor.ready(READY_MAX).await;
    trouble(&processor, TOLD_MAX, LIVE).await;

    redis.limit_memory(None).unwrap();
    let allowed = Instant::now();
    let (accepted, token) = publisher.end().await;
    stage.counted(RECOVERY_MAX, &stats, 0, accepted).await;
    eprintln!("all {accepted} are counted {:?} after there is memory", allowed.elapsed());
    stage.stored(RECOVERY_MAX, 0, accepted).await;
    mended(&processor, RECOVERY_MAX, LIVE).await;
    let users = StatQuery { window: crate::support::calls::seconds(3600), ..query(stage.stream(0), "users") };
    let users = get(&mut stats.clone(), users, &token).await.unwrap();
    assert!(users.values[0].value >= accepted as i64, "every event is another user's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_evicts_is_refused_with_the_command_that_changes_it() {
    let redis = block_in_place(|| Redis::start(Options::default().setting("maxmemory-policy", "allkeys-lru"))).unwrap();
    let mut stage = Stage::new(&["evicts"]).await;
    stage.redis = redis.url();
    let headwater = stage.serve("processor", &["--processor-upkeep-interval-s", "1"]).await;
    let command = "CONFIG SET maxmemory-policy noeviction";
    within(TOLD_MAX, "the condition says what to do", || async {
        let report = report(&headwater).await;
        let conditions = report["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["name"] == "processor").unwrap();
        let told = found["reason"].as_str().unwrap().to_owned();
        let is_told = told.contains(command) && told.contains("allkeys-lru") && report["ready"] == false;
        if is_told { Ok(()) } else { Err(report.to_string()) }
    })
    .await;
    assert_eq!(headwater.get("/readyz").await.unwrap().0, 503);

    redis.ask(command).unwrap();
    headwater.ready(RECOVERY_MAX).await;
    // Changed back while it serves: it is told, and goes on.
    redis.ask("CONFIG SET maxmemory-policy volatile-ttl").unwrap();
    let name = "processor: live statistics' store";
    let told = trouble(&headwater, TOLD_MAX, name).await;
    assert!(told.contains(command) && told.contains("volatile-ttl"), "{told}");
    redis.ask(command).unwrap();
    mended(&headwater, TOLD_MAX, name).await;
}
