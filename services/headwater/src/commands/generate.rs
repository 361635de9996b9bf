//! `headwater generate`: made-up events at a steady rate, and how the platform took them.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use headwater_generator::{Report, RunOptions, SourceOptions, SourceStream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::connection::ConnectionArgs;
use super::console::Console;
use super::explain::{FAILED, explain, fail, unless_nobody_reads};
use super::interrupt::on_interrupt;
use super::quantities::{duration, grouped, part, rate};

/// Publishes made-up events on a schedule that no answer can slow, and prints the answers and their latency.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Stream to publish to: page-events or transactions
    #[arg(long, value_parser = |text: &str| text.parse::<SourceStream>().map_err(|error| error.problem))]
    stream: SourceStream,
    /// Events in a second
    #[arg(long, default_value = "1000", value_parser = rate)]
    rate: f64,
    /// How long
    #[arg(long, default_value = "30s", value_parser = duration)]
    duration: Duration,
    /// Different users; a tenth as many accounts, at least 20
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// Part of the events that come from users who view more than 10 pages in a second
    #[arg(long, default_value = "0%", value_parser = part)]
    bots: f64,
    /// Part of the events that the contract refuses
    #[arg(long, default_value = "0%", value_parser = part)]
    invalid: f64,
    /// Part of the events that are sent a second time
    #[arg(long, default_value = "0%", value_parser = part)]
    duplicates: f64,
    /// Part of the events that happened up to two hours earlier
    #[arg(long, default_value = "0%", value_parser = part)]
    late: f64,
    /// Same seed, same events but for the time they begin at. Default: another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// How long an event may wait for others to share its batch
    #[arg(long, default_value = "5ms", value_parser = duration)]
    linger: Duration,
    /// Events sent and not answered, at most; what is due beyond is skipped and counted
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    in_flight: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs to the end or to Ctrl-C, with the report in both cases. Exit code 2 where the platform could not be reached.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    unless_nobody_reads(run_on(args, &mut Console::process()).await)
}

async fn run_on(args: Args, console: &mut Console) -> anyhow::Result<ExitCode> {
    let stop = on_interrupt()?;
    let client = match args.connection.connect().await? {
        Ok(client) => client,
        Err(error) => return fail(&error, console),
    };
    let bar = bar(&args, console);
    let result = headwater_generator::run(&client, options(&args), &stop, |progress| {
        bar.set_position(progress.elapsed.as_millis() as u64);
        bar.set_message(format!("{} sent, {} answered", grouped(progress.sent), grouped(progress.answered)));
    })
    .await;
    bar.finish_and_clear();
    let report = match result {
        Ok(report) => report,
        Err(error) => return fail(&error, console),
    };
    if args.json {
        writeln!(console.out, "{}", report.to_json())?;
    } else {
        write_report(&report, args.in_flight, &mut console.out)?;
    }
    match &report.failure {
        Some(error) => {
            explain(error, &mut console.err)?;
            Ok(ExitCode::from(FAILED))
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

fn options(args: &Args) -> RunOptions {
    let seed = args.seed.unwrap_or_else(|| {
        // Short enough to be typed again.
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64 % 1_000_000)
    });
    let source = SourceOptions {
        rate: args.rate,
        users: args.users,
        bots: args.bots,
        invalid: args.invalid,
        duplicates: args.duplicates,
        late: args.late,
        ..SourceOptions::new(args.stream, seed)
    };
    RunOptions {
        duration: args.duration,
        linger: args.linger,
        in_flight_max: args.in_flight as usize,
        ..RunOptions::new(source)
    }
}

fn bar(args: &Args, console: &Console) -> ProgressBar {
    let target = if console.err_is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(args.duration.as_millis() as u64), target);
    match ProgressStyle::with_template("{bar:30} {elapsed}  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn write_report(report: &Report, in_flight: u32, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}, seed {}, {:.1} s", report.stream, report.seed, report.elapsed.as_secs_f64())?;
    writeln!(out)?;
    let per_second = format!("{:.0}/s asked, {:.1}/s answered", report.rate, report.rate_achieved);
    line(out, "sent", report.sent_all(), &per_second)?;
    for (kind, count) in &report.sent {
        let note = match *kind {
            "bot" => {
                format!("{} of them past the tenth view in a second: stored, not counted", grouped(report.sent_flagged))
            }
            "duplicate" => "sent before: accepted, not counted again".into(),
            _ => String::new(),
        };
        line(out, &format!("  {kind}"), *count, &note)?;
    }
    line(out, "answered", report.answered(), "")?;
    for (answer, count) in &report.answers {
        line(out, &format!("  {answer}"), *count, "")?;
    }
    for (name, count, note) in [
        ("unanswered", report.unanswered, String::new()),
        ("skipped", report.skipped, format!("due while {} were in flight", grouped(in_flight.into()))),
        ("late", report.late, "sent more than 100 ms after they were due".into()),
        ("surprises", report.surprises, "good ones rejected, or invalid ones accepted".into()),
    ] {
        if count > 0 {
            line(out, name, count, &note)?;
        }
    }
    let latency = report.latency;
    writeln!(out)?;
    writeln!(
        out,
        "latency from the moment due, ms: p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}",
        latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms
    )
}

fn line(out: &mut dyn Write, name: &str, count: u64, note: &str) -> io::Result<()> {
    let line = format!("{name:<28}{:>12}   {note}", grouped(count));
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests;
