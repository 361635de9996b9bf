//! Live statistics that are lost come back by themselves, also where the history keeps no batch to replay.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_contracts::{Contracts, v1};
use headwater_event_log::registry::SqliteRegistry;
use headwater_event_log::sqlite::{SqliteLog, SqliteLogOptions};
use headwater_event_log::{EventLog, NewRecord, ProtoSchema, SchemaRegistry, TopicSpec, frame};
use headwater_history::sqlite::SqliteHistory;
use headwater_history::{GenerationState, History};
use headwater_live::memory::MemoryLive;
use headwater_live::{Figure, Figures, GenerationKey, LiveStatistics, ReadRequest};
use headwater_processor::{Outside, Processor, ProcessorOptions};
use prost::Message;
use tokio_util::sync::CancellationToken;

const STREAM: &str = "transactions";
const EVENTS: usize = 12_000;
const WAIT_MAX: Duration = Duration::from_secs(30);

fn spec(name: &str) -> TopicSpec {
    TopicSpec { name: name.into(), partitions: 2, replication: 1, min_insync: 1, retention_ms: 3_600_000 }
}

fn options() -> ProcessorOptions {
    ProcessorOptions {
        group: "g".into(),
        owner: "test".into(),
        topic: spec(""),
        dead_letter_suffix: "-dead-letters".into(),
        batch_records_max: 500,
        batch_bytes_max: 1 << 20,
        batch_linger: Duration::from_millis(5),
        retry_max: Duration::from_millis(100),
        rule_spans_max: 1000,
        window_max_ms: 86_400_000,
        shards: 3,
        live_queue_max: 8,
        batches_kept_ms: 86_400_000,
        events_kept_days: 0,
        upkeep_interval: Duration::from_secs(60),
    }
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < WAIT_MAX, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_is_replayed_or_rebuilt_from_rows() {
    let contracts = Arc::new(Contracts::shipped().unwrap());
    let stream = Arc::clone(contracts.stream(STREAM).unwrap());
    let log = Arc::new(SqliteLog::open(None, SqliteLogOptions::default()).unwrap());
    let registry = Arc::new(SqliteRegistry::open(None).unwrap());
    let history = Arc::new(SqliteHistory::open(None).unwrap());
    let live = Arc::new(MemoryLive::new(86_400_000));
    let schema = ProtoSchema { text: stream.text.text.clone(), references: Vec::new() };
    let id = registry.register(&stream.subject, &schema).await.unwrap().id;
    log.ensure_topic(&spec(STREAM)).await.unwrap();
    let outside = Outside {
        log: Arc::clone(&log) as _,
        registry: registry as _,
        history: Arc::clone(&history) as _,
        live: Arc::clone(&live) as _,
    };
    let stop = CancellationToken::new();
    let meter = opentelemetry::global::meter("test");
    let processor = Processor::new(options(), Arc::clone(&contracts), outside, Arc::new(|_, _| {}), &meter);
    let running = tokio::spawn(processor.run(stop.clone()));

    let prefix = frame::prefix(id, &stream.message_indexes);
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    for chunk in (0..EVENTS).collect::<Vec<_>>().chunks(1000) {
        let records = chunk.iter().map(|n| {
            let transaction = v1::event::Transaction {
                transaction_id: format!("t{n}"),
                account_number: format!("a{}", n % 7),
                transaction_reference: String::new(),
                transaction_datetime: Some(prost_types::Timestamp { seconds: now_ms() / 1000, nanos: 0 }),
                amount: *n as f64 / 100.0,
            };
            let value = [prefix.clone(), transaction.encode_to_vec()].concat();
            NewRecord { key: transaction.account_number.into_bytes().into(), value: value.into(), headers: Vec::new() }
        });
        for position in log.append(STREAM, records.collect()).await {
            let position = position.unwrap();
            let end = ends.entry(position.partition).or_insert(0);
            *end = (position.offset + 1).max(*end);
        }
    }
    let generation = |generation| GenerationKey { stream: STREAM.into(), generation, shards: 3 };
    let read_of = async |number| {
        let request = ReadRequest {
            stat: 0,
            kind: stream.schema.stats[0].kind,
            key: None,
            window: None,
            as_of_ms: now_ms(),
            skip: 0,
            limit: 100,
        };
        let figures = live.read(&generation(number), &request).await.unwrap();
        (figures.applied == ends).then_some(figures)
    };
    let read = || read_of(1);
    let right: Figures = eventually("every event counted", read).await;
    let units = right.entries.iter().map(|(_, figure)| match figure {
        Figure::Units(units) => *units,
        Figure::Overflowed => panic!("no sum is that great"),
    });
    assert_eq!((right.key_count, units.sum::<i64>()), (7, (0..EVENTS as i64).sum::<i64>()));

    live.clear();
    assert_eq!(eventually("what was emptied", read).await, right, "replayed from batches");

    // The newest batch of a partition is always kept: everything before it comes from rows.
    assert!(history.prune(&stream.schema, now_ms() + 1_000_000, None).await.unwrap() > 0);
    for &partition in ends.keys() {
        assert_eq!(history.batches(&stream.schema, partition, None, 100).await.unwrap().len(), 1);
    }
    live.clear();
    assert_eq!(eventually("what was pruned", read).await, right, "rebuilt from rows");

    // A new generation is built of rows too, and read only when it is whole.
    history.build_generation(&stream.schema, "test").await.unwrap();
    let current = || async {
        let newest = history.generations(&stream.schema).await.unwrap().remove(0);
        (newest.state == GenerationState::Current).then_some(newest.generation.number)
    };
    assert_eq!(eventually("the new generation", current).await, 2);
    assert_eq!(read_of(2).await, Some(right), "built beside");
    stop.cancel();
    running.await.unwrap();
}
