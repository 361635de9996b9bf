//! `headwater publish`: newline-delimited JSON to a stream; the same file twice counts once.
//!
//! A thread reads lines and turns them into batches; a task sends them; this one takes the answers. What is on its way is
//! bounded by the queue of batches and the window of the publish stream.

mod convert;
mod lines;
mod ordinals;
mod read;
mod tally;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use headwater_client::v1::ingest::Stream;
use headwater_client::{Client, Error, PublishAcks, PublishOptions, PublishSender, Refusal};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::convert::Converter;
use self::ordinals::Ordinals;
use self::read::{Batch, Limits, Source};
use self::tally::Tally;
use super::connection::ConnectionArgs;
use super::console::Console;
use super::explain::{FAILED, REFUSED, explain, fail, unless_nobody_reads};
use super::interrupt::on_interrupt;

/// Batches that wait to be sent.
const BATCHES_QUEUED_MAX: usize = 4;
/// Records in flight, unless a batch is larger.
const IN_FLIGHT_RECORDS_MAX: usize = 10_000;
/// How long to wait for the last answers after Ctrl-C.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// Publishes newline-delimited JSON.
///
/// A line is the stream's message as ProtoJSON, with the contract's field names or their camelCase. Where it has no id, one
/// is derived from its content and its ordinal among identical lines of the file: identical lines each count, and the same
/// file published again counts once. Exit code: 0 all accepted, 1 a line was refused, 2 not everything could be published.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Stream to publish to, for example page-events
    #[arg(long)]
    stream: String,
    /// File to read; - is standard input
    file: PathBuf,
    /// Records in a batch at most
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "N")]
    batch: u32,
    /// Say why of every line that is refused, not only of the first 100
    #[arg(long)]
    all_errors: bool,
    /// Different lines without an id that are told apart, some 40 bytes of memory each
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    distinct_lines_max: usize,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Publishes the file.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stop = on_interrupt()?;
    unless_nobody_reads(run_on(args, &mut Console::process(), &stop).await)
}

async fn run_on(args: Args, console: &mut Console, stop: &CancellationToken) -> anyhow::Result<ExitCode> {
    let (name, source, bytes) = match open(&args.file) {
        Ok(opened) => opened,
        Err(error) => {
            writeln!(console.err, "headwater: {error:#}")?;
            return Ok(ExitCode::from(FAILED));
        }
    };
    let client = match args.connection.connect().await? {
        Ok(client) => client,
        Err(error) => return failed(&error, console),
    };
    let converter = match converter(&client, &args).await {
        Ok(converter) => converter,
        Err(error) => return failed(&error, console),
    };
    let batch_records_max = args.batch as usize;
    let options = PublishOptions {
        in_flight_records_max: IN_FLIGHT_RECORDS_MAX.max(batch_records_max),
        ..PublishOptions::new(&args.stream)
    };
    let (sender, acks) = match client.publish_stream(options) {
        Ok(opened) => opened,
        Err(error) => return fail(&error, console),
    };
    let bar = bar(bytes, console);
    let mut tally = Tally::new(name, args.stream.clone(), args.all_errors, bar);
    let (batches, queued) = mpsc::channel(BATCHES_QUEUED_MAX);
    let limits = Limits { batch_records_max };
    let reading_stop = stop.child_token();
    let reading = tokio::task::spawn_blocking({
        let stop = reading_stop.clone();
        move || read::read(source, converter, limits, &batches, &stop)
    });
    let failure = publish(sender, acks, queued, &mut tally, console, stop).await?;
    // After a failure nobody takes batches any more: the reading ends with the next one, or waits for standard input.
    reading_stop.cancel();
    let unread = if failure.is_none() && !stop.is_cancelled() { reading.await?.err() } else { None };
    let interrupted = stop.is_cancelled();
    tally.finish(interrupted, args.json, console)?;
    if let Some(error) = &unread {
        writeln!(console.err, "headwater: {error:#}")?;
    }
    if let Some(error) = &failure {
        explain(error, &mut console.err)?;
        writeln!(console.err, "  Publish the file again: what was counted is not counted twice.")?;
    }
    let incomplete = failure.is_some() || unread.is_some() || interrupted || tally.unacknowledged > 0;
    Ok(match (incomplete, tally.refused) {
        (true, _) => ExitCode::from(FAILED),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::from(REFUSED),
    })
}

