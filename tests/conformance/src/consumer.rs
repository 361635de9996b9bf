//! Reads transactions as a member of a group and adds them up by account, with the very code with which the platform takes
//! frames apart and counts.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use headwater_contracts::{StreamContract, message_name_in};
use headwater_domain::{Reason, StatKind, Value, format_units, units_of};
use headwater_event_log::registry::ConfluentRegistry;
use headwater_event_log::{RegisteredSchema, SchemaRegistry, frame};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;
use serde_json::json;
use tokio::runtime::Handle;

use crate::{Failed, contract};

/// How long one look for a record waits.
const POLL: Duration = Duration::from_millis(100);
/// Schemas that are remembered.
const SCHEMAS_MAX: usize = 1000;

/// `headwater-consume-transactions`
#[derive(Debug, clap::Parser)]
#[command(name = "headwater-consume-transactions", about = "Add up the transactions of a topic by account")]
pub struct Args {
    /// Brokers, host:port,host:port
    #[arg(short, long)]
    pub broker: String,
    /// URL of the registry's Confluent API
    #[arg(short, long)]
    pub schema_registry: String,
    /// The topic
    #[arg(short, long)]
    pub topic: String,
    /// The group, which shares the topic's partitions
    #[arg(short, long)]
    pub group: String,
    /// End after so many records, those that cannot be counted too
    #[arg(long)]
    pub count: Option<u64>,
    /// End after so many seconds without a record
    #[arg(long)]
    pub idle_exit: Option<f64>,
    /// Longest wait for the brokers or the registry, in seconds
    #[arg(long, default_value_t = 30)]
    pub timeout: u64,
    /// No line for each message
    #[arg(long)]
    pub quiet: bool,
    /// A folder with a newer contract of the transaction
    #[arg(long)]
    pub contracts: Option<PathBuf>,
    /// File for what was done, as JSON
    #[arg(long)]
    pub summary: Option<PathBuf>,
}

#[derive(Default)]
struct Sums {
    records: u64,
    counted: u64,
    newer_fields: u64,
    skipped: BTreeMap<&'static str, u64>,
    /// Cents and count by account.
    accounts: BTreeMap<String, (i64, u64)>,
}

struct Reader<'a> {
    args: &'a Args,
    stream: &'a StreamContract,
    registry: ConfluentRegistry,
    schemas: HashMap<u32, RegisteredSchema>,
}

/// What a transaction counts, and whether it has fields that are not known.
struct Counted {
    account: String,
    cents: i64,
    newer: bool,
}

/// A reason and a sentence.
type Skipped = (Reason, String);

/// Does it, and gives the exit code. It blocks: not to be called on a thread of the runtime that must go on.
///
/// # Errors
/// All of `Failed`.
pub fn run(args: &Args, runtime: &Handle) -> Result<u8, Failed> {
    let began = Instant::now();
    let stream = contract(args.contracts.as_deref()).map_err(Failed::Input)?;
    let timeout = Duration::from_secs(args.timeout);
    let registry = ConfluentRegistry::new(&args.schema_registry, timeout)
        .map_err(|error| Failed::registry(&args.schema_registry, &error))?;
    let mut reader = Reader { args, stream: &stream, registry, schemas: HashMap::new() };
    let consumer = consumer(args).map_err(|error| kafka(args, error.to_string()))?;
    let mut sums = Sums::default();
    let mut last = Instant::now();
    let idle_max = args.idle_exit.map(Duration::from_secs_f64);
    while args.count.is_none_or(|count| sums.records < count) && idle_max.is_none_or(|idle| last.elapsed() < idle) {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(record)) => {
                last = Instant::now();
                sums.records += 1;
                match runtime.block_on(reader.read(&record))? {
                    Ok(counted) => sums.add(&counted, args.quiet)?,
                    Err((reason, text)) => {
                        let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
                        eprintln!("skipped {topic}[{partition}]@{offset}: {}: {text}", reason.name());
                        *sums.skipped.entry(reason.name()).or_default() += 1;
                    }
                }
            }
            // librdkafka goes on by itself; a broker that stays away ends the wait.
            Some(Err(KafkaError::MessageConsumption(code)))
                if code != RDKafkaErrorCode::UnknownTopicOrPartition
                    && (sums.records > 0 || began.elapsed() <= timeout) => {}
            Some(Err(error)) => return Err(kafka(args, error.to_string())),
        }
    }
    sums.print();
    if let Some(path) = &args.summary {
        let shown: BTreeMap<_, _> =
            sums.accounts.iter().map(|(account, (cents, _))| (account, format_units(*cents, 2))).collect();
        let summary = json!({
            "records": sums.records, "counted": sums.counted, "skipped": sums.skipped,
            "newer_fields": sums.newer_fields, "sums": shown, "seconds": began.elapsed().as_secs_f64(),
        });
        fs::write(path, format!("{summary}\n"))
            .map_err(|error| Failed::Input(format!("{}: {error}", path.display())))?;
    }
    Ok(0)
}

