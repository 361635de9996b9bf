//! Publishing on schedule and keeping alive, against the in-process server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use headwater_client::testing::FakeServer;
use headwater_client::{Client, ConnectOptions};
use headwater_generator::{LiveOptions, Progress, RunOptions, SourceOptions, SourceStream, run, run_live};
use tokio_util::sync::CancellationToken;

fn options(rate: f64) -> RunOptions {
    let source = SourceOptions {
        rate,
        bots: 0.05,
        invalid: 0.05,
        duplicates: 0.02,
        ..SourceOptions::new(SourceStream::PageEvents, 7)
    };
    RunOptions { duration: Duration::from_secs(1), ..RunOptions::new(source) }
}

async fn connect(server: &FakeServer) -> Client {
    Client::connect(server.connect_options()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_what_was_sent_and_answered() {
    let server = FakeServer::start();
    let mut progress = Vec::new();
    let report = run(&connect(&server).await, options(2000.0), &CancellationToken::new(), |told| progress.push(told))
        .await
        .unwrap();
    assert!(report.failure.is_none(), "{report:?}");
    assert_eq!(report.due, 2000);
    assert_eq!(report.sent_all() + report.skipped, 2000);
    assert_eq!((report.skipped, report.unanswered, report.surprises), (0, 0, 0), "{report:?}");
    assert_eq!(report.answered(), 2000);
    assert_eq!(report.answers["accepted"], server.accepted().len() as u64);
    assert_eq!(report.answers["accepted"], 2000 - report.sent["invalid"]);
    assert!(report.answers["rejected INVALID_FIELD"] > 10);
    assert!(report.sent_flagged > 10 && report.sent_flagged < report.sent["bot"]);
    assert!(report.latency.p50_ms > 0.0 && report.latency.p50_ms <= report.latency.p999_ms);
    assert!(report.latency.p999_ms <= report.latency.max_ms);
    assert!((report.rate_achieved - 2000.0).abs() < 400.0, "{}", report.rate_achieved);
    assert!(progress.len() >= 3 && progress.windows(2).all(|pair| pair[0].sent <= pair[1].sent), "{progress:?}");
    assert_ne!(progress[0], Progress::default());
    let json = report.to_json();
    assert_eq!(json["answers"]["accepted"], report.answers["accepted"]);
    assert!(json["failure"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_publishes_the_same_ids_but_for_the_time() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let server = FakeServer::start();
        run(&connect(&server).await, options(500.0), &CancellationToken::new(), |_| {}).await.unwrap();
        // The first 48 bits of an id are the time, which is another one in each run.
        let ids: Vec<String> = server.accepted().into_iter().map(|event| event.id[14..].to_owned()).collect();
        runs.push(ids);
    }
    assert!(runs[0].len() > 400);
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_cannot_slow_the_schedule() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    // Batches are answered one after the other, 100 ms each: ten a second, while 200 a second are sent.
    server.set_delay(Duration::from_millis(100));
    let slow = RunOptions { in_flight_max: 100, drain_max: Duration::from_secs(20), ..options(1000.0) };
    let started = Instant::now();
    let report = run(&client, slow, &CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!(report.due, 1000);
    assert!(report.skipped > 300, "{report:?}");
    assert_eq!(report.sent_all() + report.skipped, 1000);
    assert_eq!(report.answered(), report.sent_all());
    // What waited in the queue is in the latency.
    assert!(report.latency.p99_ms > 300.0, "{report:?}");
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_answers_are_counted_and_not_waited_for_without_end() {
    let server = FakeServer::start();
    let client = connect(&server).await;
    server.set_silent(true);
    let short = RunOptions { drain_max: Duration::from_millis(300), ..options(200.0) };
    let report = run(&client, short, &CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!((report.answered(), report.unanswered), (0, 200));
    assert_eq!(report.latency.max_ms, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_can_be_stopped() {
    let server = FakeServer::start();
    let stop = CancellationToken::new();
    let long = RunOptions { duration: Duration::from_secs(600), ..options(200.0) };
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        stopping.cancel();
    });
    let report = run(&connect(&server).await, long, &stop, |_| {}).await.unwrap();
    assert!(report.sent_all() > 20 && report.sent_all() < 500, "{report:?}");
    assert_eq!(report.unanswered, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_alive_outlives_its_server() {
    let server = FakeServer::start();
    let address = server.address();
    let stop = CancellationToken::new();
    let ConnectOptions { endpoint, .. } = server.connect_options();
    let live = tokio::spawn(run_live(LiveOptions { address: endpoint, token: None, rate: 200 }, stop.clone()));
    both_streams(&server).await;
    drop(server);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let server = FakeServer::start_at(address);
    both_streams(&server).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), live).await.unwrap().unwrap();
}

async fn both_streams(server: &FakeServer) {
    let started = Instant::now();
    loop {
        let accepted = server.accepted();
        let views = accepted.iter().filter(|event| event.stream == "page-events").count();
        let others = accepted.len() - views;
        if views > 50 && others > 3 {
            assert!(views > 3 * others, "{views} and {others}");
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{views} and {others}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
