//! The life of one server: started, asked whether it is ready, killed, paused, restarted.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::install::free_port;
use crate::process::{self, Bond, ProcessId};

/// How long a server may take to become ready. Two cores that also compile make everything slow.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long a server may take to end after it was asked to.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// How often a start on a port of our own choice is tried: another process may take the port first.
const START_TRIES: u32 = 3;
/// How long a restart is tried for: what the killed server left (its children, its sockets) may take a moment to go.
const RESTART_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks at something that is awaited.
const POLL_EVERY: Duration = Duration::from_millis(25);
/// How much of the log an error shows.
const LOG_TAIL_LINES: usize = 25;
/// How much of the log is read for that, and to tell whether a server is ready.
const LOG_READ_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What can be chosen of a server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The port of 127.0.0.1. Default: a free one.
    pub port: Option<u16>,
    /// The folder for data and log, kept afterwards. Default: a temporary one.
    pub dir: Option<PathBuf>,
    /// Settings in the server's own names, on top of the testkit's.
    pub settings: Vec<(String, String)>,
    /// Heap of a Java server in MiB. Default: Kafka 768, the registry 384.
    pub heap_mib: Option<u32>,
    /// The port that Kafka tells its clients to connect to, where they reach it through a proxy. Default: its own.
    pub advertised_port: Option<u16>,
    /// Keeps the server when the handle is dropped and when the process ends. Default: it dies with either.
    pub detached: bool,
}

impl Options {
    /// Adds a setting in the server's own name for it.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets the folder.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }
}

/// A running server process. Every kind of server derefs to it.
pub struct Server {
    recipe: Recipe,
    dir: PathBuf,
    log: PathBuf,
    log_start: u64,
    bond: Bond,
    child: Option<Child>,
    paused: bool,
    _temporary: Option<TempDir>,
}

/// Whether a server is ready, from its log since the start and by asking it; if not, why.
type Ready = Box<dyn Fn(&str) -> Result<()> + Send + Sync>;

/// What is different from server to server.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// The signal that asks for an orderly end.
    pub(crate) stop_signal: &'static str,
    /// The user that it has to run as, where that is not ours.
    pub(crate) user: Option<(u32, u32)>,
    pub(crate) command: Command,
    pub(crate) ready: Ready,
}

impl Server {
    /// Starts a server: `prepare` is given the folder and the port, and makes the recipe.
    pub(crate) fn start(
        name: &'static str,
        options: &Options,
        prepare: impl Fn(&Path, u16) -> Result<Recipe>,
    ) -> Result<Self> {
        let mut left = if options.port.is_some() { 1 } else { START_TRIES };
        loop {
            left -= 1;
            let started = Self::try_start(name, options, &prepare);
            if started.is_ok() || left == 0 {
                return started;
            }
        }
    }

    fn try_start(
        name: &'static str,
        options: &Options,
        prepare: impl Fn(&Path, u16) -> Result<Recipe>,
    ) -> Result<Self> {
        let port = match options.port {
            Some(port) => {
                ensure!(!process::port_is_taken(port), "{name}: port {port} is in use");
                port
            }
            None => free_port()?,
        };
        let (dir, temporary) = match &options.dir {
            Some(dir) => {
                fs::create_dir_all(dir).with_context(|| format!("{name}: cannot make {}", dir.display()))?;
                (dir.clone(), None)
            }
            None => {
                let temporary = tempfile::Builder::new().prefix(&format!("headwater-{name}-")).tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let recipe = prepare(&dir, port).with_context(|| format!("{name} could not be prepared"))?;
        let mut server = Self {
            recipe,
            log: dir.join(format!("{name}.log")),
            dir,
            log_start: 0,
            bond: if options.detached { Bond::Detached } else { Bond::DiesWithUs },
            child: None,
            paused: false,
            _temporary: temporary,
        };
        if let Err(error) = server.launch() {
            server.end();
            return Err(error);
        }
        Ok(server)
    }

    /// The port of 127.0.0.1 that it listens on. Stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.recipe.port
    }

    /// The folder with its data and its log.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its process. Nothing while it is killed or stopped.
    #[must_use]
    pub fn process(&self) -> Option<ProcessId> {
        ProcessId::of(self.child.as_ref()?.id())
    }

    /// The last lines that it logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.log_since(0);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Kills it, as `kill -9` does, and waits until it is gone. It can be restarted.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill(&mut self) -> Result<()> {
        ensure!(self.process().is_some(), "{} does not run:\n{}", self.recipe.name, self.log_tail());
        self.end();
        Ok(())
    }

