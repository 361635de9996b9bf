//! Checks what the platform made of what was sent. Ends with 1 where something does not hold.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use headwater_faults::check::check;
use headwater_faults::evidence::Sources;
use headwater_faults::journal::Journal;
use headwater_faults::measures::{self, Measure};

/// Computes everything anew from the sender's journal, and compares it with what is there.
#[derive(Parser)]
#[command(name = "headwater-check")]
struct Arguments {
    /// What the sender wrote down
    #[arg(long)]
    journal: PathBuf,
    /// What the driver measured; without it recovery and memory are not judged
    #[arg(long)]
    measures: Option<PathBuf>,
    /// postgres://user@host:port/database
    #[arg(long)]
    postgres: String,
    /// The Postgres schema
    #[arg(long, default_value = "headwater")]
    schema: String,
    /// host:port,host:port
    #[arg(long)]
    kafka: String,
    /// The processors' consumer group
    #[arg(long, default_value = "headwater-processor")]
    group: String,
    /// <http://host:port> of a StatsService
    #[arg(long)]
    stats: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let journal = Journal::read(&arguments.journal)?;
    let measures: Vec<Measure> = match &arguments.measures {
        Some(path) => measures::read(path)?,
        None => Vec::new(),
    };
    let sources = Sources {
        postgres: arguments.postgres,
        schema: arguments.schema,
        kafka: arguments.kafka,
        group: arguments.group,
        stats: arguments.stats,
    };
    let findings = check(&journal, &sources.read().await?, &measures);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        print!("{findings}");
    }
    Ok(if findings.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
