//! A hostile file of 100,000 events is published twice, and every figure is compared with a count that shares no code with
//! the platform: on the embedded stores, and on the real ones with two processors. Meanwhile the statistics are built anew,
//! again and again, so that the figures are those of a generation that was built while events flowed.
//! The files are made, and counted, by `tests/acceptance/*.py`; the questions are asked by grpcurl.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headwater_testkit::{Kafka, Options, Postgres, Redis, Registry, tools_dir};

const EVENTS: usize = 100_000;
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// A process of the platform, ended with the test.
struct Headwater {
    child: Child,
    grpc: String,
}

impl Drop for Headwater {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Headwater {
    /// Starts it on free ports, and reads from its log where it listens.
    fn start(arguments: &[&str], environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.args(arguments).args(["--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"]);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HEADWATER_")) {
            command.env_remove(name);
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.env("HEADWATER_LOG_FORMAT", "json").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut grpc = None;
        let mut ready = false;
        let wanted: usize = if arguments.contains(&"dev") { 5 } else { 1 };
        let mut conditions = 0;
        while !(ready && grpc.is_some()) {
            let line = lines.next().expect("it ended before it was ready").unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                grpc = Some(line["grpc"].as_str().unwrap().to_owned());
            }
            conditions += usize::from(line["message"] == "ready");
            ready = conditions >= wanted && line["message"] == "ready";
        }
        // The log goes on: it must not fill the pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if std::env::var("SHOW").is_ok() || line.contains("\"ERROR\"") || line.contains("\"WARN\"") {
                    eprintln!("{line}");
                }
            }
        });
        Self { child, grpc: grpc.unwrap() }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn python(script: &str, arguments: &[&str]) -> Output {
    let script = root().join("tests/acceptance").join(script);
    Command::new("python3").arg(script).args(arguments).output().unwrap()
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn make() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        let count = EVENTS.to_string();
        let (events, transactions) = (files.path("events"), files.path("transactions"));
        let made = python("make_events.py", &["--events", &events, "--transactions", &transactions, "--count", &count]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        files
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(format!("{name}.ndjson")).display().to_string()
    }

    /// A copy of the events with one line altered: an event of the last minutes that counts has another user.
    fn altered(&self) -> String {
        let text = std::fs::read_to_string(self.path("events")).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = lines
            .iter_mut()
            .find(|line| line.contains("\"click\"") && line.contains("\"event_id\": \"") && line.contains("\"usr_"))
            .unwrap();
        *line = line.replace("\"usr_", "\"usr_altered_");
        let path = self.path("altered");
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    }
}

/// Publishes both files, whose refused lines make the exit code 1.
fn publish(platform: &Headwater, files: &Files) {
    let address = format!("http://{}", platform.grpc);
    for (stream, name) in [("page-events", "events"), ("transactions", "transactions")] {
        let begun = Instant::now();
        let published = Command::new(env!("CARGO_BIN_EXE_headwater"))
            .args(["publish", "--address", &address, "--stream", stream, &files.path(name)])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&published.stderr);
        let summary: Vec<&str> = said.lines().rev().take(12).collect();
        println!("{name} in {:?}\n{}", begun.elapsed(), summary.into_iter().rev().collect::<Vec<_>>().join("\n"));
        assert_eq!(published.status.code(), Some(1), "{said}");
    }
}

fn grpcurl() -> String {
    tools_dir().join("bin/grpcurl").display().to_string()
}

/// Waits until everything that was published is counted, as the platform says it.
fn settle(platform: &Headwater) {
    let ask = r#"{"queries":[{"stream":"page-events","stat":"active_users","window":"60s"},{"stream":"transactions","stat":"account_total"}]}"#;
    let begun = Instant::now();
    let mut calm = 0;
    while calm < 3 {
        assert!(begun.elapsed() < SETTLE_MAX, "the statistics are still behind");
        std::thread::sleep(Duration::from_millis(700));
        let answer = Command::new(grpcurl())
            .args([
                "-plaintext",
                "-emit-defaults",
                "-d",
                ask,
                &platform.grpc,
                "headwater.stats.v1.StatsService/GetStats",
            ])
            .output()
            .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
        let results = answer["results"].as_array().cloned().unwrap_or_default();
        let still =
            results.len() == 2 && results.iter().all(|result| result["lag"] == "0s" && result["complete"] == true);
        calm = if still { calm + 1 } else { 0 };
    }
    println!("settled in {:?}", begun.elapsed());
}

