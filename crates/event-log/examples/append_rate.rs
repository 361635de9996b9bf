//! How fast records are appended and read: librdkafka bare, `KafkaLog` on it, and `SqliteLog`, in turns.
//!
//! `HEADWATER_TEST_KAFKA=127.0.0.1:9092 cargo run --release -p headwater-event-log --example append_rate`
#![allow(clippy::unwrap_used, reason = "a measurement, run by hand")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_event_log::kafka::{KafkaLog, KafkaOptions};
use headwater_event_log::sqlite::{Durability, SqliteLog, SqliteLogOptions};
use headwater_event_log::{EventLog, MemberEvent, NewRecord, TopicSpec};
use headwater_testkit::{KAFKA, require, unique};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

const RECORDS: usize = 1_000_000;
const BATCH: usize = 500;
const VALUE_BYTES: usize = 200;
const PARTITIONS: i32 = 8;
/// Calls of `append` under way at a time.
const CALLS: usize = 64;
const ROUNDS: usize = 4;

struct Count(AtomicUsize);

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, _: usize) {
        assert!(result.is_ok());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Records per second, and nanoseconds of this process's CPU per record.
#[derive(Clone, Copy)]
struct Rate {
    per_s: f64,
    cpu_ns: f64,
}

struct Stopwatch {
    began: Instant,
    cpu_s: f64,
}

impl Stopwatch {
    fn start() -> Self {
        Self { began: Instant::now(), cpu_s: cpu_s() }
    }

    fn stop(self) -> Rate {
        let (wall_s, cpu_s) = (self.began.elapsed().as_secs_f64(), cpu_s() - self.cpu_s);
        Rate { per_s: RECORDS as f64 / wall_s, cpu_ns: cpu_s * 1e9 / RECORDS as f64 }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0}/s ({:.0} ns)", self.per_s, self.cpu_ns)
    }
}

/// User and system time of this process, in seconds: Linux counts hundredths.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

fn spec(name: &str) -> TopicSpec {
    TopicSpec { name: name.into(), partitions: PARTITIONS, replication: 1, min_insync: 1, retention_ms: 3_600_000 }
}

fn batch(number: usize) -> Vec<NewRecord> {
    let record = |n: usize| NewRecord {
        key: Bytes::from(format!("user-{}", (number * BATCH + n) % 5000)),
        // What compression cannot make smaller.
        value: (0..VALUE_BYTES).map(|_| rand::random::<u8>()).collect(),
        headers: Vec::new(),
    };
    (0..BATCH).map(record).collect()
}

