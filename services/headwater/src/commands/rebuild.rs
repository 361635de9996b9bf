//! `headwater rebuild`: statistics built anew from the stored events, while events flow.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use headwater_client::v1::rebuild::{Rebuild, RebuildState, StartRebuildRequest};
use headwater_client::{Client, Error};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::connection::ConnectionArgs;
use super::console::Console;
use super::explain::{REFUSED, fail, unless_nobody_reads};
use super::proto_json::ProtoJson;
use super::quantities::{grouped, spelled};

/// How often a watch that broke off is taken up again before that is a failure.
const WATCHES_MAX: usize = 10;
/// How long to wait before it is.
const WATCH_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Builds statistics anew from the stored events.
///
/// A new generation is built beside the one that is read, while events flow; once it has everything it takes the other's
/// place in one step. Ctrl-C ends the watching and not the build. Exit code: 0 done, 1 refused or cancelled, 2 not known.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Streams to build, for example page-events. Default: all
    #[arg(value_name = "STREAM")]
    streams: Vec<String>,
    /// Only streams with an event in a range of time, which are built whole: from this moment on, for example
    /// 2026-11-21T10:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Before this moment
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Build although events that were stored once are not any more: figures of all time lose what those added
    #[arg(long)]
    without_dropped: bool,
    /// Begins once however often it is given
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    request_id: String,
    /// Begin, and do not wait for the end
    #[arg(long)]
    no_wait: bool,
    /// Say what is being built and what was lately, and begin nothing
    #[arg(long, conflicts_with_all = ["from", "to", "without_dropped", "request_id", "no_wait", "cancel"])]
    status: bool,
    /// Give up what is being built of the streams
    #[arg(long, conflicts_with_all = ["from", "to", "without_dropped", "request_id", "no_wait"], requires = "streams")]
    cancel: bool,
    /// Print a line of JSON for each stream
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Builds, cancels or tells.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    unless_nobody_reads(run_on(args, &mut Console::process()).await)
}