fn check(platform: &Headwater, events: &str, transactions: &str) -> Output {
    let grpcurl = grpcurl();
    python(
        "check.py",
        &["--events", events, "--transactions", transactions, "--address", &platform.grpc, "--grpcurl", &grpcurl],
    )
}

/// Builds all statistics anew. Gives what was built.
fn rebuild(grpc: &str) -> Vec<serde_json::Value> {
    let address = format!("http://{grpc}");
    let built = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["rebuild", "--json", "--address", &address])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    String::from_utf8(built.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Publishes twice, and builds the statistics anew all the while. Gives how often they were.
fn publish_and_rebuild(platform: &Headwater, files: &Files) -> usize {
    let published = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let rebuilding = scope.spawn(|| {
            let mut rebuilds = 0;
            while !published.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let built = rebuild(&platform.grpc);
                assert_eq!(built.len(), 2, "{built:?}");
                assert!(built.iter().all(|of| of["state"] == "REBUILD_STATE_DONE"), "{built:?}");
                println!(
                    "rebuilt in {:?}: {} and {} records",
                    begun.elapsed(),
                    built[0]["records"],
                    built[1]["records"]
                );
                rebuilds += 1;
            }
            rebuilds
        });
        for _ in 0..2 {
            publish(platform, files);
        }
        published.store(true, Ordering::Relaxed);
        rebuilding.join().unwrap()
    })
}

fn every_figure_is_right(platform: &Headwater) {
    let files = Files::make();
    let rebuilds = publish_and_rebuild(platform, &files);
    assert!(rebuilds > 1, "nothing was built while events flowed");
    settle(platform);
    let (events, transactions) = (files.path("events"), files.path("transactions"));
    let checked = check(platform, &events, &transactions);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    println!("{said}");
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
    let altered = check(platform, &files.altered(), &transactions);
    let said = String::from_utf8_lossy(&altered.stdout).into_owned();
    println!("with one line altered: {said}");
    assert_eq!(altered.status.code(), Some(1), "the altered line went unnoticed: {said}");
}

#[test]
fn every_figure_is_right_on_embedded_stores() {
    let platform = Headwater::start(&["dev", "--rate", "0"], &[]);
    every_figure_is_right(&platform);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_is_right_on_real_parts_with_two_processors() {
    let (kafka, registry) = (Kafka::start(Options::default()).unwrap(), Registry::start(Options::default()).unwrap());
    let (redis, postgres) = (Redis::start(Options::default()).unwrap(), Postgres::start(Options::default()).unwrap());
    let environment = [
        ("HEADWATER_KAFKA_BROKERS", kafka.bootstrap()),
        ("HEADWATER_REGISTRY_URL", registry.url()),
        ("HEADWATER_REDIS_URL", redis.url()),
        ("HEADWATER_POSTGRES_URL", postgres.url()),
        ("HEADWATER_TOPICS_PARTITIONS", "8".to_owned()),
    ];
    let platform = Headwater::start(&["serve", "--role", "ingest,processor,stats"], &environment);
    let _other = Headwater::start(&["serve", "--role", "processor"], &environment);
    let (client, connection) = tokio_postgres::connect(&postgres.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let owners =
        "SELECT count(DISTINCT owner) FROM headwater.offsets WHERE stream = 'page-events' AND owner IS NOT NULL";
    let begun = Instant::now();
    // Publishing before both have their partitions would say nothing of how they share.
    while client.query_one(owners, &[]).await.map_or(0, |row| row.get::<_, i64>(0)) < 2 {
        assert!(begun.elapsed() < SETTLE_MAX, "the second processor got no partition");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::task::block_in_place(|| every_figure_is_right(&platform));
    let shares = "SELECT o.owner, sum(b.stored)::bigint FROM headwater.batches b JOIN headwater.offsets o \
                  USING (stream, partition) WHERE b.stream = 'page-events' AND b.epoch = o.epoch GROUP BY o.owner";
    let shares: Vec<(String, i64)> =
        client.query(shares, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let total: i64 = shares.iter().map(|(_, stored)| stored).sum();
    println!("stored by owner: {shares:?}");
    assert_eq!(shares.len(), 2);
    assert!(
        shares.iter().all(|(_, stored)| stored * 4 >= total),
        "one processor stored less than a quarter: {shares:?}"
    );
}