    /// Asks it to end in good order, and waits until it has. It can be restarted.
    ///
    /// # Errors
    /// Where it does not run, or had to be killed because it took longer than 20 s.
    pub fn stop(&mut self) -> Result<()> {
        let name = self.recipe.name;
        let process = self.process().with_context(|| format!("{name} does not run"))?;
        if self.paused {
            self.resume()?;
        }
        process.signal(self.recipe.stop_signal)?;
        let deadline = Instant::now() + STOPPED_WITHIN;
        while self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))) {
            if Instant::now() > deadline {
                self.end();
                bail!("{name} did not stop within {} s and was killed:\n{}", STOPPED_WITHIN.as_secs(), self.log_tail());
            }
            std::thread::sleep(POLL_EVERY);
        }
        self.child = None;
        Ok(())
    }

    /// Starts it again, on the same port and data; where it runs it is stopped first.
    ///
    /// # Errors
    /// Where it does not become ready; with the last lines of its log.
    pub fn restart(&mut self) -> Result<()> {
        if self.process().is_some() {
            self.stop()?;
        }
        let deadline = Instant::now() + RESTART_WITHIN;
        loop {
            match self.launch() {
                Ok(()) => return Ok(()),
                // One that hangs is not tried again, one that ended by itself is.
                Err(error) if self.child.is_some() || Instant::now() > deadline => {
                    self.end();
                    return Err(error);
                }
                Err(_) => std::thread::sleep(10 * POLL_EVERY),
            }
        }
    }

    /// Stops its clock (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn pause(&mut self) -> Result<()> {
        self.process().with_context(|| format!("{} does not run", self.recipe.name))?.signal("STOP")?;
        self.paused = true;
        Ok(())
    }

    /// Lets it go on after [`Self::pause`].
    ///
    /// # Errors
    /// Where it does not run.
    pub fn resume(&mut self) -> Result<()> {
        self.process().with_context(|| format!("{} does not run", self.recipe.name))?.signal("CONT")?;
        self.paused = false;
        Ok(())
    }

    fn launch(&mut self) -> Result<()> {
        let Recipe { name, port, user, .. } = self.recipe;
        self.end();
        self.log_start = fs::metadata(&self.log).map_or(0, |file| file.len());
        let command = process::bind(&self.recipe.command, self.bond, user)?;
        let child = self.child.insert(process::spawn(command, &self.log)?);
        let pid = child.id();
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let exited = match &mut self.child {
                Some(child) => child.try_wait()?,
                None => None,
            };
            if let Some(status) = exited {
                self.child = None;
                bail!("{name} ended before it was ready ({status}):\n{}", self.log_tail());
            }
            let waiting_for = if process::listens(pid, port) {
                match (self.recipe.ready)(&self.log_since(self.log_start)) {
                    Ok(()) => return Ok(()),
                    Err(reason) => format!("{reason:#}"),
                }
            } else {
                format!("it does not listen on port {port}")
            };
            if Instant::now() > deadline {
                bail!("{name} was not ready within {} s: {waiting_for}\n{}", READY_WITHIN.as_secs(), self.log_tail());
            }
            std::thread::sleep(POLL_EVERY);
        }
    }

    /// Kills the process, if any, and waits for its end.
    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It fails only where the process has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.paused = false;
    }

    fn log_since(&self, start: u64) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = fs::File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(start.max(length.saturating_sub(LOG_READ_BYTES_MAX))))?;
            let mut bytes = Vec::new();
            file.take(LOG_READ_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.bond == Bond::DiesWithUs {
            self.end();
        }
    }
}

/// Lets a kind of server be used as the [`Server`] that it is.
macro_rules! is_a_server {
    ($kind:ty) => {
        impl std::ops::Deref for $kind {
            type Target = crate::Server;

            fn deref(&self) -> &crate::Server {
                &self.server
            }
        }

        impl std::ops::DerefMut for $kind {
            fn deref_mut(&mut self) -> &mut crate::Server {
                &mut self.server
            }
        }
    };
}
pub(crate) use is_a_server;
