//! How the process starts, ends, and comes back: `headwater dev` as a shell or a supervisor sees it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use headwater_contracts::v1::event::PageEvent;
use headwater_contracts::v1::ingest::PublishStreamRequest;
use headwater_contracts::v1::stats::{StatQuery, SubscribeStatsRequest};
use prost::Message;
use support::calls::{
    PAGES, TRANSACTIONS, all_of, click, figures, get, history, now_ms, pages, publish, publish_all, query, reason,
    reason_of_record, record, rejected, seconds, stored_pages, timestamp, transaction, transactions,
};
use support::process::{Headwater, Ingest, Stats, command, run, text};
use support::within;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// What a supervisor may wait before it kills.
const END_MAX: Duration = Duration::from_secs(10);
const VISIBLE_MAX: Duration = Duration::from_secs(20);

#[tokio::test]
async fn wrong_settings_stop_the_start_and_are_all_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = text(folder.path().join("headwater.toml"));
    std::fs::write(&file, "[kafka]\nlinger_ms = -1\nlinger = 5\n[redis]\nurl = \"http://user:hush@host\"\n").unwrap();
    for serving in [&["dev"][..], &["serve", "--role", "ingest"]] {
        let mut command = command(serving);
        command.args(["--config", &file, "--topics-partitions", "none", "--dev-rate", "-1"]);
        command.env("HEADWATER_INGEST_BATCH_RECORDS_MAX", "many").env("HEADWATER_LISTEN_GRCP", "127.0.0.1:1");
        let output = run(command).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{said}");
        for (key, origin) in [
            ("kafka.linger_ms", file.as_str()),
            ("kafka.linger ", file.as_str()),
            ("redis.url", file.as_str()),
            ("topics.partitions", "--topics-partitions"),
            ("dev.rate", "--dev-rate"),
            ("ingest.batch_records_max", "HEADWATER_INGEST_BATCH_RECORDS_MAX"),
            ("HEADWATER_LISTEN_GRCP", ""),
        ] {
            let line = said.lines().find(|line| line.trim_start().starts_with(key));
            assert!(line.is_some_and(|line| line.contains(origin)), "{key} by {origin} is not named:\n{said}");
        }
        assert!(!said.contains("hush"), "a password is shown:\n{said}");
    }
}

#[tokio::test]
async fn settings_are_told_beside_other_programs_variables_and_to_nobody() {
    let mut others = command(&["settings"]);
    let names = ["HEADWATER_TOKEN", "HEADWATER_SCALA_HOME", "HEADWATER_JAVA_OPTS"];
    others.envs(names.map(|name| (name, "x"))).env("HEADWATER_KAFKA_LINGER_MS", "7");
    let output = run(others).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("HEADWATER_KAFKA_LINGER_MS"), "{said}");
    // As `headwater settings | head -1` does: one line, and then nobody reads.
    for json in [&["settings", "--json"][..], &["settings"]] {
        let mut child = command(json).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other, key) in
        [("--listen-grpc", "--listen-http", "listen.grpc"), ("--listen-http", "--listen-grpc", "listen.http")]
    {
        let output = run(command(&["dev", flag, &address, other, "127.0.0.1:0"])).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(said.contains(key) && said.contains(&address), "{said}");
    }
}

#[tokio::test]
async fn it_serves_and_ends_where_nobody_reads_its_log_any_more() {
    let command = command(&["dev", "--dev-rate", "50", "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"]);
    let mut command = tokio::process::Command::from(command);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    // As `headwater dev 2>&1 | head -1` does: one line, and then nobody reads.
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).await.unwrap();
    assert!(!line.is_empty());
    let early = tokio::time::timeout(Duration::from_secs(3), child.wait()).await;
    assert!(early.is_err(), "it ended by itself: {early:?}");
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = tokio::time::timeout(END_MAX, child.wait()).await.expect("it ends when it is told to").unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_process_that_waits_for_every_server_ends_when_it_is_told_to() {
    // Nothing listens on port 1.
    let mut headwater = Headwater::start(&[
        "serve",
        "--role",
        "ingest,processor,stats",
        "--kafka-brokers",
        "127.0.0.1:1",
        "--registry-url",
        "http://127.0.0.1:1",
        "--redis-url",
        "redis://127.0.0.1:1",
        "--postgres-url",
        "postgres://headwater@127.0.0.1:1/headwater",
    ])
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    headwater.signal("TERM");
    let status = headwater.ended(END_MAX).await;
    assert_eq!(status.code(), Some(0), "{}", headwater.log());
    assert!(!headwater.log().contains("did not end in time"), "{}", headwater.log());
}

