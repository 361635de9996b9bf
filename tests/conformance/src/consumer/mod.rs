//! Reads transactions as a member of a group and adds them up by account, with the very code with which the platform takes
//! frames apart and counts.

mod group;
mod reader;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode;
use serde_json::json;
use tokio::runtime::Handle;

use self::group::{Group, Member};
use self::reader::{Counted, Reader};
use self::state::State;
use crate::outside::stopping;
use crate::{Failed, Outside, contract};

/// How long one look for a record waits.
const POLL: Duration = Duration::from_millis(100);
/// Records that are counted together, at most.
const BATCH_RECORDS_MAX: u64 = 1000;
/// How often Kafka is told what is counted.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Cents and count by account.
type Accounts = BTreeMap<String, (i128, i64)>;

/// `headwater-consume-transactions`
#[derive(Debug, clap::Parser)]
#[command(name = "headwater-consume-transactions", about = "Add up the transactions of a topic by account")]
pub struct Args {
    /// Where everything is, and what is said
    #[command(flatten)]
    pub outside: Outside,
    /// The group, which shares the topic's partitions
    #[arg(short, long)]
    pub group: String,
    /// SQLite file with sums and offsets: nothing is lost or counted twice
    #[arg(long)]
    pub state: Option<PathBuf>,
    /// Where a group without offsets begins
    #[arg(long, value_enum, default_value = "earliest")]
    pub from: Begin,
    /// End after so many records, those that cannot be counted too
    #[arg(long)]
    pub count: Option<u64>,
    /// End after so many seconds without a record
    #[arg(long)]
    pub idle_exit: Option<f64>,
}

/// Where a group without offsets begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Begin {
    /// At the oldest record
    Earliest,
    /// At the next one
    Latest,
}

/// What was counted in this run. With a state the sums are the state's, as far as this member saw them.
#[derive(Default)]
struct Tally {
    records: u64,
    counted: u64,
    newer_fields: u64,
    skipped: BTreeMap<&'static str, u64>,
    accounts: Accounts,
}

/// Records that are counted together.
#[derive(Default)]
struct Batch {
    added: Accounts,
    counted: Vec<Counted>,
    /// The reason, and the sentence for it.
    skipped: Vec<(&'static str, String)>,
    /// Partition to where it was and where it goes on.
    moves: BTreeMap<i32, (i64, i64)>,
}

/// Does it, and gives the exit code. It blocks: not to be called on a thread of the runtime that must go on.
///
/// # Errors
/// All of `Failed`.
pub fn run(args: &Args, runtime: &Handle) -> Result<u8, Failed> {
    let began = Instant::now();
    let stop = {
        let _within = runtime.enter();
        stopping()?
    };
    let stream = contract(args.outside.contracts.as_deref()).map_err(Failed::Input)?;
    // What is away should be told now, and not at the first record.
    let (registry, _) = runtime.block_on(args.outside.schema())?;
    let mut reader =
        Reader { stream: &stream, registry, address: args.outside.shown_registry(), schemas: HashMap::new() };
    let state =
        args.state.as_ref().map(|path| State::open(path, &args.group, &args.outside.topic)).transpose()?.map(Arc::new);
    let member = Group::join(args, state.clone()).map_err(|error| kafka(args, &error))?;
    see_topic(args, &member)?;
    let mut tally = Tally::default();
    let ended = consume(args, runtime, &stop, &member, &mut reader, state.as_deref(), &mut tally)
        .and_then(|()| member.context().commit(&member, CommitMode::Sync));
    // Also where something is away: what was counted is shown.
    if let Some(state) = &state {
        tally.accounts = state.sums()?;
    }
    tally.print();
    if let Some(path) = &args.outside.summary {
        tally.write(path, began)?;
    }
    ended.map(|()| 0)
}

fn consume(
    args: &Args,
    runtime: &Handle,
    stop: &AtomicBool,
    member: &Member,
    reader: &mut Reader<'_>,
    state: Option<&State>,
    tally: &mut Tally,
) -> Result<(), Failed> {
    let (began, timeout) = (Instant::now(), args.outside.timeout());
    let idle_max = args.idle_exit.map(Duration::from_secs_f64);
    let (mut last, mut answered, mut committed) = (None, began, began);
    let group = member.context();
    while !stop.load(Ordering::Acquire) {
        let left = args.count.map_or(BATCH_RECORDS_MAX, |count| count.saturating_sub(tally.records));
        if left == 0 {
            break;
        }
        let records = poll(args, member, left.min(BATCH_RECORDS_MAX))?;
        group.take_failure()?;
        if committed.elapsed() > COMMIT_EVERY {
            committed = Instant::now();
            group.commit(member, CommitMode::Async)?;
        }
        if records.is_empty() {
            // A group that gives out nothing within the timeout is idle too.
            let since = last.or_else(|| group.assigned_at()).unwrap_or(began + timeout);
            if idle_max.is_some_and(|idle| since.elapsed() >= idle) {
                break;
            }
            // The client waits for a lost broker for ever: ask it something, now and then, that has an end.
            if answered.elapsed() > timeout {
                see_topic(args, member)?;
                answered = Instant::now();
            }
            continue;
        }
        answered = Instant::now();
        last = Some(answered);
        let batch = Batch::read(&records, &group.positions(), |value| runtime.block_on(reader.read(value)))?;
        match state {
            Some(state) => match state.add(&batch.added, &batch.moves)? {
                Some(after) => tally.accounts.extend(after),
                None => {
                    group.begin_again(member, &batch.moves)?;
                    continue;
                }
            },
            None => tally.sum_up(&batch.added),
        }
        group.moved(&batch.moves);
        tally.take(&batch, args.outside.quiet);
    }
    Ok(())
}

/// The next records, none where there are none yet.
fn poll<'a>(args: &Args, member: &'a Member, max: u64) -> Result<Vec<BorrowedMessage<'a>>, Failed> {
    let mut records = Vec::new();
    let mut wait = POLL;
    while (records.len() as u64) < max {
        match member.poll(wait) {
            None => break,
            Some(Ok(record)) => {
                records.push(record);
                wait = Duration::ZERO;
            }
            Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                let error = format!(
                    "its offset is outside the log of {}: records were removed before they were counted, or the topic \
                     was made anew; go on with a new --state file and group",
                    args.outside.topic
                );
                let path = args.state.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
                return Err(Failed::State { path, error });
            }
            // librdkafka goes on by itself; a broker that stays away is found by asking.
            Some(Err(KafkaError::MessageConsumption(code))) if code != RDKafkaErrorCode::UnknownTopicOrPartition => {
                break;
            }
            Some(Err(error)) => return Err(kafka(args, &error)),
        }
    }
    Ok(records)
}