/// A failure before the first line: nothing was published, whoever is to blame.
fn failed(error: &Error, console: &mut Console) -> anyhow::Result<ExitCode> {
    explain(error, &mut console.err)?;
    Ok(ExitCode::from(FAILED))
}

/// The file's name for messages, what to read, and its size where it has one.
fn open(path: &Path) -> anyhow::Result<(String, Source, Option<u64>)> {
    if path == Path::new("-") {
        return Ok(("-".into(), Source { input: Box::new(std::io::stdin()), interactive: true }, None));
    }
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| name.clone())?;
    let metadata = file.metadata().with_context(|| name.clone())?;
    if metadata.is_dir() {
        anyhow::bail!("{name}: is a folder, not a file");
    }
    let (regular, length) = (metadata.is_file(), metadata.len());
    let input: Box<dyn Read + Send> = Box::new(file);
    Ok((name, Source { input, interactive: !regular }, regular.then_some(length)))
}

async fn converter(client: &Client, args: &Args) -> Result<Converter, Error> {
    let streams = client.list_streams().await?;
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    let Some(stream) = streams.iter().find(|stream| stream.name == args.stream) else {
        return Err(unknown_stream(&args.stream, &names));
    };
    let descriptor = client.message_descriptor(&stream.message_type).await?;
    let Stream { name, id_field, time_field, .. } = stream;
    Converter::new(name, descriptor, id_field, time_field, Ordinals::new(args.distinct_lines_max))
        .map_err(Error::Protocol)
}

/// As the platform says it when a record arrives, before there is one.
fn unknown_stream(name: &str, names: &[&str]) -> Error {
    Error::Refused(Box::new(Refusal {
        code: tonic::Code::NotFound,
        reason: Some("UNKNOWN_STREAM".into()),
        detail: format!("there is no stream {name:?}; the streams are {}", names.join(", ")),
        violations: Vec::new(),
        retry_after: None,
        metadata: [].into(),
    }))
}

fn bar(bytes: Option<u64>, console: &Console) -> ProgressBar {
    let target = if console.err_is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(bytes, target);
    let template = if bytes.is_some() { "{bar:30} {percent:>3}%  {msg}, {eta} left" } else { "{spinner} {msg}" };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Sends what is read and takes the answers; gives what ended the stream for good.
async fn publish(
    mut sender: PublishSender,
    mut acks: PublishAcks,
    mut queued: mpsc::Receiver<Batch>,
    tally: &mut Tally,
    console: &mut Console,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Error>> {
    // Bounded by the window of the stream: a batch is told of when it has its place there.
    let (tell, mut told) = mpsc::unbounded_channel();
    let stopped = stop.clone();
    let sending = async move {
        loop {
            let batch = tokio::select! {
                batch = queued.recv() => batch,
                () = stopped.cancelled() => None,
            };
            let Some(Batch { records, lines }) = batch else { return };
            let sequence = match records.is_empty() {
                true => None,
                // The acknowledgements say why.
                false => match sender.send(records).await {
                    Ok(sequence) => Some(sequence),
                    Err(_) => return,
                },
            };
            if tell.send((sequence, lines)).is_err() {
                return;
            }
        }
    };
    let sending = tokio::spawn(sending);
    let mut drain_end = None;
    let mut sent_all = false;
    let failure = loop {
        if sent_all && tally.waiting() == 0 {
            break None;
        }
        tokio::select! {
            biased;
            batch = told.recv(), if !sent_all => match batch {
                Some((sequence, lines)) => tally.sent(sequence, lines, console)?,
                None => sent_all = true,
            },
            ack = acks.next() => match ack {
                Ok(Some(ack)) => {
                    // The sender tells of a batch just after it is sent; the answer can be faster.
                    while !tally.knows(ack.sequence) {
                        let Some((sequence, lines)) = told.recv().await else { break };
                        tally.sent(sequence, lines, console)?;
                    }
                    tally.answered(ack, console)?;
                }
                Ok(None) if sent_all => break None,
                // The sender is about to say that it has ended.
                Ok(None) => sent_all = told.is_closed() && told.is_empty(),
                Err(error) => break Some(error),
            },
            () = stop.cancelled(), if drain_end.is_none() => {
                drain_end = Some(tokio::time::Instant::now() + DRAIN_MAX);
            }
            () = sleep_until(drain_end) => break None,
        }
    };
    sending.abort();
    Ok(failure)
}

async fn sleep_until(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