#[tokio::test]
async fn a_data_folder_is_one_process_s() {
    let folder = tempfile::tempdir().unwrap();
    let data = text(folder.path());
    let headwater = Headwater::dev(&["--data", &data]).await;
    let second = ["dev", "--data", &data, "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"];
    let output = run(command(&second)).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(&data) && said.contains("locked"), "{said}");
    publish_all(&mut headwater.ingest().await, PAGES, pages(&[click("anna", "/")])).await;
}

#[tokio::test]
async fn a_contract_that_does_not_hold_stops_the_start_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let contract = |options: &str| {
        format!(
            "syntax = \"proto3\";\npackage acme;\nimport \"google/protobuf/timestamp.proto\";\n\
             import \"headwater/stream/v1/stream.proto\";\nmessage Order {{\n\
             option (headwater.stream.v1.stream) = {{ name: \"orders\" id: \"id\" key: \"id\" time: \"at\" {options} }};\n\
             string id = 1; google.protobuf.Timestamp at = 2; string note = 3;\n}}\n"
        )
    };
    let start = async || {
        let path = text(folder.path());
        let output = run(command(&[
            "dev",
            "--contracts",
            &path,
            "--listen-grpc",
            "127.0.0.1:0",
            "--listen-http",
            "127.0.0.1:0",
        ]))
        .await;
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    for (options, place) in [
        ("stats: { name: \"total\" sum: { field: \"note\" } }", "note"),
        ("stats: { name: \"total\" top: { field: \"nope\" } }", "nope"),
    ] {
        std::fs::write(folder.path().join("orders.proto"), contract(options)).unwrap();
        let said = start().await;
        for part in ["orders.proto", "Order", "total", place] {
            assert!(said.contains(part), "{part} is not named:\n{said}");
        }
    }
    std::fs::write(folder.path().join("orders.proto"), "syntax = \"proto3\"; message {").unwrap();
    assert!(start().await.contains("orders.proto"));
    std::fs::remove_file(folder.path().join("orders.proto")).unwrap();
    assert!(start().await.contains("no .proto file"));
}

/// `acme.Order`, as the contract of the next test has it.
#[derive(Clone, PartialEq, Message)]
struct Order {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    at: Option<prost_types::Timestamp>,
    #[prost(string, tag = "3")]
    shop: String,
    #[prost(int64, tag = "4")]
    cents: i64,
}

#[tokio::test]
async fn a_contract_of_one_s_own_is_a_stream_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("acme")).unwrap();
    let contract = r#"syntax = "proto3";
package acme;
import "buf/validate/validate.proto";
import "google/protobuf/timestamp.proto";
import "headwater/stream/v1/stream.proto";
message Order {
  option (headwater.stream.v1.stream) = {
    name: "orders" id: "id" key: "shop" time: "at"
    stats: { name: "revenue" sum: { field: "cents" by: "shop" } }
    stats: { name: "shops" distinct: { field: "shop" } }
    rules: { name: "flood" flag_above: { count: 2 per: "shop" every_s: 3600 } where: { field: "cents" equals: "1" } }
  };
  string id = 1 [(buf.validate.field).string.min_len = 1];
  google.protobuf.Timestamp at = 2 [(buf.validate.field).required = true];
  string shop = 3 [(buf.validate.field).string.pattern = "^[a-z]+$"];
  int64 cents = 4;
}
"#;
    std::fs::write(folder.path().join("acme/order.proto"), contract).unwrap();
    let headwater = Headwater::dev(&["--contracts", &text(folder.path())]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let at = now_ms() / 3_600_000 * 3_600_000;
    let order = |id: &str, shop: &str, cents: i64| {
        let order = Order { id: id.into(), at: Some(timestamp(at)), shop: shop.into(), cents };
        record("type.googleapis.com/acme.Order", order.encode_to_vec())
    };
    let mut records = vec![order("1", "north", 1050), order("2", "south", -50), order("3", "NORTH", 1)];
    records.extend((4..8).map(|id| order(&id.to_string(), "south", 1)));
    let answer = publish(&mut ingest, "orders", records).await.unwrap();
    assert_eq!(reason_of_record(&answer.results[2]), "INVALID_FIELD");
    let violation = &rejected(&answer.results[2]).violations[0];
    assert_eq!((violation.field.as_str(), violation.rule.as_str()), ("shop", "string.pattern"));
    let revenue = get(&mut stats, query("orders", "revenue"), &answer.consistency_token).await.unwrap();
    assert_eq!(figures(&revenue), [("north", 1050), ("south", -48)], "two of the four single cents were let through");
    assert_eq!(revenue.values[0].text, "1050");
    assert_eq!(figures(&get(&mut stats, query("orders", "shops"), "").await.unwrap()), [("", 2)]);
    let stored = history(&mut stats, all_of("orders")).await.unwrap();
    assert_eq!(stored.events.iter().filter(|event| event.flagged_by.is_some()).count(), 2);
    assert_eq!(Order::decode(stored.events[0].event.as_ref().unwrap().value.as_slice()).unwrap().cents, 1050);
    // The shipped ones are there too.
    publish_all(&mut ingest, PAGES, pages(&[click("anna", "/")])).await;
}

