//! Adds up the transactions of a topic by account.

use std::process::ExitCode;

use clap::Parser;
use headwater_conformance::{consumer, report};

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("headwater-consume-transactions: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    report("headwater-consume-transactions", consumer::run(&consumer::Args::parse(), runtime.handle()))
}
