//! Appends transactions of a file, or made-up ones, through the very code with which the platform appends.

mod input;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use headwater_contracts::StreamContract;
use headwater_event_log::kafka::{KafkaLog, KafkaOptions};
use headwater_event_log::{EventLog, EventLogError, NewRecord, frame};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::outside::stopping;
use crate::{EXIT_REFUSED, Failed, Outside, contract, indexes_of};

/// Records that are under way at once.
const BATCH_RECORDS: usize = 500;
/// Batches a second, at least, where there is a rate.
const BATCHES_PER_S: u32 = 10;
/// How often it is said how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Pause before what was not acknowledged is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// `headwater-produce-transactions`
#[derive(Debug, clap::Parser)]
#[command(name = "headwater-produce-transactions", about = "Append transactions to a topic")]
pub struct Args {
    /// Where everything is, and what is said
    #[command(flatten)]
    pub outside: Outside,
    /// A file of transactions, .csv or else newline-delimited ProtoJSON, - for the standard input; without it they are made up
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// How many to make up
    #[arg(long, default_value_t = 1000)]
    pub count: usize,
    /// Of how many accounts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub customers: u32,
    /// Records a second at most; 0 is as fast as possible
    #[arg(long, default_value_t = 0)]
    pub rate: u32,
    /// The same seed makes the same accounts, references and amounts
    #[arg(long)]
    pub seed: Option<u64>,
}

/// A record, or the sentence for why there is none.
type Made<'a> = Box<dyn Iterator<Item = Result<NewRecord, String>> + 'a>;

/// What was done.
#[derive(Default)]
struct Done {
    sent: usize,
    refused: usize,
}

/// Does it, and gives the exit code.
///
/// # Errors
/// All of `Failed`.
pub async fn run(args: &Args) -> Result<u8, Failed> {
    let (began, outside) = (Instant::now(), &args.outside);
    let stop = stopping()?;
    let stream = contract(outside.contracts.as_deref()).map_err(Failed::Input)?;
    let (_, latest) = outside.schema().await?;
    let message = &stream.schema.message;
    let indexes = indexes_of(&latest.schema.text, message).ok_or_else(|| Failed::Registry {
        registry: outside.shown_registry(),
        error: format!("{}-value (schema {}) has no message {message}", outside.topic, latest.id),
    })?;
    let prefix = frame::prefix(latest.id, &indexes);

    let options = KafkaOptions { properties: outside.properties(), ..KafkaOptions::new(&outside.broker) };
    let log = KafkaLog::connect(options).map_err(|error| Failed::log(&outside.broker, &error))?;
    log.partitions(&outside.topic).await.map_err(|error| Failed::log(&outside.broker, &error))?;

    let records = match &args.input {
        Some(path) => of_file(&stream, &prefix, path)?,
        None => made_up(&stream, &prefix, args),
    };
    let mut done = Done::default();
    let ended = produce(args, &log, records, &stop, &mut done).await;
    if let Some(path) = &outside.summary {
        let summary = json!({
            "sent": done.sent, "refused": done.refused, "seconds": began.elapsed().as_secs_f64(), "schema_id": latest.id,
        });
        fs::write(path, format!("{summary}\n"))
            .map_err(|error| Failed::Input(format!("{}: {error}", path.display())))?;
    }
    eprintln!("{} sent, {} refused, schema {}", done.sent, done.refused, latest.id);
    ended.map(|()| if done.refused > 0 { EXIT_REFUSED } else { 0 })
}

async fn produce(
    args: &Args,
    log: &KafkaLog,
    mut records: Made<'_>,
    stop: &AtomicBool,
    done: &mut Done,
) -> Result<(), Failed> {
    let began = Instant::now();
    let mut told = began;
    let size = match args.rate {
        0 => BATCH_RECORDS,
        rate => (rate / BATCHES_PER_S).max(1) as usize,
    };
    while !stop.load(Ordering::Acquire) {
        let mut batch = Vec::with_capacity(size);
        let mut is_end = true;
        for made in records.by_ref() {
            match made {
                Ok(record) => batch.push(record),
                Err(reason) => {
                    done.refused += 1;
                    eprintln!("{reason}");
                }
            }
            if batch.len() == size {
                is_end = false;
                break;
            }
        }
        append(&args.outside, log, batch, done).await?;
        if !args.outside.quiet && told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            eprintln!("{} sent, {:.0} a second", done.sent, done.sent as f64 / began.elapsed().as_secs_f64());
        }
        if is_end {
            break;
        }
        if args.rate > 0 {
            let due = Duration::from_secs_f64(done.sent as f64 / f64::from(args.rate));
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
    }
    Ok(())
}

/// Appends the records, and those again that were not acknowledged, until the longest wait is over.
async fn append(outside: &Outside, log: &KafkaLog, mut records: Vec<NewRecord>, done: &mut Done) -> Result<(), Failed> {
    let began = Instant::now();
    while !records.is_empty() {
        let answers = log.append(&outside.topic, records.clone()).await;
        let (mut again, mut away) = (Vec::new(), None);
        for (record, answer) in records.into_iter().zip(answers) {
            match answer {
                Ok(_) => done.sent += 1,
                Err(error @ (EventLogError::Unavailable(_) | EventLogError::QueueFull)) => {
                    again.push(record);
                    away = Some(error);
                }
                Err(error) => {
                    done.refused += 1;
                    eprintln!("a record was refused: {error}");
                }
            }
        }
        match away {
            Some(error) if began.elapsed() >= outside.timeout() => return Err(Failed::log(&outside.broker, &error)),
            Some(_) => tokio::time::sleep(AGAIN_AFTER).await,
            None => {}
        }
        records = again;
    }
    Ok(())
}

fn of_file<'a>(stream: &'a StreamContract, prefix: &'a [u8], path: &Path) -> Result<Made<'a>, Failed> {
    let rows = input::rows(path, &stream.descriptor)?.into_iter();
    Ok(Box::new(rows.map(move |(line, value)| {
        value.and_then(|value| record(stream, prefix, &value)).map_err(|reason| format!("line {line}: {reason}"))
    })))
}

fn made_up<'a>(stream: &'a StreamContract, prefix: &'a [u8], args: &Args) -> Made<'a> {
    let mut chance = args.seed.map_or_else(ChaCha8Rng::from_os_rng, ChaCha8Rng::seed_from_u64);
    let customers = args.customers as usize;
    let newer = stream.descriptor.get_field_by_name("currency").is_some();
    Box::new((0..args.count).map(move |number| {
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
    }))
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
