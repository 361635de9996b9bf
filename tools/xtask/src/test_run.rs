//! The whole test run: real servers up, cargo nextest, doc tests, real servers down.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use headwater_testkit as testkit;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::parts;

/// Ended by Ctrl-C or SIGTERM: what a shell says then.
const INTERRUPTED: u8 = 130;

/// Runs all tests, or with arguments of nextest those that they choose (and no doc tests then).
///
/// Where the four `HEADWATER_TEST_…` variables are set, those servers are used and none is started.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let began = Instant::now();
    let names = [testkit::KAFKA, testkit::REGISTRY, testkit::REDIS, testkit::POSTGRES];
    let given = names.iter().all(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    // Compiled before the servers start: they would only take memory and processor from the compiler.
    let select = Selection::of(arguments);
    let mut build = cargo(root, &select.nextest(&["--no-run"]));
    let mut code = runtime.block_on(wait(&mut build))?;
    let compiled_s = began.elapsed().as_secs();

    if code == 0 {
        let parts =
            if given { None } else { Some(parts::start_private().context("the real servers cannot be started")?) };
        let mut tests = cargo(root, &select.nextest(&[]));
        tests.envs(parts.iter().flat_map(|parts| parts.variables.iter().map(|(name, value)| (name, value))));
        code = runtime.block_on(wait(&mut tests))?;
        if code == 0 && arguments.is_empty() {
            let mut doc_tests =
                cargo(root, &locked(["test", "--doc", "--workspace", "--quiet"].map(str::to_owned).to_vec()));
            code = runtime.block_on(wait(&mut doc_tests))?;
        }
    }
    println!("test: {} s in all, {compiled_s} s of it compiling", began.elapsed().as_secs());
    Ok(ExitCode::from(code))
}

/// What was asked for, as arguments of cargo nextest.
struct Selection<'a> {
    arguments: &'a [String],
    all: bool,
}

impl<'a> Selection<'a> {
    fn of(arguments: &'a [String]) -> Self {
        let names_packages =
            |argument: &String| argument == "-p" || argument.starts_with("--package") || argument == "--manifest-path";
        Self { arguments, all: !arguments.iter().any(names_packages) }
    }

    fn nextest(&self, more: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = ["nextest", "run"].map(str::to_owned).to_vec();
        if self.all {
            all.push("--workspace".to_owned());
        }
        all.extend(more.iter().map(|&argument| argument.to_owned()));
        let mut all = locked(all);
        all.extend(self.arguments.iter().cloned());
        all
    }
}

/// In CI a stale Cargo.lock is a mistake; at a desk cargo may mend it.
fn locked(mut arguments: Vec<String>) -> Vec<String> {
    if env::var_os("CI").is_some() {
        arguments.push("--locked".to_owned());
    }
    arguments
}

fn cargo(root: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root).env("PATH", path_with_tools());
    command
}

/// The path with `.tools/bin` before it, where cargo-nextest lies.
pub(crate) fn path_with_tools() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(testkit::tools_dir().join("bin")).chain(env::split_paths(&path));
    env::join_paths(folders).unwrap_or(path)
}

/// Waits for the command's end, also through Ctrl-C and SIGTERM, so that the servers are stopped and their data removed.
async fn wait(command: &mut Command) -> Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = command.spawn().with_context(|| format!("cannot start {:?}", command.as_std()))?;
    let process = child.id().and_then(testkit::ProcessId::of);
    let mut interrupted = false;
    loop {
        tokio::select! {
            status = child.wait() => {
                let code = status?.code().and_then(|code| u8::try_from(code).ok());
                return Ok(if interrupted { INTERRUPTED } else { code.unwrap_or(1) });
            }
            // A terminal sends it to the child as well.
            _ = interrupt.recv() => interrupted = true,
            _ = terminate.recv() => {
                interrupted = true;
                if let Some(process) = &process {
                    process.signal("TERM")?;
                }
            }
        }
    }
}
