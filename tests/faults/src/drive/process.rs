//! A process of the platform.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_testkit::{Options, Program, free_port};

/// Names the bug that a build with planted bugs has; it is handed on to the platform.
const PLANTED_BUG: &str = "HEADWATER_PLANTED_BUG";
/// Closes what the driver's Kafka clients left open for whoever is started, or descriptors could not be compared; then
/// becomes the program that is named first.
const OWN_DESCRIPTORS_ONLY: &str = r#"for fd in /proc/$$/fd/*; do fd=${fd##*/}; if [ "$fd" -gt 2 ]; then eval "exec $fd>&-"; fi; done; exec "$0" "$@""#;
const READY_MAX: Duration = Duration::from_secs(60);

/// What every process of the platform is started with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) binary: PathBuf,
    pub(super) folder: PathBuf,
    /// Arguments after `serve --role ROLE`.
    pub(super) arguments: Vec<String>,
}

/// A process by its name: what it is, and where it can be looked at.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) role: &'static str,
    pub(super) pid: u32,
    pub(super) http_port: u16,
}

/// Every process that runs now.
#[derive(Clone, Default)]
pub(super) struct Roster(Arc<Mutex<BTreeMap<String, Running>>>);

/// A process of the platform that can be killed and started again, on the same ports.
pub(super) struct Process {
    pub(super) name: String,
    role: &'static str,
    program: Program,
    http_port: u16,
    roster: Roster,
}

impl Roster {
    pub(super) fn all(&self) -> BTreeMap<String, Running> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts it; it lives, and may not be ready yet.
    pub(super) fn start(role: &'static str, number: usize, settings: &Settings, roster: &Roster) -> Result<Self> {
        let name = format!("{role}-{number}");
        let http_port = free_port()?;
        let options = Options::default().dir(settings.folder.join(&name));
        let program = Program::start(role, &options, http_port, "/livez", |_: &Path, port| {
            let mut command = Command::new("bash");
            command.args(["-c", OWN_DESCRIPTORS_ONLY]).arg(&settings.binary);
            for (variable, _) in std::env::vars_os() {
                let variable = variable.to_string_lossy();
                if variable.starts_with("HEADWATER_") && variable != PLANTED_BUG {
                    command.env_remove(variable.as_ref());
                }
            }
            command
                .args(["serve", "--role", role])
                .args([
                    "--listen-grpc",
                    &format!("127.0.0.1:{port}"),
                    "--listen-http",
                    &format!("127.0.0.1:{http_port}"),
                ])
                .args(&settings.arguments);
            Ok(command)
        })
        .with_context(|| name.clone())?;
        let process = Self { name, role, program, http_port, roster: roster.clone() };
        process.enroll();
        Ok(process)
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.program.port())
    }

    /// Kills it, as `kill -9` does.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.roster.lock().remove(&self.name);
        self.program.kill()
    }

    /// Starts it again after a kill.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.program.restart().with_context(|| self.name.clone())?;
        self.enroll();
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn end(&mut self) -> Result<()> {
        self.roster.lock().remove(&self.name);
        self.program.stop()
    }

    pub(super) fn pause(&mut self) -> Result<()> {
        self.program.pause()
    }

    pub(super) fn resume(&mut self) -> Result<()> {
        self.program.resume()
    }

    /// Waits until `/readyz` says yes.
    pub(super) fn ready(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.program.page("/readyz") {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > READY_MAX || !self.is_alive() => {
                    bail!("{} did not become ready: {error:#}\n{}", self.name, self.program.log_tail())
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Whether it has a connection from this port.
    pub(super) fn connects_from(&self, port: u16) -> bool {
        self.program.process().is_some_and(|process| process.connects_from(port))
    }

    /// Whether it runs: one that ended by itself has failed.
    pub(super) fn is_alive(&self) -> bool {
        self.program.process().is_some()
    }

    /// The end of its log.
    pub(super) fn log_tail(&self) -> String {
        self.program.log_tail()
    }

    fn enroll(&self) {
        if let Some(process) = self.program.process() {
            let running = Running { role: self.role, pid: process.pid, http_port: self.http_port };
            self.roster.lock().insert(self.name.clone(), running);
        }
    }
}
