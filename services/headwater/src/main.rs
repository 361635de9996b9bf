//! `headwater`: every service by itself on a laptop, or role by role in production.

mod cli;
mod commands;
mod contracts;
mod dev;
mod outside;
mod page;
mod platform;
mod resume;
mod roles;
mod serve;
mod settings;

use std::process::ExitCode;

use clap::FromArgMatches;

use crate::commands::{cache, generate, publish, rebuild, stats, verdict};

/// Answers are many small pieces, made and given back at a high rate: with this allocator a hit of the cache's memory takes a
/// tenth less CPU, and a batch of 64 keys from Redis too (`make bench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = cli::command().get_matches();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("headwater: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match matches.subcommand() {
            Some(("dev", matches)) => dev::run(matches).await,
            Some(("serve", matches)) => serve::run(matches).await,
            Some(("resume", matches)) => resume::run(matches).await,
            Some(("settings", matches)) => settings::run(matches),
            Some(("contracts", matches)) => contracts::run(matches).await,
            Some(("publish", matches)) => publish::run(publish::Args::from_arg_matches(matches)?).await,
            Some(("generate", matches)) => generate::run(generate::Args::from_arg_matches(matches)?).await,
            Some(("stats", matches)) => stats::run(stats::Args::from_arg_matches(matches)?).await,
            Some(("explain", matches)) => verdict::run(verdict::Args::from_arg_matches(matches)?).await,
            Some(("cache", matches)) => cache::run(cache::Args::from_arg_matches(matches)?).await,
            Some(("rebuild", matches)) => rebuild::run(rebuild::Args::from_arg_matches(matches)?).await,
            _ => unreachable!("clap asks for a command"),
        }
    });
    // A task that does not end by itself, such as a read of standard input, must not keep the process.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| {
        eprintln!("headwater: {error:#}");
        ExitCode::FAILURE
    })
}
