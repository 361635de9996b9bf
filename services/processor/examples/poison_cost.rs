//! What poison costs: the processor's rate with one record in a hundred that cannot be an event, and without, in turns.
//!
//! `cargo run -p headwater-processor --example poison_cost -- [rounds] [records] [kind]`, with the four
//! HEADWATER_TEST_… variables of `cargo xtask parts env`. Each side of a round fills a topic of its own with as many
//! records, and then starts a processor; what is measured lies between the first tenth stored and the last. Without a
//! kind (unframed, malformed, invalid, unknown) all four are mixed.
#![allow(clippy::unwrap_used, reason = "a measurement, run by hand")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_contracts::{Contracts, StreamContract};
use headwater_event_log::kafka::{KafkaLog, KafkaOptions};
use headwater_event_log::registry::ConfluentRegistry;
use headwater_event_log::{NewRecord, ProtoSchema, TopicSpec, frame};
use headwater_history::postgres::{PostgresHistory, PostgresOptions};
use headwater_live::redis::{RedisLive, RedisOptions};
use headwater_processor::{Outside, Processor, ProcessorOptions};
use prost::Message;
use prost_types::Timestamp;
use tokio_util::sync::CancellationToken;

const PARTITIONS: i32 = 4;
const ONE_IN: usize = 100;
const USERS: usize = 5000;
const WINDOW_MAX_MS: i64 = 86_400_000;
const KINDS: [&str; 4] = ["unframed", "malformed", "invalid", "unknown"];

#[derive(Clone, PartialEq, Message)]
struct Visit {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    at: Option<Timestamp>,
    #[prost(string, tag = "3")]
    user: String,
    #[prost(string, tag = "4")]
    page: String,
}

/// Records per second, and per second of this process's CPU.
#[derive(Clone, Copy)]
struct Rate {
    per_s: f64,
    per_cpu_s: f64,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(5, |text| text.parse().unwrap());
    let records: usize = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    let kinds: Vec<String> = match arguments.next() {
        Some(kind) => vec![kind],
        None => KINDS.map(str::to_owned).to_vec(),
    };
    let (mut clean, mut poisoned) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // The order alternates, so that neither side always finds the servers warm.
        let sides = if round % 2 == 0 { [false, true] } else { [true, false] };
        for is_poisoned in sides {
            let rate = run(records, if is_poisoned { &kinds } else { &[] }).await;
            if is_poisoned { &mut poisoned } else { &mut clean }.push(rate);
        }
        let (a, b) = (clean[round], poisoned[round]);
        println!("round {round}: clean {:.0}/s, poison {:.0}/s", a.per_s, b.per_s);
    }
    let (clean, poisoned) = (median(&clean), median(&poisoned));
    for (name, rate) in [("clean", clean), ("1 % poison", poisoned)] {
        println!("{name}: {:.0} records/s, {:.0} records per CPU-second", rate.per_s, rate.per_cpu_s);
    }
    println!(
        "ratio: {:.3} of the rate, {:.3} of the work per CPU-second",
        poisoned.per_s / clean.per_s,
        poisoned.per_cpu_s / clean.per_cpu_s
    );
}

