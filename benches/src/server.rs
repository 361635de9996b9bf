//! A server on a core of its own, and what CPU it used.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

const READY_WITHIN: Duration = Duration::from_secs(20);
/// Ticks of /proc's CPU times in a second, which Linux fixes for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// A child process that ends with its handle.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts a command on the first core, where there are two, and waits until its port takes connections.
    pub(crate) fn start(port: u16, command: impl Fn(&mut Command)) -> Result<Self> {
        let mut taskset = Command::new("taskset");
        taskset.args(["-c", "0"]);
        command(&mut taskset);
        let child = taskset.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("taskset (util-linux)")?;
        let mut server = Self { child, port };
        let deadline = Instant::now() + READY_WITHIN;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended: {status}");
            }
            ensure!(Instant::now() < deadline, "the server is not ready after {} s", READY_WITHIN.as_secs());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// CPU time that it has used so far, of user and system.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after = stat.rsplit_once(") ").context("no stat")?.1;
        let fields: Vec<&str> = after.split(' ').collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps this process, with the threads that it starts from now on, off the server's core.
pub(crate) fn leave_first_core() -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    if cores > 1 {
        let others = format!("1-{}", cores - 1);
        let status = Command::new("taskset")
            .args(["-a", "-cp", &others, &std::process::id().to_string()])
            .stdout(Stdio::null())
            .status()
            .context("taskset (util-linux)")?;
        ensure!(status.success(), "taskset: {status}");
    }
    Ok(())
}
