//! `headwater stats`: what statistics there are, what they say now, and what they say whenever they change.

mod get;
mod list;
mod table;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use headwater_client::v1::stats::StatQuery;

use super::connection::ConnectionArgs;
use super::console::Console;
use super::explain::unless_nobody_reads;
use super::quantities::duration;

/// Reads live statistics.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Statistics that there are
    List(ListArgs),
    /// Figures as they are now
    Get(GetArgs),
    /// Figures now and whenever they change: redrawn on a terminal, else a line of JSON for each change
    Watch(WatchArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    /// Only of this stream
    #[arg(default_value = "", hide_default_value = true)]
    stream: String,
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct QueryArgs {
    /// Name of the stream, for example page-events
    stream: String,
    /// Name of the statistic, for example top_pages
    stat: String,
    /// Only this key, for example a user's sessions or a page's views. Default: all keys, greatest first
    #[arg(long, default_value = "", hide_default_value = true, value_name = "KEY")]
    by: String,
    /// Keys to show, at most 10000
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "N")]
    limit: u32,
    /// How far back, for example 90s, 5m, 1h or 24h. Default: all time
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    window: Option<Duration>,
    /// Wait, up to --deadline, until what this token of a publish stands for is counted
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TOKEN")]
    at_least: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct GetArgs {
    #[command(flatten)]
    query: QueryArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct WatchArgs {
    #[command(flatten)]
    query: QueryArgs,
    /// Least time between two answers, 100ms to 60s
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "DURATION")]
    interval: Duration,
    /// Print a line of JSON for each change, on a terminal too
    #[arg(long)]
    json: bool,
}

/// Runs the one that was named. Exit code 1 where the platform refused, 2 where it could not be reached.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    unless_nobody_reads(run_on(args, &mut Console::process()).await)
}

async fn run_on(args: Args, console: &mut Console) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list::run(args, console).await,
        Command::Get(args) => get::run(args, console).await,
        Command::Watch(args) => watch::run(args, console).await,
    }
}

impl QueryArgs {
    fn query(&self) -> StatQuery {
        StatQuery {
            stream: self.stream.clone(),
            stat: self.stat.clone(),
            by: self.by.clone(),
            window: self.window.and_then(|window| prost_types::Duration::try_from(window).ok()),
            limit: self.limit,
            page_token: String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
