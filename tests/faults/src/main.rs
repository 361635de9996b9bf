//! Breaks the real stack on purpose, under load, and checks that nothing was lost and nothing counted twice.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use headwater_faults::drive::{Options, Plan, run};
use tokio::signal::unix::{SignalKind, signal};

/// What a shell reports of a program that was interrupted.
const INTERRUPTED: u8 = 130;
/// How long servers may take to end after an interruption, before they are left to the kernel, which kills them with us.
const END_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Parser)]
#[command(name = "headwater-faults", about = "Breaks the real stack under load, and checks what became of it")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything, send, break, measure, check, report
    Run {
        /// Decides what is broken when; the same seed is the same plan [default: chosen]
        #[arg(long)]
        seed: Option<u64>,
        /// full, short, or KIND=TIMES, for example processor-killed=3
        #[arg(long, default_value = "full")]
        plan: Plan,
        /// No further fault after that many seconds
        #[arg(long)]
        duration_s: Option<u64>,
        /// Write the report here too
        #[arg(long)]
        report: Option<PathBuf>,
        /// The platform [default: `headwater` beside this program]
        #[arg(long)]
        binary: Option<PathBuf>,
        /// Keep the folder with journal, data and logs, also where everything holds
        #[arg(long)]
        keep: bool,
    },
}

#[tokio::main(worker_threads = 4)]
async fn main() -> Result<ExitCode> {
    let Arguments { command: Command::Run { seed, plan, duration_s, report, binary, keep } } = Arguments::parse();
    let own = std::env::current_exe()?;
    let beside = |name: &str| own.with_file_name(name);
    let options = Options {
        seed: seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        plan,
        duration: duration_s.map(Duration::from_secs),
        report,
        binary: binary.unwrap_or_else(|| beside("headwater")),
        checker: beside("headwater-check"),
        keep,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // In a task of its own, so that a step that blocks does not keep a signal waiting.
    let mut running = tokio::spawn(async move { run(&options).await });
    tokio::select! {
        ended = &mut running => {
            return Ok(match ended.context("the run panicked")? {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(error) => {
                    eprintln!("the run failed: {error:#}");
                    ExitCode::FAILURE
                }
            });
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    eprintln!("interrupted: ending everything");
    running.abort();
    let _ = tokio::time::timeout(END_TIMEOUT, running).await;
    Ok(ExitCode::from(INTERRUPTED))
}
