//! `headwater cache`: values by key, and the namespaces that they are kept in.

mod delete;
mod get;
mod namespaces;
mod outcome;
mod set;
mod spelling;
mod watch;

use std::ffi::OsString;
use std::io::Read;
use std::process::ExitCode;

use headwater_client::Error;
use headwater_client::cache::Cache;

use super::connection::ConnectionArgs;
use super::console::Console;
use super::explain::unless_nobody_reads;

/// Reads, writes and watches keys of the cache.
///
/// Keys and values are bytes; an argument is taken as the bytes that it has.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    Get(get::Args),
    Set(set::Args),
    Delete(delete::Args),
    Watch(watch::Args),
    Namespaces(namespaces::Args),
}

/// Whose keys.
#[derive(Clone, Debug, clap::Args)]
struct SpaceArgs {
    /// Namespace of the keys
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    namespace: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl SpaceArgs {
    /// Connects, or says why not as a failure of the client.
    async fn connect(&self) -> anyhow::Result<Result<Cache, Error>> {
        Ok(self.connection.connect().await?.map(|client| client.cache(&self.namespace)))
    }
}

/// Runs the one that was named. Exit code 1 on a miss or where the platform refused, 2 where it could not be reached.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    unless_nobody_reads(run_on(args, &mut Console::process(), &mut std::io::stdin()).await)
}

async fn run_on(args: Args, console: &mut Console, input: &mut dyn Read) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Get(args) => get::run(args, console).await,
        Command::Set(args) => set::run(args, console, input).await,
        Command::Delete(args) => delete::run(args, console).await,
        Command::Watch(args) => watch::run(args, console).await,
        Command::Namespaces(args) => namespaces::run(args, console).await,
    }
}

fn bytes_of(argument: OsString) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    argument.into_vec()
}

#[cfg(test)]
mod tests;
