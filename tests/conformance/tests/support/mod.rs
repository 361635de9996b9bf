//! Topics of a test's own, and the programs of each language.
#![allow(dead_code, reason = "each test uses a part")]

mod member;
pub(crate) mod newer;
pub(crate) mod platform;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_conformance::contract;
use headwater_contracts::StreamContract;
use headwater_contracts::v1::event::Transaction;
use headwater_domain::{Value, format_units, partition_of, units_of};
use headwater_event_log::kafka::{KafkaLog, KafkaOptions};
use headwater_event_log::registry::ConfluentRegistry;
use headwater_event_log::{EventLog, NewRecord, TopicSpec, frame};
use headwater_ingest::make_topic;
use headwater_testkit::{KAFKA, REGISTRY, require, unique};
use prost::Message;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value as Json, json};

pub(crate) use self::member::Member;

/// Partitions of each topic.
pub(crate) const PARTITIONS: i32 = 4;
/// How long the registry may take.
const REGISTRY_MAX: Duration = Duration::from_secs(10);
/// How long a record may take to come.
const RECORD_MAX: Duration = Duration::from_secs(10);
/// How long something that is awaited may take: a start, a group that misses a member, an end.
pub(crate) const AWAITED_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at something that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// When a producer that nobody stops ends by itself, in seconds.
const PRODUCER_MAX_S: u32 = 300;

/// The root of the contracts, as they ship.
pub(crate) fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

/// The folder with the texts of contracts that change.
pub(crate) fn evolution(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("evolution").join(name)
}

/// The counts of a summary, for whoever reads the test's output.
pub(crate) fn counts(summary: &Json) -> Json {
    let mut counts = summary.clone();
    if let Some(accounts) = summary["sums"].as_object().map(serde_json::Map::len) {
        counts["sums"] = json!(format!("of {accounts} accounts, as the topic's"));
    }
    counts
}

/// Looks until there is an answer.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < AWAITED_MAX, "{what}: not within {AWAITED_MAX:?}");
        sleep(LOOK_EVERY);
    }
}

/// A language that has a producer and a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    Python,
    Scala,
}

/// A topic of a test's own, with the schema of the transaction.
pub(crate) struct Topic {
    pub(crate) name: String,
    kafka: String,
    pub(crate) registry: String,
    pub(crate) runtime: tokio::runtime::Runtime,
    log: KafkaLog,
}

/// What a topic holds, read without any of the programs.
pub(crate) struct Read {
    /// Framed transactions.
    pub(crate) transactions: u64,
    /// Where the partitions end, added up.
    pub(crate) end: i64,
    /// Partitions that have a record.
    pub(crate) partitions: usize,
    /// By account, as summaries show them.
    pub(crate) sums: BTreeMap<String, Json>,
}

impl Language {
    pub(crate) const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::Scala];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Scala => "scala",
        }
    }

    /// A program of the language.
    pub(crate) fn program(self, name: &str) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (variable, folder, build) = match self {
            Self::Rust if name == "headwater-produce-transactions" => {
                return env!("CARGO_BIN_EXE_headwater-produce-transactions").into();
            }
            Self::Rust => return env!("CARGO_BIN_EXE_headwater-consume-transactions").into(),
            Self::Python => {
                ("HEADWATER_TEST_PYTHON_PROGRAMS", "clients/python/.venv/bin", "`uv sync` in clients/python")
            }
            Self::Scala => {
                ("HEADWATER_TEST_SCALA_PROGRAMS", "clients/scala/bin", "`mvn package -DskipTests` in clients/scala")
            }
        };
        let folder = std::env::var_os(variable).map_or_else(|| root.join(folder), PathBuf::from);
        let program = folder.join(name);
        assert!(program.exists(), "{} is not there: {build} makes it, or {variable} says where", program.display());
        program
    }

    /// Runs the producer; its summary. It must refuse nothing.
    pub(crate) fn produce(self, topic: &Topic, more: &[&str]) -> Json {
        let command = Command::new(self.program("headwater-produce-transactions"));
        summary(command, topic, more)
    }

    /// Runs the consumer in a group of its own; its summary.
    pub(crate) fn consume(self, topic: &Topic, group: &str, more: &[&str]) -> Json {
        let mut command = Command::new(self.program("headwater-consume-transactions"));
        command.args(["-g", &format!("{}-{group}-{}", topic.name, self.name())]).arg("--quiet");
        summary(command, topic, more)
    }

    /// Runs the consumer in a group; its exit code, and what it said.
    pub(crate) fn ends(self, topic: &Topic, group: &str, more: &[&str]) -> (Option<i32>, String) {
        self.run("headwater-consume-transactions", topic, &[&["-g", group], more].concat())
    }

    /// Runs the producer; its exit code, and what it said.
    pub(crate) fn produces(self, topic: &Topic, more: &[&str]) -> (Option<i32>, String) {
        self.run("headwater-produce-transactions", topic, more)
    }

    fn run(self, program: &str, topic: &Topic, more: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(self.program(program));
        command.args(["-b", &topic.kafka, "-s", &topic.registry, "-t", &topic.name]).args(more);
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
    }

    /// Starts the consumer as a member of a group; what it says goes to files of the folder.
    pub(crate) fn member(self, topic: &Topic, group: &str, folder: &Path, more: &[&str]) -> Member {
        Member::start(self.program("headwater-consume-transactions"), topic, folder, &[&["-g", group], more].concat())
    }

    /// Starts the producer at a rate, until it is stopped.
    pub(crate) fn producer(self, topic: &Topic, folder: &Path, rate: u32) -> Member {
        let (rate, count) = (rate.to_string(), (rate * PRODUCER_MAX_S).to_string());
        let more = ["--rate", &rate, "--count", &count];
        Member::start(self.program("headwater-produce-transactions"), topic, folder, &more)
    }
}

