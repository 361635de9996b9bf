//! Hosts whose clocks are wrong: the log's time decides what an event is, and the live store's where windows end.

use std::time::Duration;

use headwater_contracts::v1::stats::StatQuery;

use crate::support::calls::{get, now_ms, publish_all, query, seconds, timestamp};
use crate::support::process::Headwater;
use crate::support::stage::{Stage, Visit};
use crate::support::within;

const READY_MAX: Duration = Duration::from_secs(30);
const RECOVERY_MAX: Duration = Duration::from_secs(10);
const MINUTE_MS: i64 = 60_000;
const HOUR_S: i64 = 3600;

/// What becomes of the events of [`events`], on any host.
#[derive(Debug, PartialEq)]
struct Found {
    stored: i64,
    flagged: i64,
    dead: Vec<(String, i64)>,
    /// Views of 5 minutes, an hour, a day, all time.
    views: Vec<i64>,
    /// Users of 5 minutes, an hour, a day.
    users: Vec<i64>,
}

/// Five of one second, of which the rule lets three count; some that are ahead and some that are old, each by minutes
/// that an hour's error would put on the other side of a bound.
fn events() -> Vec<Visit> {
    let now = now_ms();
    let at = |user: &str, page: &str, minutes: i64| Visit {
        at: Some(timestamp(now + minutes * MINUTE_MS)),
        ..Visit::new(user, page)
    };
    let second = (now - 1000) / 1000 * 1000;
    let rush = |_| Visit { at: Some(timestamp(second)), ..Visit::new("rush", "/rush") };
    let mut events: Vec<Visit> = (0..5).map(rush).collect();
    events.extend([at("ahead", "/", 4), at("far ahead", "/", 10), at("an hour ahead", "/", 62)]);
    events.extend([at("recent", "/", -2), at("older", "/", -30), at("an hour old", "/", -70)]);
    events.extend([at("a day old", "/", -24 * 60 - 30), at("nearly a day old", "/", -23 * 60 - 30)]);
    events
}

async fn found(stage: &Stage, headwater: &Headwater) -> Found {
    let token = publish_all(&mut headwater.ingest().await, stage.stream(0), stage.records(0, &events())).await;
    let mut stats = headwater.stats().await;
    let (mut views, mut users) = (Vec::new(), Vec::new());
    for window in [Some(300), Some(HOUR_S), Some(24 * HOUR_S), None] {
        let (figure, complete) = stage.views(&mut stats, 0, window, &token).await.unwrap();
        assert!(complete);
        views.push(figure);
        if window.is_some() {
            let asked = StatQuery { window: window.and_then(seconds), ..query(stage.stream(0), "users") };
            users.push(get(&mut stats, asked, &token).await.unwrap().values[0].value);
        }
    }
    let dead = stage.rows("SELECT reason, count(*) FROM headwater.dead_letters GROUP BY reason").await;
    Found {
        stored: stage.count(&stage.table(0), "true").await,
        flagged: stage.count(&stage.table(0), "_rule IS NOT NULL").await,
        dead: dead.into_iter().collect(),
        views,
        users,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_an_hour_off_makes_no_difference() {
    let wanted = Found {
        stored: 11,
        flagged: 2,
        dead: vec![("TIME_AHEAD".into(), 2)],
        // The rush's three, and those that lie within; what is ahead by little counts everywhere.
        views: vec![5, 6, 8, 9],
        users: vec![3, 4, 6],
    };
    for offset_s in [0, HOUR_S, -HOUR_S] {
        let stage = Stage::new(&["clock"]).await;
        let headwater = stage.serve_at(offset_s, "ingest,processor,stats", &[]).await;
        headwater.ready(READY_MAX).await;
        let logged = headwater.log();
        let first: serde_json::Value = serde_json::from_str(logged.lines().next().unwrap()).unwrap();
        let host: prost_types::Timestamp = first["timestamp"].as_str().unwrap().parse().unwrap();
        assert!((host.seconds - now_ms() / 1000 - offset_s).abs() < 60, "the process has the other clock: {first}");
        assert_eq!(found(&stage, &headwater).await, wanted, "{offset_s} s off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_whose_clock_is_weeks_ahead_forgets_nothing_too_early() {
    let stage = Stage::new(&["kept"]).await;
    let ahead_s = 40 * 24 * HOUR_S;
    let more = [
        "--processor-events-kept-days",
        "1",
        "--processor-upkeep-interval-s",
        "1",
        "--log-filter",
        "info,headwater_processor=debug",
    ];
    let headwater = stage.serve_at(ahead_s, "ingest,processor,stats", &more).await;
    headwater.ready(READY_MAX).await;
    let stats = headwater.stats().await;
    // Each in a batch of its own; the first lies in the day before, as a rule, and within the day that is kept.
    for minutes in [-24 * 60 + 10, 0] {
        let visit = Visit { at: Some(timestamp(now_ms() + minutes * MINUTE_MS)), ..Visit::new("anna", "/") };
        publish_all(&mut headwater.ingest().await, stage.stream(0), stage.records(0, &[visit])).await;
        stage.counted(RECOVERY_MAX, &stats, 0, if minutes == 0 { 2 } else { 1 }).await;
    }
    let pruned = |log: String| log.lines().filter(|line| line.contains("\"pruned\"") && line.contains("kept-")).count();
    let before = pruned(headwater.log());
    within(RECOVERY_MAX, "what is kept no longer is looked for, twice", || async {
        if pruned(headwater.log()) >= before + 2 { Ok(()) } else { Err(headwater.log()) }
    })
    .await;
    assert_eq!(stage.count(&stage.table(0), "true").await, 2);
    assert_eq!(stage.count("headwater.batches", "true").await, 2);
    stage.counted(RECOVERY_MAX, &stats, 0, 2).await;
}