/// Publishers that go on until their connection ends.
struct Load {
    publishers: Vec<tokio::task::JoinHandle<Published>>,
}

#[derive(Default)]
struct Published {
    /// Everything that was sent, answered or not.
    sent: Vec<PageEvent>,
    acknowledged: usize,
}

impl Load {
    async fn start(headwater: &Headwater) -> Self {
        let mut publishers = Vec::new();
        for publisher in 0..4 {
            let mut ingest = headwater.ingest().await;
            publishers.push(tokio::spawn(async move {
                let mut published = Published::default();
                loop {
                    let batch: Vec<PageEvent> =
                        (0..20).map(|n| click(&format!("user {publisher} {n}"), "/load")).collect();
                    published.sent.extend(batch.iter().cloned());
                    match publish(&mut ingest, PAGES, pages(&batch)).await {
                        Ok(answer) => published.acknowledged += answer.results.len(),
                        Err(_) => return published,
                    }
                }
            }));
        }
        Self { publishers }
    }

    async fn ended(self) -> Vec<Published> {
        let mut all = Vec::new();
        for publisher in self.publishers {
            all.push(publisher.await.unwrap());
        }
        all
    }
}

#[tokio::test]
async fn sigterm_and_sigint_drain_under_load() {
    for name in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let data = text(folder.path());
        let mut headwater = Headwater::dev(&["--data", &data]).await;
        assert!(headwater.greeting().contains(&headwater.grpc().to_string()), "{}", headwater.greeting());

        let mut health = HealthClient::new(headwater.channel().await);
        let mut told = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert_eq!(told.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
        let (batches, requests) = mpsc::channel(1);
        let mut answers =
            headwater.ingest().await.publish_stream(ReceiverStream::new(requests)).await.unwrap().into_inner();
        let one =
            PublishStreamRequest { sequence: 1, stream: PAGES.into(), records: pages(&[click("streamer", "/s")]) };
        batches.send(one).await.unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap().sequence, 1);
        let request =
            SubscribeStatsRequest { queries: vec![query(PAGES, "top_pages")], ..SubscribeStatsRequest::default() };
        let mut figures_told = headwater.stats().await.subscribe_stats(request).await.unwrap().into_inner();
        let load = Load::start(&headwater).await;
        tokio::time::sleep(Duration::from_millis(700)).await;

        headwater.signal(name);
        let began = Instant::now();
        assert_eq!(told.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        // The publisher of the stream keeps its side open: the drain must not wait for it.
        while let Some(answer) = answers.next().await {
            answer.unwrap();
        }
        let last = loop {
            match figures_told.next().await {
                Some(Ok(_)) => {}
                Some(Err(status)) => break status,
                None => panic!("{name}: a subscription ends with a reason"),
            }
        };
        assert_eq!(reason(&last).1, "NOT_READY", "{last}");
        let status = headwater.ended(END_MAX).await;
        assert_eq!(status.code(), Some(0), "{name}: {status}\n{}", headwater.log());
        assert!(began.elapsed() < END_MAX);
        assert!(headwater.log().contains("\"connections_cut\":0"), "{name}: {}", headwater.log());
        drop(batches);

        let published = load.ended().await;
        let acknowledged: usize = published.iter().map(|published| published.acknowledged).sum();
        let sent: Vec<PageEvent> = published.into_iter().flat_map(|published| published.sent).collect();
        assert!(acknowledged > 100, "there was load: {acknowledged}");
        let again = Headwater::dev(&["--data", &data]).await;
        let (mut ingest, mut stats) = (again.ingest().await, again.stats().await);
        within(VISIBLE_MAX, "everything acknowledged is counted", || {
            let mut stats = stats.clone();
            async move {
                let top = get(&mut stats, query(PAGES, "top_pages"), "").await.map_err(|status| status.to_string())?;
                let load = top.values.iter().find(|value| value.key == "/load").map_or(0, |value| value.value);
                if load >= acknowledged as i64 { Ok(()) } else { Err(format!("{load} of {acknowledged}")) }
            }
        })
        .await;
        counted_once(&mut ingest, &mut stats, &sent, 1).await;
    }
}