/// `queue` records under way at a time.
fn bare(topic: &str, queue: usize) -> Rate {
    let queue = queue.to_string();
    let config: ClientConfig = [
        ("bootstrap.servers", require(KAFKA).as_str()),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("partitioner", "murmur2_random"),
        ("linger.ms", "5"),
        ("compression.type", "lz4"),
        ("queue.buffering.max.messages", &queue),
        ("queue.buffering.max.kbytes", "262144"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into_iter()
    .collect();
    let producer: ThreadedProducer<Count> =
        ThreadedProducer::from_config_and_context(&config, Count(AtomicUsize::new(0))).unwrap();
    let batches: Vec<_> = (0..100).map(batch).collect();
    let watch = Stopwatch::start();
    for n in 0..RECORDS / BATCH {
        for (place, record) in batches[n % batches.len()].iter().enumerate() {
            let mut message = BaseRecord::with_opaque_to(topic, place).payload(&record.value[..]).key(&record.key[..]);
            while let Err((_, back)) = producer.send(message) {
                message = back;
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(producer.context().0.load(Ordering::Relaxed), RECORDS);
    watch.stop()
}

async fn append(log: Arc<dyn EventLog>, topic: &str) -> Rate {
    let batches: Arc<Vec<_>> = Arc::new((0..100).map(batch).collect());
    let next = Arc::new(AtomicUsize::new(0));
    let watch = Stopwatch::start();
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let (log, batches, next, topic) = (log.clone(), batches.clone(), next.clone(), topic.to_owned());
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= RECORDS / BATCH {
                        break;
                    }
                    let results = log.append(&topic, batches[n % batches.len()].clone()).await;
                    assert!(results.iter().all(Result::is_ok), "{:?}", results.iter().find(|r| r.is_err()));
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    watch.stop()
}

fn bare_read(topic: &str) -> Rate {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", require(KAFKA))
        .set("group.id", unique("bare"))
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let watch = Stopwatch::start();
    let mut seen = 0;
    while seen < RECORDS {
        seen += usize::from(consumer.poll(Duration::from_secs(1)).is_some_and(|message| message.is_ok()));
    }
    watch.stop()
}

async fn read(log: Arc<dyn EventLog>, topic: &str) -> Rate {
    let mut member = log.join(&unique("read"), &[topic.to_owned()]).await.unwrap();
    let Ok(MemberEvent::Assigned(partitions)) = member.next_event().await else { panic!("no partitions") };
    let watch = Stopwatch::start();
    let at = partitions.into_iter().map(|partition| (partition, 0)).collect();
    let seen = Arc::new(AtomicUsize::new(0));
    let (done, mut all) = tokio::sync::mpsc::channel::<()>(1);
    for mut reader in member.start(at).await.unwrap() {
        let (seen, done) = (seen.clone(), done.clone());
        tokio::spawn(async move {
            while let Ok(records) = reader.read(5000, 4 << 20, Duration::from_millis(5)).await {
                if seen.fetch_add(records.len(), Ordering::Relaxed) + records.len() == RECORDS {
                    let _ = done.send(()).await;
                }
            }
        });
    }
    all.recv().await;
    let rate = watch.stop();
    member.leave().await;
    rate
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let kafka: Arc<dyn EventLog> = Arc::new(KafkaLog::connect(KafkaOptions::new(require(KAFKA))).unwrap());
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=ROUNDS {
        let (floor, product) = (unique("bare"), unique("product"));
        for topic in [&floor, &product] {
            kafka.ensure_topic(&spec(topic)).await.unwrap();
        }
        let wide = {
            let topic = floor.clone();
            move || bare(&topic, 200_000)
        };
        let narrow = {
            let topic = unique("narrow");
            kafka.ensure_topic(&spec(&topic)).await.unwrap();
            move || bare(&topic, CALLS * BATCH)
        };
        let (wide, narrow, rate) = if round % 2 == 1 {
            let wide = tokio::task::spawn_blocking(wide).await.unwrap();
            let narrow = tokio::task::spawn_blocking(narrow).await.unwrap();
            (wide, narrow, append(kafka.clone(), &product).await)
        } else {
            let rate = append(kafka.clone(), &product).await;
            let narrow = tokio::task::spawn_blocking(narrow).await.unwrap();
            (tokio::task::spawn_blocking(wide).await.unwrap(), narrow, rate)
        };
        println!(
            "{round} append: rdkafka {wide} with 200,000 under way, {narrow} with as many as KafkaLog, KafkaLog \
             {rate}, ratio {:.2}",
            rate.per_s / wide.per_s.max(narrow.per_s)
        );
        let bare_topic = floor.clone();
        let floor_rate = tokio::task::spawn_blocking(move || bare_read(&bare_topic)).await.unwrap();
        let rate = read(kafka.clone(), &product).await;
        println!("{round} read:   rdkafka {floor_rate}, KafkaLog {rate}, ratio {:.2}", rate.per_s / floor_rate.per_s);
        for (name, path, durability) in [
            ("file, machine", Some(format!("m{round}")), Durability::Machine),
            ("file, process", Some(format!("p{round}")), Durability::Process),
            ("memory", None, Durability::Process),
        ] {
            let path = path.map(|path| dir.path().join(path));
            let options = SqliteLogOptions { durability, ..SqliteLogOptions::default() };
            let log: Arc<dyn EventLog> = Arc::new(SqliteLog::open(path.as_deref(), options).unwrap());
            log.ensure_topic(&spec("t")).await.unwrap();
            let appended = append(log.clone(), "t").await;
            let read = read(log, "t").await;
            println!("{round} SqliteLog, {name}: append {appended}, read {read}");
        }
    }
}
