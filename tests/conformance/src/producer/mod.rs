//! Appends transactions of a file, or made-up ones, through the very code with which the platform appends.

mod input;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use headwater_contracts::StreamContract;
use headwater_event_log::kafka::{KafkaLog, KafkaOptions};
use headwater_event_log::registry::ConfluentRegistry;
use headwater_event_log::{EventLog, NewRecord, SchemaRegistry, frame};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::{EXIT_REFUSED, Failed, contract, indexes_of};

/// Records that are under way at once.
const BATCH_RECORDS: usize = 500;

/// `headwater-produce-transactions`
#[derive(Debug, clap::Parser)]
#[command(name = "headwater-produce-transactions", about = "Append transactions to a topic")]
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
    /// A file of transactions, .csv or else newline-delimited ProtoJSON, - for the standard input; without it they are made up
    #[arg(short, long)]
    pub input: Option<PathBuf>,
    /// How many to make up
    #[arg(long, default_value_t = 1000)]
    pub count: usize,
    /// Of how many accounts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub customers: u32,
    /// The same seed gives the same accounts and amounts
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Longest wait for the brokers or the registry, in seconds
    #[arg(long, default_value_t = 30)]
    pub timeout: u64,
    /// A folder with a newer contract of the transaction
    #[arg(long)]
    pub contracts: Option<PathBuf>,
    /// File for what was done, as JSON
    #[arg(long)]
    pub summary: Option<PathBuf>,
}

/// Does it, and gives the exit code.
///
/// # Errors
/// All of `Failed`.
pub async fn run(args: &Args) -> Result<u8, Failed> {
    let began = Instant::now();
    let stream = contract(args.contracts.as_deref()).map_err(Failed::Input)?;
    let registry_failed = |error: String| Failed::Registry { registry: args.schema_registry.clone(), error };
    let timeout = Duration::from_secs(args.timeout);
    let registry = ConfluentRegistry::new(&args.schema_registry, timeout)
        .map_err(|error| Failed::registry(&args.schema_registry, &error))?;
    let subject = format!("{}-value", args.topic);
    let latest = registry.latest(&subject).await;
    let latest = latest.map_err(|error| Failed::registry(&args.schema_registry, &error))?;
    let latest = latest.ok_or_else(|| Failed::no_subject(&args.schema_registry, &subject))?;
    let message = &stream.schema.message;
    let indexes = indexes_of(&latest.schema.text, message)
        .ok_or_else(|| registry_failed(format!("{subject} (schema {}) has no message {message}", latest.id)))?;
    let prefix = frame::prefix(latest.id, &indexes);

    let options = KafkaOptions { delivery_timeout: timeout, ..KafkaOptions::new(&args.broker) };
    let log = KafkaLog::connect(options).map_err(|error| Failed::log(&args.broker, &error))?;
    log.partitions(&args.topic).await.map_err(|error| Failed::log(&args.broker, &error))?;

    let (records, mut refused) = match &args.input {
        Some(path) => of_file(&stream, &prefix, path)?,
        None => (made_up(&stream, &prefix, args)?, 0),
    };
    let mut sent = 0;
    for batch in records.chunks(BATCH_RECORDS) {
        for answer in log.append(&args.topic, batch.to_vec()).await {
            match answer {
                Ok(_) => sent += 1,
                Err(error) => {
                    refused += 1;
                    eprintln!("a record was not acknowledged: {error}");
                }
            }
        }
    }
    if let Some(path) = &args.summary {
        let summary = json!({
            "sent": sent, "refused": refused, "seconds": began.elapsed().as_secs_f64(), "schema_id": latest.id,
        });
        fs::write(path, format!("{summary}\n"))
            .map_err(|error| Failed::Input(format!("{}: {error}", path.display())))?;
    }
    eprintln!("{sent} sent, {refused} refused, schema {}", latest.id);
    Ok(if refused > 0 { EXIT_REFUSED } else { 0 })
}

fn of_file(stream: &StreamContract, prefix: &[u8], path: &Path) -> Result<(Vec<NewRecord>, usize), Failed> {
    let (mut records, mut refused) = (Vec::new(), 0);
    for (line, value) in input::rows(path, &stream.descriptor)? {
        match value.and_then(|value| record(stream, prefix, &value)) {
            Ok(record) => records.push(record),
            Err(reason) => {
                refused += 1;
                eprintln!("line {line}: {reason}");
            }
        }
    }
    Ok((records, refused))
}

fn made_up(stream: &StreamContract, prefix: &[u8], args: &Args) -> Result<Vec<NewRecord>, Failed> {
    let mut chance = ChaCha8Rng::seed_from_u64(args.seed);
    let customers = args.customers as usize;
    let newer = stream.descriptor.get_field_by_name("currency").is_some();
    let records = (0..args.count).map(|number| {
        let customer = if number < customers { number } else { chance.random_range(0..customers) };
        let cents: i32 = chance.random_range(-50_000..=100_000);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut value = json!({
            "transaction_id": uuid::Uuid::now_v7().to_string(),
            "account_number": format!("ACC-{:04}", customer + 1),
            "transaction_reference": format!("payment {number}"),
            "amount": f64::from(cents) / 100.0,
        });
        if newer {
            value["currency"] = "EUR".into();
        }
        record_at(stream, prefix, &value, Some(now))
    });
    records.collect::<Result<_, _>>().map_err(Failed::Input)
}

fn record(stream: &StreamContract, prefix: &[u8], value: &Value) -> Result<NewRecord, String> {
    record_at(stream, prefix, value, None)
}

/// A record of a transaction as ProtoJSON, once the contract's checks hold of it.
fn record_at(stream: &StreamContract, prefix: &[u8], value: &Value, at: Option<Duration>) -> Result<NewRecord, String> {
    let parse = |value: &Value| DynamicMessage::deserialize(stream.descriptor.clone(), value);
    let mut message = parse(value).map_err(|error| {
        // Which field it is, is not said: each is tried by itself.
        let mut fields = value.as_object().into_iter().flatten();
        let wrong = fields.find_map(|(name, part)| {
            parse(&json!({ name: part })).err().map(|error| format!("{name}: {part} is not valid: {error}"))
        });
        wrong.unwrap_or_else(|| format!("is no transaction: {error}"))
    })?;
    if let Some(at) = at {
        message.set_field_by_name("transaction_datetime", timestamp(&stream.descriptor, at)?);
    }
    let payload = message.encode_to_vec();
    stream.check(&payload).map_err(|defect| {
        let fields: Vec<&str> = defect.fields.iter().map(|field| field.field.as_str()).collect();
        format!("{}: {}", fields.join(", "), defect.detail)
    })?;
    let key = message.get_field_by_name("account_number").and_then(|key| key.as_str().map(str::to_owned));
    Ok(NewRecord {
        key: Bytes::from(key.unwrap_or_default()),
        value: Bytes::from([prefix, &payload].concat()),
        headers: Vec::new(),
    })
}

fn timestamp(transaction: &MessageDescriptor, at: Duration) -> Result<prost_reflect::Value, String> {
    let kind = transaction.get_field_by_name("transaction_datetime").map(|field| field.kind());
    let kind = kind.as_ref().and_then(|kind| kind.as_message()).ok_or("the contract has no transaction_datetime")?;
    let mut message = DynamicMessage::new(kind.clone());
    message.set_field_by_name("seconds", prost_reflect::Value::I64(at.as_secs() as i64));
    message.set_field_by_name("nanos", prost_reflect::Value::I32((at.subsec_micros() * 1000) as i32));
    Ok(prost_reflect::Value::Message(message))
}