/// Runs a program to its end, which must be in order; its summary.
pub(crate) fn summary(mut command: Command, topic: &Topic, more: &[&str]) -> Json {
    let file = tempfile::NamedTempFile::new().unwrap();
    command.args(["-b", &topic.kafka, "-s", &topic.registry, "-t", &topic.name]).args(more);
    let Output { status, stdout, stderr } = command.arg("--summary").arg(file.path()).output().unwrap();
    let said = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(status.success(), "{command:?} ended with {status}:\n{said}");
    let summary = std::fs::read_to_string(file.path()).unwrap();
    serde_json::from_str(&summary).unwrap_or_else(|error| panic!("{command:?}: {error}: {summary:?}\n{said}"))
}

impl Topic {
    /// Makes it as `headwater contracts register` does.
    pub(crate) fn make(prefix: &str) -> Self {
        let (kafka, registry) = (require(KAFKA), require(REGISTRY));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let log = runtime.block_on(async { KafkaLog::connect(KafkaOptions::new(&kafka)) }).unwrap();
        let topic = Self { name: unique(prefix), kafka, registry, runtime, log };
        topic.register(&contract(None).unwrap());
        topic
    }

    /// Registers a contract of the transaction as the newest; its id.
    pub(crate) fn register(&self, stream: &StreamContract) -> u32 {
        self.try_register(stream).unwrap()
    }

    /// The same, where it may be refused.
    pub(crate) fn try_register(&self, stream: &StreamContract) -> Result<u32, String> {
        let spec = TopicSpec {
            name: self.name.clone(),
            partitions: PARTITIONS,
            replication: 1,
            min_insync: 1,
            retention_ms: 86_400_000,
        };
        let registry = ConfluentRegistry::new(&self.registry, REGISTRY_MAX).unwrap();
        let made = self.runtime.block_on(make_topic(stream, &spec, &self.log, &registry));
        made.map(|made| made.schema_id).map_err(|error| error.to_string())
    }

    /// Appends bytes as they are.
    pub(crate) fn append_foreign(&self, key: &str, value: &[u8]) {
        let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value));
        let record = NewRecord { key, value, headers: Vec::new() };
        self.runtime.block_on(self.log.append(&self.name, vec![record])).remove(0).unwrap();
    }

    /// Appends a transaction of a schema that has one field more.
    pub(crate) fn append_newer(&self, account: &str, amount: f64) {
        let id = self.register(&contract(Some(&evolution("newer"))).unwrap());
        let transaction = Transaction {
            transaction_id: unique("newer"),
            account_number: account.to_owned(),
            transaction_datetime: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
            amount,
            ..Transaction::default()
        };
        // Field 6, three bytes: `currency` of the newer text.
        let newer = [frame::prefix(id, &[0]), transaction.encode_to_vec(), b"\x32\x03EUR".to_vec()].concat();
        self.append_foreign(account, &newer);
    }

    /// Waits until a group has this many members, and each its partitions.
    pub(crate) fn until_stable(&self, group: &str, members: usize) {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.kafka).create().unwrap();
        until(&format!("{group} is stable"), || {
            let list = consumer.fetch_group_list(Some(group), RECORD_MAX).unwrap();
            let seen = list.groups().first()?;
            (seen.state() == "Stable" && seen.members().len() == members).then_some(())
        });
    }

    /// Reads everything, and looks whether each record is on the partition that its key belongs to.
    pub(crate) fn read(&self) -> Read {
        let mut config = ClientConfig::new();
        let consumer: BaseConsumer =
            config.set("bootstrap.servers", &self.kafka).set("group.id", unique("read")).create().unwrap();
        let mut list = TopicPartitionList::new();
        let (mut rest, mut partitions, mut end) = (0, 0, 0);
        for partition in 0..PARTITIONS {
            list.add_partition_offset(&self.name, partition, Offset::Beginning).unwrap();
            let (low, high) = consumer.fetch_watermarks(&self.name, partition, RECORD_MAX).unwrap();
            rest += high - low;
            end += high;
            partitions += usize::from(high > low);
        }
        consumer.assign(&list).unwrap();
        let (mut transactions, mut cents) = (0, BTreeMap::<String, i64>::new());
        for _ in 0..rest {
            let record = consumer.poll(RECORD_MAX).expect("a record").unwrap();
            let key = record.key().expect("a key");
            assert_eq!(record.partition(), partition_of(key, PARTITIONS), "{:?}", String::from_utf8_lossy(key));
            let Ok((_, _, payload)) = frame::parse(record.payload().unwrap()) else { continue };
            let transaction = Transaction::decode(payload).unwrap();
            assert_eq!(transaction.account_number.as_bytes(), key);
            *cents.entry(transaction.account_number).or_default() +=
                units_of(&Value::F64(transaction.amount), 2).unwrap();
            transactions += 1;
        }
        let sums = cents.into_iter().map(|(account, cents)| (account, json!(format_units(cents, 2)))).collect();
        Read { transactions, partitions, end, sums }
    }
}
