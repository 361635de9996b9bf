//! A Redis of a test's own, to be stopped, filled and misconfigured.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::{Client, Connection, cmd};
use tempfile::TempDir;

const READY_MAX: Duration = Duration::from_secs(10);

pub(crate) struct RedisServer {
    pub(crate) port: u16,
    args: Vec<String>,
    folder: TempDir,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts a Redis with these arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let folder = TempDir::new().unwrap();
        let mut server = Self { port: free_port(), args, folder, process: None };
        server.start_again();
        server
    }

    /// A Redis that is not running yet.
    pub(crate) fn stopped() -> Self {
        Self { port: free_port(), args: vec![], folder: TempDir::new().unwrap(), process: None }
    }

    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none());
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--dir"])
            .arg(self.folder.path())
            .args(&self.args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is not installed: see `make test`");
        let pid = process.id();
        self.process = Some(process);
        let began = Instant::now();
        // The one that answers is the one that was started.
        while self.try_info("process_id") != Some(pid.to_string()) {
            assert!(began.elapsed() < READY_MAX, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it at once, without saving.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops or continues the process; stopped, it takes connections and answers nothing.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    /// Runs a command that answers OK.
    pub(crate) fn run(&self, command: &str) {
        let mut words = command.split(' ');
        cmd(words.next().unwrap()).arg(words.collect::<Vec<_>>()).exec(&mut self.connect()).unwrap();
    }

    pub(crate) fn info(&self, field: &str) -> String {
        self.try_info(field).unwrap_or_else(|| panic!("INFO has no {field}"))
    }

    fn try_info(&self, field: &str) -> Option<String> {
        let info: String = cmd("INFO").query(&mut self.try_connect()?).ok()?;
        info.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
    }

    fn try_connect(&self) -> Option<Connection> {
        Client::open(self.url()).unwrap().get_connection_with_timeout(Duration::from_secs(1)).ok()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nothing listens on. For a Cluster, whose nodes also take the one 10,000 above, below 50,000.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Below what the system gives to outgoing connections, which could take it before the server does.
        let port = 10_000 + port % 20_000;
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}
