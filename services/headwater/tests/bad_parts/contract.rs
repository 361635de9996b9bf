//! In the middle of a deployment: a process of another contract has taken the lead.

use std::time::Duration;

use crate::support::calls::{get, publish_all, query, reason};
use crate::support::stage::{Stage, Visit, mended, trouble};
use crate::support::within;

const READY_MAX: Duration = Duration::from_secs(30);
const TOLD_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn statistics_of_another_contract_are_told_and_never_read() {
    let stage = Stage::new(&["contract"]).await;
    let headwater = stage.serve("ingest,processor,stats", &[]).await;
    headwater.ready(READY_MAX).await;
    let (mut ingest, stats) = (headwater.ingest().await, headwater.stats().await);
    let visits = |count: usize| -> Vec<Visit> { (0..count).map(|n| Visit::new(&format!("user {n}"), "/")).collect() };
    publish_all(&mut ingest, stage.stream(0), stage.records(0, &visits(10))).await;
    stage.counted(TOLD_MAX, &stats, 0, 10).await;

    let sql = format!("SELECT fingerprint, number FROM headwater.generations WHERE stream = '{}'", stage.stream(0));
    let own = stage.rows(&sql).await.into_keys().next().unwrap();
    let lead = async |fingerprint: &str| {
        let stream = stage.stream(0);
        let sql = format!("UPDATE headwater.generations SET fingerprint = '{fingerprint}' WHERE stream = '{stream}'");
        stage.execute(&sql).await;
    };
    lead("another").await;
    let name = format!("statistics of {}", stage.stream(0));
    let told = trouble(&headwater, TOLD_MAX, &name).await;
    assert!(told.contains("generation 1 is of other statistics"), "{told}");
    within(TOLD_MAX, "figures of another contract are not read", || async {
        match get(&mut stats.clone(), query(stage.stream(0), "pages"), "").await {
            Err(status) if reason(&status).1 == "NOT_READY" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    publish_all(&mut ingest, stage.stream(0), stage.records(0, &visits(5))).await;
    stage.stored(TOLD_MAX, 0, 15).await;

    lead(&own).await;
    mended(&headwater, TOLD_MAX, &name).await;
    stage.counted(TOLD_MAX, &stats, 0, 15).await;
}