/// Whether the broker answers, and has the topic.
fn see_topic(args: &Args, member: &Member) -> Result<(), Failed> {
    let seen = member.fetch_metadata(Some(&args.outside.topic), args.outside.timeout());
    let seen = seen.map_err(|error| kafka(args, &error))?;
    match seen.topics().first().and_then(|topic| topic.error()) {
        Some(error) => Err(kafka(args, &KafkaError::MetadataFetch(error.into()))),
        None => Ok(()),
    }
}

fn kafka(args: &Args, error: &KafkaError) -> Failed {
    Failed::Kafka { broker: args.outside.broker.clone(), error: format!("topic {}: {error}", args.outside.topic) }
}

impl Batch {
    fn read(
        records: &[BorrowedMessage<'_>],
        positions: &HashMap<i32, Option<i64>>,
        mut read: impl FnMut(Option<&[u8]>) -> Result<Result<Counted, reader::Skipped>, Failed>,
    ) -> Result<Self, Failed> {
        let mut batch = Self::default();
        for record in records {
            let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
            // Fetched before the partition was given away.
            let Some(&position) = positions.get(&partition) else { continue };
            let (first, next) = batch
                .moves
                .get(&partition)
                .map_or_else(|| (position.unwrap_or(offset), position.unwrap_or(offset)), |&moved| moved);
            // Fetched before it was given away and came back.
            if offset < next {
                continue;
            }
            batch.moves.insert(partition, (first, offset + 1));
            match read(record.payload())? {
                Ok(counted) => {
                    let (cents, count) = batch.added.entry(counted.account.clone()).or_default();
                    *cents += i128::from(counted.cents);
                    *count += 1;
                    batch.counted.push(counted);
                }
                Err((reason, text)) => {
                    let text = format!("skipped {topic}[{partition}]@{offset}: {}: {text}", reason.name());
                    batch.skipped.push((reason.name(), text));
                }
            }
        }
        Ok(batch)
    }
}

impl Tally {
    fn sum_up(&mut self, added: &Accounts) {
        for (account, (cents, count)) in added {
            let (sum, total) = self.accounts.entry(account.clone()).or_default();
            *sum += cents;
            *total += count;
        }
    }

    /// Takes over a batch that is done, and says it.
    fn take(&mut self, batch: &Batch, quiet: bool) {
        self.records += (batch.counted.len() + batch.skipped.len()) as u64;
        self.counted += batch.counted.len() as u64;
        for (reason, text) in &batch.skipped {
            eprintln!("{text}");
            *self.skipped.entry(reason).or_default() += 1;
        }
        let before =
            |(account, (cents, _)): (&String, &(i128, i64))| (account.clone(), self.accounts[account].0 - cents);
        let mut sums: BTreeMap<String, i128> = batch.added.iter().map(before).collect();
        let mut lines = String::new();
        for counted in &batch.counted {
            self.newer_fields += u64::from(counted.newer);
            let sum = sums.entry(counted.account.clone()).or_default();
            *sum += i128::from(counted.cents);
            lines += &format!("({}, {})\n", counted.account, shown(*sum));
        }
        if !quiet {
            print!("{lines}");
        }
    }

    fn print(&self) {
        for (account, (cents, count)) in &self.accounts {
            println!("{account:20} {count:>9} {:>20}", shown(*cents));
        }
        eprintln!("{} records, {} counted, skipped {:?}", self.records, self.counted, self.skipped);
    }

    fn write(&self, path: &PathBuf, began: Instant) -> Result<(), Failed> {
        let sums: BTreeMap<_, _> = self.accounts.iter().map(|(account, (cents, _))| (account, shown(*cents))).collect();
        let summary = json!({
            "records": self.records, "counted": self.counted, "skipped": self.skipped,
            "newer_fields": self.newer_fields, "sums": sums, "seconds": began.elapsed().as_secs_f64(),
        });
        fs::write(path, format!("{summary}\n")).map_err(|error| Failed::Input(format!("{}: {error}", path.display())))
    }
}

/// As people write it: "-12.50".
fn shown(cents: i128) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}
