//! Processes: started so that they cannot outlive us, and told apart from others of the same number.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::install;

/// A process and when it started, so that a later process of the same number is not mistaken for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number of the process.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did.
    pub started_ticks: u64,
}

impl ProcessId {
    /// The running process of that number; nothing where there is none, or only a zombie.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything: fields are counted from behind it. Field 3 is the state, 22 the start.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if *fields.first()? == "Z" {
            return None;
        }
        Some(Self { pid, started_ticks: fields.get(19)?.parse().ok()? })
    }

    /// Has the process itself, and not one that it started, a TCP connection from this port of the machine?
    #[must_use]
    pub fn connects_from(&self, port: u16) -> bool {
        self.is_alive() && has_socket(self.pid, port, ESTABLISHED)
    }

    /// Does the process still run?
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal by its name without SIG, for example `TERM`, where the process still runs.
    ///
    /// # Errors
    /// Where it may not be sent.
    pub fn signal(&self, name: &str) -> Result<()> {
        if self.is_alive() { signal(self.pid, name) } else { Ok(()) }
    }
}

/// How a process is bound to the one that starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bond {
    /// It is killed when the starting process ends in whatever way.
    DiesWithUs,
    /// It lives on in a session of its own.
    Detached,
}

/// Makes of `command` one that is started behind a wrapper that binds it. The wrapper replaces itself by the command: the process id is the same.
/// A user other than the own is given as uid and gid, which needs root.
pub(crate) fn bind(command: &Command, bond: Bond, user: Option<(u32, u32)>) -> Result<Command> {
    let mut wrapper = match bond {
        Bond::Detached => Command::new(install::program("setsid", "cc")?),
        Bond::DiesWithUs => {
            let mut wrapper = Command::new(install::program("setpriv", "cc")?);
            wrapper.args(["--pdeathsig", "KILL"]);
            wrapper
        }
    };
    if let Some((uid, gid)) = user {
        if bond == Bond::Detached {
            wrapper.arg(install::program("setpriv", "cc")?);
        }
        wrapper.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
    }
    if bond == Bond::DiesWithUs || user.is_some() {
        wrapper.arg("--");
    }
    wrapper.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapper.env(name, value),
            None => wrapper.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapper.current_dir(folder);
    }
    Ok(wrapper)
}

/// Starts a command with its output appended to a file and nothing to read.
///
/// The kernel sends the parent-death signal when the *thread* that forked ends, and threads of a test or a runtime come
/// and go: all processes are started by one thread that stays.
pub(crate) fn spawn(mut command: Command, log: &Path) -> Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();

    let output = fs::OpenOptions::new().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (sender, answer) = mpsc::channel();
    let name = format!("{command:?}");
    starter.send((command, sender)).ok().context("the thread that starts processes has ended")?;
    answer.recv()?.with_context(|| format!("cannot start {name}"))
}

/// Sends a signal to a process that is known to be the right one.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    // The shell's own kill: it is there where procps is not.
    let status = Command::new("/bin/sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success() || ProcessId::of(pid).is_none(), "SIG{name} could not be sent to process {pid}");
    Ok(())
}

/// States of a socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
const ESTABLISHED: &str = "01";

/// Is `port` of 127.0.0.1 served by the process itself, and not by one that had the port before it?
pub(crate) fn listens(pid: u32, port: u16) -> bool {
    has_socket(pid, port, LISTENING)
}

fn has_socket(pid: u32, port: u16, wanted: &str) -> bool {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = fs::read_to_string(table) else { continue };
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // 1: local address, 3: state, 9: inode
            if let (Some(local), Some(state), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9))
                && *state == wanted
                && local.ends_with(&format!(":{port:04X}"))
            {
                inodes.push(format!("socket:[{inode}]"));
            }
        }
    }
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
}

/// Does anything answer on the port?
pub(crate) fn port_is_taken(port: u16) -> bool {
    TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_millis(500)).is_ok()
}
