//! What the project does to itself: generated code, real servers, the test run, house rules.

mod clients;
mod codegen;
mod contracts;
mod parts;
mod test_run;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What the project does to itself")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The clients that are not Rust, and what is deployed
    Clients {
        #[command(subcommand)]
        action: clients::Action,
    },
    /// Compile proto/ to crates/contracts/src/generated
    Codegen {
        /// Write nothing; fail when what is committed is not what the contracts say
        #[arg(long)]
        check: bool,
    },
    /// Check the contracts' style, and that they break no client of the last release
    Contracts,
    /// Kafka, a schema registry, Redis and Postgres, for trying things out and for single tests
    Parts {
        #[command(subcommand)]
        action: parts::Action,
    },
    /// Run all tests on real servers, or those that the arguments of cargo nextest choose
    Test {
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Check the house rules that no linter knows
    Tidy,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Clients { action } => clients::run(&root(), &action),
        Task::Codegen { check } => codegen::run(&root(), check),
        Task::Contracts => contracts::run(&root()),
        Task::Parts { action } => parts::run(&root(), &action),
        Task::Test { arguments } => test_run::run(&root(), &arguments),
        Task::Tidy => tidy::run(&root()),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace, whatever folder the command was typed in.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("tools/xtask lies two folders below the root").to_owned()
}