async fn run_on(args: Args, console: &mut Console) -> anyhow::Result<ExitCode> {
    let client = match args.connection.connect().await? {
        Ok(client) => client,
        Err(error) => return fail(&error, console),
    };
    let rebuilds = if args.status {
        status(&client, &args.streams).await
    } else if args.cancel {
        cancel(&client, &args.streams).await
    } else {
        build(&client, &args, console).await
    };
    let rebuilds = match rebuilds {
        Ok(rebuilds) => rebuilds,
        Err(error) => return fail(&error, console),
    };
    if args.json {
        let json = ProtoJson::new()?;
        for rebuild in &rebuilds {
            writeln!(console.out, "{}", json.line("headwater.rebuild.v1.Rebuild", rebuild)?)?;
        }
    } else if rebuilds.is_empty() {
        let what =
            if args.status { "nothing is being built, nor was lately" } else { "no stream has an event in that range" };
        writeln!(console.out, "{what}")?;
    } else {
        for rebuild in &rebuilds {
            writeln!(console.out, "{}", line(rebuild))?;
        }
    }
    let given_up = !args.status && !args.cancel && rebuilds.iter().any(|of| of.state() == RebuildState::Cancelled);
    Ok(if given_up { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

async fn status(client: &Client, streams: &[String]) -> Result<Vec<Rebuild>, Error> {
    if streams.is_empty() {
        return client.list_rebuilds("").await;
    }
    let mut rebuilds = Vec::new();
    for stream in streams {
        rebuilds.extend(client.list_rebuilds(stream).await?);
    }
    Ok(rebuilds)
}

async fn cancel(client: &Client, streams: &[String]) -> Result<Vec<Rebuild>, Error> {
    let mut rebuilds = Vec::new();
    for stream in streams {
        rebuilds.push(client.cancel_rebuild(stream, 0).await?);
    }
    Ok(rebuilds)
}

async fn build(client: &Client, args: &Args, console: &mut Console) -> Result<Vec<Rebuild>, Error> {
    let moment =
        |time: Timestamp| prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() };
    // Without an id a repeated call would begin a second build.
    let request_id =
        if args.request_id.is_empty() { uuid::Uuid::now_v7().to_string() } else { args.request_id.clone() };
    let request = StartRebuildRequest {
        request_id: request_id.clone(),
        streams: args.streams.clone(),
        start_time: args.from.map(moment),
        end_time: args.to.map(moment),
        without_dropped: args.without_dropped,
    };
    let mut rebuilds = client.start_rebuild(request).await?;
    if args.no_wait || rebuilds.is_empty() {
        return Ok(rebuilds);
    }
    let target = if console.err_is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let mut bars = Bars { all: MultiProgress::with_draw_target(target), by_stream: BTreeMap::new() };
    let mut watches = 0;
    while rebuilds.iter().any(|rebuild| rebuild.state() == RebuildState::Building) {
        watches += 1;
        match watch(client, &request_id, &mut rebuilds, &mut bars).await {
            Ok(()) => {}
            Err(error) if error.is_retryable() && watches < WATCHES_MAX => {
                tokio::time::sleep(WATCH_AGAIN_AFTER).await;
            }
            Err(error) => return Err(error),
        }
    }
    // A terminal that is gone is no failure.
    let _ = bars.all.clear();
    Ok(rebuilds)
}

async fn watch(client: &Client, request_id: &str, rebuilds: &mut Vec<Rebuild>, bars: &mut Bars) -> Result<(), Error> {
    let mut answers = client.watch_rebuilds(request_id).await?;
    while let Some(answer) = answers.next().await? {
        *rebuilds = answer.rebuilds;
        bars.show(rebuilds);
    }
    Ok(())
}

/// A bar for each stream.
struct Bars {
    all: MultiProgress,
    by_stream: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn show(&mut self, rebuilds: &[Rebuild]) {
        for rebuild in rebuilds {
            let bar = self.by_stream.entry(rebuild.stream.clone()).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new(0));
                match ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}") {
                    Ok(style) => bar.with_style(style),
                    Err(_) => bar,
                }
            });
            bar.set_length(rebuild.records.unsigned_abs());
            bar.set_position(rebuild.records_done.unsigned_abs());
            bar.set_message(line(rebuild));
        }
    }
}

fn line(rebuild: &Rebuild) -> String {
    let Rebuild { stream, generation, records, records_done, .. } = rebuild;
    let records = grouped(records.unsigned_abs());
    match rebuild.state() {
        RebuildState::Building => {
            let left = rebuild.remaining.as_ref().map_or_else(String::new, |left| {
                format!(", {} left", spelled(Duration::from_secs(left.seconds.unsigned_abs())))
            });
            let done = grouped(records_done.unsigned_abs());
            format!("{stream}: building generation {generation}: {done} of {records} records{left}")
        }
        RebuildState::Done => format!("{stream}: generation {generation} is done"),
        RebuildState::Cancelled => format!("{stream}: generation {generation} was cancelled"),
        RebuildState::Unspecified => format!("{stream}: generation {generation}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let mut rebuild = Rebuild {
            stream: "page-events".into(),
            generation: 2,
            state: RebuildState::Building.into(),
            records_done: 1200,
            records: 45_000,
            remaining: Some(prost_types::Duration { seconds: 75, nanos: 0 }),
            ..Rebuild::default()
        };
        assert_eq!(line(&rebuild), "page-events: building generation 2: 1,200 of 45,000 records, 1m15s left");
        rebuild.remaining = None;
        assert_eq!(line(&rebuild), "page-events: building generation 2: 1,200 of 45,000 records");
        rebuild.state = RebuildState::Done.into();
        assert_eq!(line(&rebuild), "page-events: generation 2 is done");
        rebuild.state = RebuildState::Cancelled.into();
        assert_eq!(line(&rebuild), "page-events: generation 2 was cancelled");
    }
}
