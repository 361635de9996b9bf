use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use headwater_client::v1::stats::{Stat, StatQuery, StatResult, StatValue, SubscribeStatsRequest};
use headwater_client::{Client, Error};
use tokio_util::sync::CancellationToken;

use super::WatchArgs;
use super::get::described;
use super::table::figures;
use crate::commands::console::Console;
use crate::commands::explain::fail;
use crate::commands::interrupt::on_interrupt;
use crate::commands::proto_json::ProtoJson;

/// Attempts in a row to subscribe again before watching ends; each of them tries a few times by itself.
const FAILURES_MAX: u32 = 10;
/// Wait between them.
const FAILURE_WAIT: Duration = Duration::from_secs(2);
/// Cursor to the upper left corner, then clear to the end of the screen.
const REDRAW: &str = "\x1b[H\x1b[J";
/// Clear the screen.
const CLEAR: &str = "\x1b[2J";

/// Prints figures until Ctrl-C.
pub(super) async fn run(args: WatchArgs, console: &mut Console) -> anyhow::Result<ExitCode> {
    let stop = on_interrupt()?;
    watch(args, console, &stop).await
}

pub(super) async fn watch(
    args: WatchArgs,
    console: &mut Console,
    stop: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let client = match args.query.connection.connect().await? {
        Ok(client) => client,
        Err(error) => return fail(&error, console),
    };
    let query = args.query.query();
    let stat = match described(&client, &query).await {
        Ok(stat) => stat,
        Err(error) => return fail(&error, console),
    };
    let mut view = View { query, stat, json: None, drawn: false, last: None };
    if args.json || !console.out_is_terminal {
        view.json = Some(ProtoJson::new()?);
    }
    let mut request = SubscribeStatsRequest {
        queries: vec![view.query.clone()],
        min_interval: prost_types::Duration::try_from(args.interval).ok(),
        at_least: args.query.at_least.clone(),
    };
    let mut failures = 0;
    loop {
        let error = tokio::select! {
            followed = follow(&client, &request, &mut view, &mut failures, console) => followed?,
            () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
        };
        // What the token stands for has been shown.
        if view.last.is_some() {
            request.at_least.clear();
        }
        failures += 1;
        if let Some(error) = &error {
            if !error.is_retryable() || failures >= FAILURES_MAX {
                return fail(error, console);
            }
            writeln!(console.err, "headwater: {error}; trying again")?;
        }
        tokio::select! {
            () = tokio::time::sleep(FAILURE_WAIT) => {}
            () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Shows answers until the subscription ends; gives the reason where it failed.
async fn follow(
    client: &Client,
    request: &SubscribeStatsRequest,
    view: &mut View,
    failures: &mut u32,
    console: &mut Console,
) -> anyhow::Result<Option<Error>> {
    let mut answers = match client.subscribe_stats(request.clone()).await {
        Ok(answers) => answers,
        Err(error) => return Ok(Some(error)),
    };
    loop {
        match answers.next().await {
            Ok(Some(answer)) => {
                *failures = 0;
                for result in answer.results {
                    view.show(result, console)?;
                }
            }
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
    }
}

struct View {
    query: StatQuery,
    stat: Stat,
    /// Set where lines of JSON are asked for.
    json: Option<ProtoJson>,
    drawn: bool,
    last: Option<(Vec<StatValue>, i64, bool)>,
}

impl View {
    fn show(&mut self, result: StatResult, console: &mut Console) -> anyhow::Result<()> {
        match &self.json {
            Some(json) => {
                // The platform answers now and then without a change, too.
                let now = (result.values.clone(), result.generation, result.complete);
                if self.last.as_ref() != Some(&now) {
                    writeln!(console.out, "{}", json.line("headwater.stats.v1.StatResult", &result)?)?;
                }
                self.last = Some(now);
            }
            None => {
                let mut text = Vec::new();
                figures(&self.query, &result, &self.stat, &mut text)?;
                let clear = if self.drawn { "" } else { CLEAR };
                write!(console.out, "{clear}{REDRAW}{}", String::from_utf8_lossy(&text))?;
                self.drawn = true;
                self.last = Some((Vec::new(), 0, true));
            }
        }
        console.out.flush()?;
        Ok(())
    }
}
