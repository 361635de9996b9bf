//! The whole test run: doc tests, tests with planted bugs, real servers up, cargo nextest, real servers down.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use headwater_testkit::{self as testkit, ProcessId};
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::{clients, parts};

/// Ended by Ctrl-C or SIGTERM: what a shell says then.
const INTERRUPTED: u8 = 130;

/// Runs all tests, or with arguments of nextest those that they choose (then neither doc tests nor those with planted
/// bugs).
///
/// Where the four `HEADWATER_TEST_…` variables are set, those servers are used and none is started.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let began = Instant::now();
    let names = [testkit::KAFKA, testkit::REGISTRY, testkit::REDIS, testkit::POSTGRES];
    let given = names.iter().all(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    let mut steps = Steps::new()?;

    // Compiled before the servers start: they would only take memory and processor from the compiler.
    let select = Selection::of(arguments);
    let mut build = cargo(root, &select.nextest(&["--no-run"]));
    let mut code = steps.run(&mut build)?;
    if code == 0 && arguments.is_empty() {
        code = steps.run(&mut cargo(root, &planted(&["--no-run"])))?;
    }
    // Tests run the clients of all languages against each other.
    if code == 0 && arguments.is_empty() {
        for command in clients::build(root) {
            if code == 0 {
                code = steps.run(&mut command.into())?;
            }
        }
    }
    let compiled_s = began.elapsed().as_secs();

    if code == 0 && arguments.is_empty() {
        let doc_tests = ["test", "--doc", "--workspace", "--quiet"].map(str::to_owned).to_vec();
        code = steps.run(&mut cargo(root, &locked(doc_tests)))?;
    }
    if code == 0 && arguments.is_empty() {
        code = steps.run(&mut cargo(root, &planted(&["--success-output", "final"])))?;
    }
    if code == 0 {
        let folder = run_folder()?;
        let parts = match given {
            true => None,
            false => Some(parts::start_private(folder.path()).context("the real servers cannot be started")?),
        };
        let mut tests = cargo(root, &select.nextest(&[]));
        // What an interrupted test leaves goes with the run.
        tests.env("TMPDIR", folder.path());
        tests.envs(parts.iter().flat_map(|parts| parts.variables.iter().map(|(name, value)| (name, value))));
        code = steps.run(&mut tests)?;
        let of_clients = if arguments.is_empty() { clients::test(root) } else { Vec::new() };
        for command in of_clients {
            let mut command = Command::from(command);
            command.env("TMPDIR", folder.path());
            command.envs(parts.iter().flat_map(|parts| parts.variables.iter().map(|(name, value)| (name, value))));
            // All of them, so that one run says of each what is wrong.
            let ended = steps.run(&mut command)?;
            code = if code == 0 { ended } else { code };
        }
    }
    println!("test: {} s in all, {compiled_s} s of it compiling", began.elapsed().as_secs());
    Ok(ExitCode::from(code))
}

/// Everything that the run writes is below one folder, named by the process that removes it.
fn run_folder() -> Result<tempfile::TempDir> {
    const PREFIX: &str = "headwater-test-";
    for entry in fs::read_dir(env::temp_dir())?.flatten() {
        // Left by a run that was killed: `PREFIX process-start-random`.
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, rest)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else { continue };
        let Some((start, _)) = rest.split_once('-') else { continue };
        if let (Ok(pid), Ok(started_ticks)) = (pid.parse(), start.parse())
            && !(ProcessId { pid, started_ticks }).is_alive()
        {
            // Another user's may stay.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let own = ProcessId::of(std::process::id()).context("this process runs")?;
    let folder = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-{}-", own.pid, own.started_ticks)).tempdir()?;
    // Postgres runs as another user where this is root, and must get through.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
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

/// The tests of the tests: what they test is built once more, with bugs that can be planted in it. By `--workspace`, so
/// that nothing else is.
fn planted(more: &[&str]) -> Vec<String> {
    let features = "headwater-coherence/planted-bugs,headwater-ingest/planted-bugs,headwater-processor/planted-bugs";
    let all = ["nextest", "run", "--workspace", "--features", features, "--test", "planted"];
    locked(all.iter().chain(more).map(|&argument| argument.to_owned()).collect())
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

/// Runs command after command, also through Ctrl-C and SIGTERM, so that the servers are stopped and their data removed.
struct Steps {
    runtime: Runtime,
    /// The signal that ends the run, once there was one.
    ended_by: watch::Receiver<Option<SignalKind>>,
}

impl Steps {
    fn new() -> Result<Self> {
        // With a thread of its own, so that signals are seen between the commands too.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (sender, ended_by) = watch::channel(None);
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        drop(entered);
        runtime.spawn(async move {
            let kind = tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
            };
            sender.send_replace(Some(kind));
            // Kept: a closed channel would look like another signal.
            sender.closed().await;
        });
        Ok(Self { runtime, ended_by })
    }

    /// Runs a command to its end and returns its exit code.
    fn run(&mut self, command: &mut Command) -> Result<u8> {
        let Self { runtime, ended_by } = self;
        if ended_by.borrow().is_some() {
            return Ok(INTERRUPTED);
        }
        runtime.block_on(async {
            let mut child = command.spawn().with_context(|| format!("cannot start {:?}", command.as_std()))?;
            let process = child.id().and_then(ProcessId::of);
            tokio::select! {
                status = child.wait() => {
                    return Ok(status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
                }
                _ = ended_by.changed() => {}
            }
            // A terminal sends SIGINT to the child as well.
            if *ended_by.borrow() == Some(SignalKind::terminate())
                && let Some(process) = process
            {
                process.signal("TERM")?;
            }
            child.wait().await?;
            Ok(INTERRUPTED)
        })
    }
}