async fn run(records: usize, kinds: &[String]) -> Rate {
    let name = format!("poison-cost-{}", now().as_nanos());
    let folder = std::env::temp_dir().join(&name);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("visit.proto"), contract(&name)).unwrap();
    let contracts = Arc::new(Contracts::with_path(&folder).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    let stream = Arc::clone(contracts.stream(&name).unwrap());
    let outside = outside(&name);
    fill(&outside, &stream, records, kinds).await;

    let stop = CancellationToken::new();
    let meter = opentelemetry::global::meter("poison_cost");
    let processor = Processor::new(options(&name), contracts, outside.clone(), Arc::new(|_, _| {}), &meter);
    let running = tokio::spawn(processor.run(stop.clone()));
    let stored = || async {
        let progress = outside.history.progress(&stream.schema).await.unwrap_or_default();
        progress.iter().map(|partition| partition.next as usize).sum::<usize>()
    };
    let reach = async |wanted: usize| {
        loop {
            let stored = stored().await;
            if stored >= wanted {
                return (stored, Instant::now(), cpu_s());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (first, began, cpu_began) = reach(records / 10).await;
    let (last, ended, cpu_ended) = reach(records).await;
    assert_eq!(last, records);
    stop.cancel();
    running.await.unwrap();
    let done = (last - first) as f64;
    Rate { per_s: done / (ended - began).as_secs_f64(), per_cpu_s: done / (cpu_ended - cpu_began) }
}

async fn fill(outside: &Outside, stream: &StreamContract, records: usize, kinds: &[String]) {
    outside.log.ensure_topic(&spec(&stream.schema.name)).await.unwrap();
    let schema = ProtoSchema { text: stream.text.text.clone(), references: Vec::new() };
    let id = outside.registry.register(&stream.subject, &schema).await.unwrap().id;
    let prefix = frame::prefix(id, &stream.message_indexes);
    let numbers: Vec<usize> = (0..records).collect();
    for chunk in numbers.chunks(5000) {
        let made = chunk.iter().map(|&number| {
            let user = format!("user {}", number % USERS);
            let at = Timestamp { seconds: now().as_secs() as i64, nanos: (number % 1000) as i32 * 1_000_000 };
            let page = format!("/{}", number % 20);
            let visit = Visit { id: format!("{number:032}"), at: Some(at), user: user.clone(), page };
            let kind = (number % ONE_IN == 7).then(|| kinds.get(number / ONE_IN % kinds.len().max(1))).flatten();
            let value = match kind.map(String::as_str) {
                None => [&prefix[..], &visit.encode_to_vec()].concat(),
                Some("unframed") => br#"{"id":"1","user":"anna","page":"/"}"#.to_vec(),
                Some("malformed") => [&prefix[..], &[0xff; 60]].concat(),
                Some("invalid") => [&prefix[..], &Visit { user: String::new(), ..visit }.encode_to_vec()].concat(),
                Some("unknown") => [frame::prefix(999_999, &[0]), visit.encode_to_vec()].concat(),
                Some(other) => panic!("{other} is none of {KINDS:?}"),
            };
            NewRecord { key: user.into_bytes().into(), value: value.into(), headers: Vec::new() }
        });
        for result in outside.log.append(&stream.schema.name, made.collect()).await {
            result.unwrap();
        }
    }
}

fn outside(name: &str) -> Outside {
    let variable =
        |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: cargo xtask parts env"));
    let log = KafkaLog::connect(KafkaOptions::new(variable("HEADWATER_TEST_KAFKA"))).unwrap();
    let registry = ConfluentRegistry::new(&variable("HEADWATER_TEST_REGISTRY"), Duration::from_secs(5)).unwrap();
    let postgres = PostgresOptions::new(variable("HEADWATER_TEST_POSTGRES"));
    let history = PostgresHistory::connect(&PostgresOptions { schema: name.replace('-', "_"), ..postgres });
    let live = RedisLive::new(RedisOptions {
        urls: vec![variable("HEADWATER_TEST_REDIS")],
        cluster: false,
        prefix: name.to_owned(),
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(10),
        window_max_ms: WINDOW_MAX_MS,
        members_max: 10_000_000,
    });
    Outside {
        log: Arc::new(log),
        registry: Arc::new(registry),
        history: Arc::new(history.unwrap()),
        live: Arc::new(live.unwrap()),
    }
}

fn options(name: &str) -> ProcessorOptions {
    ProcessorOptions {
        group: name.to_owned(),
        owner: "poison_cost".into(),
        topic: spec(""),
        dead_letter_suffix: "-dead-letters".into(),
        batch_records_max: 5000,
        batch_bytes_max: 4 << 20,
        batch_linger: Duration::from_millis(50),
        retry_max: Duration::from_secs(2),
        rule_spans_max: 200_000,
        window_max_ms: WINDOW_MAX_MS,
        shards: 1,
        live_queue_max: 64,
        batches_kept_ms: 90_000_000,
        events_kept_days: 0,
        upkeep_interval: Duration::from_secs(60),
    }
}

fn spec(name: &str) -> TopicSpec {
    let name = name.to_owned();
    TopicSpec { name, partitions: PARTITIONS, replication: 1, min_insync: 1, retention_ms: 86_400_000 }
}

fn contract(name: &str) -> String {
    format!(
        "syntax = \"proto3\";
package acme;
import \"buf/validate/validate.proto\";
import \"google/protobuf/timestamp.proto\";
import \"headwater/stream/v1/stream.proto\";
message Visit {{
  option (headwater.stream.v1.stream) = {{
    name: \"{name}\" id: \"id\" key: \"user\" time: \"at\"
    stats: {{ name: \"pages\" top: {{ field: \"page\" }} }}
  }};
  string id = 1 [(buf.validate.field).string.min_len = 1];
  google.protobuf.Timestamp at = 2 [(buf.validate.field).required = true];
  string user = 3 [(buf.validate.field).string.min_len = 1];
  string page = 4 [(buf.validate.field).string.min_len = 1];
}}
"
    )
}

fn median(rates: &[Rate]) -> Rate {
    let middle = |of: fn(&Rate) -> f64| {
        let mut all: Vec<f64> = rates.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Rate { per_s: middle(|rate| rate.per_s), per_cpu_s: middle(|rate| rate.per_cpu_s) }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Seconds of CPU that this process has used: fields 14 and 15 of its stat, in hundredths.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = |index: usize| fields.split_whitespace().nth(index).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
