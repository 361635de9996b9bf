//! Makes histories of the cache with real processes on a real Redis, and measures how soon a change is seen everywhere.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use headwater_coherence::drive::{LagOptions, Plan, RunOptions, lag, run};

#[derive(Parser)]
#[command(
    name = "headwater-coherence",
    about = "Uses the cache through several replicas while things break, and judges it"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a history through three replicas, and have it judged
    Run {
        /// Decides what clients do and what is broken [default: chosen]
        #[arg(long)]
        seed: Option<u64>,
        /// links, failover, cluster, or calm
        #[arg(long, default_value = "links")]
        plan: Plan,
        /// How long
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Clients
        #[arg(long, default_value_t = 8)]
        clients: usize,
        /// Write the history here
        #[arg(long)]
        history: Option<PathBuf>,
        /// The platform [default: `headwater` beside this program]
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Measure how long another replica's memory answers what was replaced, and how old that gets without notices
    Lag {
        /// Writes through each of: one replica, the other, the store itself
        #[arg(long, default_value_t = 10_000)]
        writes: usize,
        /// Writers at once
        #[arg(long, default_value_t = 2)]
        writers: usize,
        /// How long notices are held back, in seconds
        #[arg(long, default_value_t = 10)]
        silent_seconds: u64,
        /// The platform [default: `headwater` beside this program]
        #[arg(long)]
        binary: Option<PathBuf>,
    },
}

#[tokio::main(worker_threads = 4)]
async fn main() -> Result<ExitCode> {
    let own = std::env::current_exe()?;
    let beside = |name: &str| own.with_file_name(name);
    match Arguments::parse().command {
        Command::Run { seed, plan, seconds, clients, history, binary } => {
            let options = RunOptions {
                seed: seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
                plan,
                lasts: Duration::from_secs(seconds),
                clients,
                history,
                binary: binary.unwrap_or_else(|| beside("headwater")),
                checker: beside("headwater-coherence-check"),
            };
            run(&options).await
        }
        Command::Lag { writes, writers, silent_seconds, binary } => {
            let options = LagOptions {
                writes,
                writers,
                silent: Duration::from_secs(silent_seconds),
                binary: binary.unwrap_or_else(|| beside("headwater")),
            };
            lag(&options).await
        }
    }
}
