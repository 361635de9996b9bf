//! Appends transactions to a topic.

use std::process::ExitCode;

use clap::Parser;
use headwater_conformance::{producer, report};

#[tokio::main]
async fn main() -> ExitCode {
    report("headwater-produce-transactions", producer::run(&producer::Args::parse()).await)
}