/// Publishes everything again, whether it was acknowledged or not, and compares with what was ever sent.
async fn counted_once(ingest: &mut Ingest, stats: &mut Stats, sent: &[PageEvent], others: i64) {
    let mut token = String::new();
    for batch in sent.chunks(1000) {
        token = publish_all(ingest, PAGES, pages(batch)).await;
        get(stats, query(PAGES, "top_pages"), &token).await.unwrap();
    }
    let asked = StatQuery { limit: 100, ..query(PAGES, "top_pages") };
    let top = get(stats, asked, &token).await.unwrap();
    assert!(
        top.values.contains(&headwater_contracts::v1::stats::StatValue {
            key: "/load".into(),
            value: sent.len() as i64,
            text: sent.len().to_string(),
            overflowed: false,
        }),
        "{} events were sent, and counted are {:?}",
        sent.len(),
        top.values
    );
    assert_eq!(top.values.iter().filter(|value| value.key != "/load").map(|value| value.value).sum::<i64>(), others);
    assert!(top.complete);
}

#[tokio::test]
async fn a_data_folder_keeps_everything_over_a_restart_and_over_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let data = text(folder.path());
    let windowed = |stream: &str, stat: &str| StatQuery { window: seconds(600), limit: 100, ..query(stream, stat) };
    let asked = [
        query(PAGES, "top_pages"),
        windowed(PAGES, "top_pages"),
        query(PAGES, "active_users"),
        windowed(PAGES, "active_users"),
        windowed(PAGES, "sessions"),
        query(TRANSACTIONS, "account_total"),
        windowed(TRANSACTIONS, "account_total"),
    ];
    let read = async |stats: &mut Stats, tokens: &[String]| {
        let mut all = Vec::new();
        for asked in &asked {
            let token = if asked.stream == PAGES { &tokens[0] } else { &tokens[1] };
            let result = get(stats, asked.clone(), token).await.unwrap();
            assert!(result.complete, "{result:?}");
            all.push((result.values, result.key_count));
        }
        let stored = history(stats, all_of(PAGES)).await.unwrap();
        (all, stored_pages(&stored), stored.events)
    };
    let views: Vec<PageEvent> = (0..14)
        .map(|n| PageEvent {
            timestamp: Some(timestamp(now_ms() / 1000 * 1000 - 3000 + n)),
            event_type: "page_view".into(),
            ..click("bot", "/bot")
        })
        .collect();
    let events: Vec<PageEvent> =
        (0..200).map(|n| click(&format!("user {}", n % 17), &format!("/{}", n % 5))).chain(views).collect();
    let amounts: Vec<_> = (0..50).map(|n| transaction(&format!("account {}", n % 7), 100 * n - 999)).collect();

    let mut headwater = Headwater::dev(&["--data", &data]).await;
    let publish_everything = async |headwater: &Headwater| {
        let mut ingest = headwater.ingest().await;
        let page_token = publish_all(&mut ingest, PAGES, pages(&events)).await;
        vec![page_token, publish_all(&mut ingest, TRANSACTIONS, transactions(&amounts)).await]
    };
    let tokens = publish_everything(&headwater).await;
    let before = read(&mut headwater.stats().await, &tokens).await;
    assert_eq!(before.1.len(), 214);
    assert_eq!(before.0[2].0[0].value, 18, "17 users and the bot");

    headwater.signal("TERM");
    headwater.ended(END_MAX).await;
    let headwater = Headwater::dev(&["--data", &data]).await;
    assert_eq!(read(&mut headwater.stats().await, &tokens).await, before, "after a restart");

    headwater.kill();
    let headwater = Headwater::dev(&["--data", &data]).await;
    assert_eq!(read(&mut headwater.stats().await, &tokens).await, before, "after kill -9");

    let tokens = publish_everything(&headwater).await;
    assert_eq!(read(&mut headwater.stats().await, &tokens).await, before, "the same ids count nothing");

    // Killed in the middle of things: what was acknowledged is there, and what was sent again counts once.
    let load = Load::start(&headwater).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    headwater.kill();
    let published = load.ended().await;
    let acknowledged: usize = published.iter().map(|published| published.acknowledged).sum();
    assert!(acknowledged > 100);
    let sent: Vec<PageEvent> = published.into_iter().flat_map(|published| published.sent).collect();
    let headwater = Headwater::dev(&["--data", &data]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    counted_once(&mut ingest, &mut stats, &sent, 200 + 10).await;
}
