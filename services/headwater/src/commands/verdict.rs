//! `headwater explain`: what became of an event.

mod tell;

use std::io::Write;
use std::process::ExitCode;

use headwater_client::v1::stats::ExplainVerdictRequest;

use super::connection::ConnectionArgs;
use super::console::Console;
use super::explain::{REFUSED, fail, unless_nobody_reads};
use super::proto_json::ProtoJson;

/// Tells what became of an event: stored and counted, flagged by which rule, a duplicate of what, or dead and why.
///
/// Exit code: 0 something is known of the id, 1 nothing is or the platform refused, 2 it could not be asked.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the stream, for example page-events
    stream: String,
    /// The event's id, as it was published
    id: String,
    /// Wait, up to --deadline, until what this token of a publish stands for is stored
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TOKEN")]
    at_least: String,
    /// Records to show, at most 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=1000), value_name = "N")]
    limit: i32,
    /// Print the answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Asks, and prints the answer.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    unless_nobody_reads(run_on(args, &mut Console::process()).await)
}

async fn run_on(args: Args, console: &mut Console) -> anyhow::Result<ExitCode> {
    let client = match args.connection.connect().await? {
        Ok(client) => client,
        Err(error) => return fail(&error, console),
    };
    let request = ExplainVerdictRequest {
        stream: args.stream.clone(),
        id: args.id.clone(),
        at_least: args.at_least,
        page_size: args.limit,
        page_token: String::new(),
    };
    let answer = match client.explain_verdict(request).await {
        Ok(answer) => answer,
        Err(error) => return fail(&error, console),
    };
    if args.json {
        let line = ProtoJson::new()?.line("headwater.stats.v1.ExplainVerdictResponse", &answer)?;
        writeln!(console.out, "{line}")?;
    } else {
        tell::tell(&args.stream, &args.id, &answer, &mut console.out)?;
    }
    Ok(if answer.records.is_empty() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

#[cfg(test)]
mod tests;
