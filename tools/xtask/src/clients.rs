//! What is not Rust: the clients in Python, Scala and Go, and what is deployed. Each is built, checked and tested by its own
//! language's tools, in its own folder.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Subcommand;
use headwater_testkit as testkit;

use crate::test_run::path_with_tools;

/// The platform's binary, for tests that start it.
const BINARY: &str = "HEADWATER_TEST_BIN";

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Build the client for Scala; the one for Python is installed by tools/setup, the one for Go is built by its tests
    Build,
    /// Check formatting, types and generated code of the clients, and what is deployed
    Lint,
    /// Run their tests on the parts that the HEADWATER_TEST_… variables name
    Test,
}

pub(crate) fn run(root: &Path, action: &Action) -> Result<ExitCode> {
    let commands = match action {
        Action::Build => build(root),
        Action::Lint => build(root).into_iter().chain(lint(root)).collect(),
        Action::Test => test(root),
    };
    let mut failed = false;
    for mut command in commands {
        let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
        if !status.success() {
            eprintln!("failed: {command:?}");
            failed = true;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What other tests need before they can run the clients.
pub(crate) fn build(root: &Path) -> Vec<Command> {
    vec![maven(root, &["package", "-DskipTests"])]
}

fn lint(root: &Path) -> Vec<Command> {
    vec![
        python(root, &["-m", "ruff", "check", "."]),
        python(root, &["-m", "ruff", "format", "--check", "."]),
        python(root, &["-m", "mypy"]),
        python(root, &["codegen.py", "--check"]),
        // What gofmt would change, it prints; that is no failure to it. It lies beside the compiler, wherever that is.
        command(
            root,
            "clients/go",
            "sh",
            &[
                "-ec",
                "bad=$(\"$(go env GOROOT)/bin/gofmt\" -l .); test -z \"$bad\" || { echo \"gofmt: $bad\"; exit 1; }",
            ],
        ),
        command(root, "clients/go", "go", &["vet", "./..."]),
        maven(root, &["spotless:check"]),
        command(root, ".", "deploy/check", &[]),
    ]
}

/// Their tests. They need the parts' variables, and what `build` makes.
pub(crate) fn test(root: &Path) -> Vec<Command> {
    vec![
        python(root, &["-m", "pytest"]),
        maven(root, &["test"]),
        command(root, "clients/go", "go", &["test", "-count=1", "./..."]),
        command(root, ".", "pytest", &["-q", "deploy/tests"]),
    ]
}

fn python(root: &Path, arguments: &[&str]) -> Command {
    command(root, "clients/python", ".venv/bin/python", arguments)
}

fn maven(root: &Path, arguments: &[&str]) -> Command {
    let mut all = vec!["--batch-mode", "--quiet"];
    all.extend(arguments);
    command(root, "clients/scala", "mvn", &all)
}

fn command(root: &Path, folder: &str, program: &str, arguments: &[&str]) -> Command {
    let folder = root.join(folder);
    // A program with a folder in its name is one of that folder.
    let program = if program.contains('/') { folder.join(program) } else { PathBuf::from(program) };
    let mut command = Command::new(program);
    // Go of a machine that has none comes with the Python tools.
    let tools = testkit::tools_dir().join("python/bin");
    let path = env::join_paths(env::split_paths(&path_with_tools()).chain([tools]));
    command.args(arguments).current_dir(folder).env(BINARY, root.join("target/debug/headwater"));
    if let Ok(path) = path {
        command.env("PATH", path);
    }
    command
}