fn kafka(args: &Args, error: String) -> Failed {
    Failed::Kafka { broker: args.broker.clone(), error: format!("topic {}: {error}", args.topic) }
}

fn consumer(args: &Args) -> Result<BaseConsumer, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &args.broker)
        .set("group.id", &args.group)
        .set("allow.auto.create.topics", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .create()?;
    consumer.subscribe(&[&args.topic])?;
    Ok(consumer)
}

impl Reader<'_> {
    async fn read(&mut self, record: &BorrowedMessage<'_>) -> Result<Result<Counted, Skipped>, Failed> {
        let Some(value) = record.payload() else {
            return Ok(Err((Reason::BadFrame, "the record has no value".into())));
        };
        let (id, indexes, payload) = match frame::parse(value) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Err((Reason::BadFrame, error.to_string()))),
        };
        if !self.schemas.contains_key(&id) {
            let found = self.registry.schema(id).await;
            let found = found.map_err(|error| Failed::registry(&self.args.schema_registry, &error))?;
            let Some(found) = found else {
                return Ok(Err((Reason::UnknownSchema, format!("the registry has no schema {id}"))));
            };
            if self.schemas.len() >= SCHEMAS_MAX {
                self.schemas.clear();
            }
            self.schemas.insert(id, found);
        }
        let name = message_name_in(&self.schemas[&id].schema.text, &indexes).unwrap_or_default();
        if name != self.stream.schema.message {
            return Ok(Err((Reason::WrongSchema, format!("schema {id} has {name:?} at {indexes:?}"))));
        }
        Ok(counted(self.stream, payload))
    }
}

/// What the stream's sum counts of a message.
fn counted(stream: &StreamContract, payload: &[u8]) -> Result<Counted, Skipped> {
    let event = stream.check(payload).map_err(|defect| (defect.reason, defect.detail))?;
    let sum = stream.schema.stats.iter().find(|stat| matches!(stat.kind, StatKind::Sum { .. }));
    let sum = sum.ok_or_else(|| (Reason::WrongSchema, "the contract has no sum".to_owned()))?;
    let cents = units_of(&event.values[sum.kind.field()], sum.kind.scale())
        .ok_or_else(|| (Reason::NotInScale, "amount: is not a number of cents".to_owned()))?;
    let Some(Value::Text(account)) = sum.kind.by().map(|by| &event.values[by]) else {
        return Err((Reason::InvalidField, "account_number: is not a text".into()));
    };
    Ok(Counted { account: account.to_string(), cents, newer: !event.unknown.is_empty() })
}

impl Sums {
    fn add(&mut self, counted: &Counted, quiet: bool) -> Result<(), Failed> {
        let (sum, count) = self.accounts.entry(counted.account.clone()).or_default();
        let overflow = || Failed::Input(format!("the sum of {} does not fit 64 bits", counted.account));
        *sum = sum.checked_add(counted.cents).ok_or_else(overflow)?;
        *count += 1;
        self.counted += 1;
        self.newer_fields += u64::from(counted.newer);
        if !quiet {
            println!("({}, {})", counted.account, format_units(*sum, 2));
        }
        Ok(())
    }

    fn print(&self) {
        for (account, (cents, count)) in &self.accounts {
            println!("{account:20} {count:>9} {:>20}", format_units(*cents, 2));
        }
        eprintln!("{} records, {} counted, skipped {:?}", self.records, self.counted, self.skipped);
    }
}
