//! Checks a history of the cache. Ends with 0 where everything holds, 1 where something does not, 2 where something is not
//! decided or there is too little to judge, 3 where the file is no history.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use headwater_coherence::check::{Findings, Limits, check};
use headwater_coherence::history::read;

const VIOLATED: u8 = 1;
const UNDECIDED: u8 = 2;
const NO_HISTORY: u8 = 3;

/// Says whether what clients were answered keeps what the cache promises.
#[derive(Parser)]
#[command(name = "headwater-coherence-check")]
struct Arguments {
    /// The history: JSON lines, the first of which says how it was made
    file: PathBuf,
    /// Added to the bound of staleness, in microseconds
    #[arg(long, default_value_t = Limits::default().slack_us)]
    slack_us: u64,
    /// Steps at most in search of an order, for each key
    #[arg(long, default_value_t = Limits::default().steps_max)]
    steps_max: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match judged(&arguments) {
        Ok(findings) => {
            print!("{findings}");
            let missing = findings.seen.missing();
            for what in &missing {
                println!("too little: there is not even {what}");
            }
            match (findings.violations.is_empty(), findings.undecided.is_empty() && missing.is_empty()) {
                (true, true) => ExitCode::SUCCESS,
                (true, false) => ExitCode::from(UNDECIDED),
                (false, _) => ExitCode::from(VIOLATED),
            }
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(NO_HISTORY)
        }
    }
}

fn judged(arguments: &Arguments) -> Result<Findings> {
    let limits = Limits { slack_us: arguments.slack_us, steps_max: arguments.steps_max };
    check(&read(&arguments.file)?, &limits)
}
