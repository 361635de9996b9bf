//! Paired benchmarks: what Headwater does against the floor under it, both in one run, by turns.

mod floor;
mod load;
mod pair;
mod pairs;
mod server;
mod zipf;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

/// Paired benchmarks: product and floor in one run, alternating; medians, and work per CPU-second.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the pairs.
    List,
    /// Run pairs: all, or those that are named.
    Run(RunArgs),
    /// Be a floor's server (started by `run`).
    #[command(hide = true)]
    Floor(floor::FloorArgs),
    /// Be the process whose memory is measured (started by `run`).
    #[command(hide = true)]
    Memory {
        /// Bytes of a value.
        value_bytes: usize,
    },
}

/// How pairs are run.
#[derive(Args, Clone)]
pub(crate) struct RunArgs {
    /// Names of pairs, see `list`. None: all.
    names: Vec<String>,
    /// Rounds of each side.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// The binary that is measured.
    #[arg(long, default_value = "target/release/headwater")]
    headwater: std::path::PathBuf,
}

impl RunArgs {
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::List => {
            for pair in pairs::ALL {
                println!("{:24} {}", pair.name, pair.about);
            }
            Ok(())
        }
        Command::Run(args) => run(&args),
        Command::Floor(args) => floor::serve(&args),
        Command::Memory { value_bytes } => pairs::memory::one(value_bytes),
    }
}

fn run(args: &RunArgs) -> Result<()> {
    if let Some(unknown) = args.names.iter().find(|name| !pairs::ALL.iter().any(|pair| pair.name == **name)) {
        bail!("there is no pair {unknown:?}: `list` lists them");
    }
    for pair in pairs::ALL.iter().filter(|pair| args.names.is_empty() || args.names.iter().any(|n| n == pair.name)) {
        println!("== {}: {}", pair.name, pair.about);
        (pair.run)(args)?;
    }
    Ok(())
}
