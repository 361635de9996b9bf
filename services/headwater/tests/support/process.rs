use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use headwater_contracts::v1::ingest::ingest_service_client::IngestServiceClient;
use headwater_contracts::v1::stats::stats_service_client::StatsServiceClient;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::within;

/// The client of ingest, as `protoc` makes one for every language.
pub(crate) type Ingest = IngestServiceClient<Channel>;
/// The client of stats.
pub(crate) type Stats = StatsServiceClient<Channel>;

/// How long a start may take while the machine also compiles.
const START_MAX: Duration = Duration::from_secs(30);

/// A process of the platform on ports of its own, killed when the handle is dropped.
pub(crate) struct Headwater {
    child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
    folder: TempDir,
}

/// The program with these arguments, and none of the settings that the test's own environment has.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("HEADWATER_") || name_text.starts_with("REDIS_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program to its end, which must come soon.
pub(crate) async fn run(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > START_MAX {
            let _ = child.kill();
            let output = child.wait_with_output().unwrap();
            panic!("it did not end by itself:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.wait_with_output().unwrap()
}

impl Headwater {
    /// `headwater dev` without a generator, ready.
    pub(crate) async fn dev(arguments: &[&str]) -> Self {
        let mut all = vec!["dev", "--rate", "0"];
        all.extend(arguments);
        let headwater = Self::start(&all).await;
        headwater.ready(START_MAX).await;
        headwater
    }

    /// Any command that serves, once it listens.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::launch(command(arguments)).await
    }

    /// A command that serves, on free ports where it says nothing else, once it listens.
    pub(crate) async fn launch(mut command: Command) -> Self {
        let arguments: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        for (flag, name) in [("--listen-grpc", "HEADWATER_LISTEN_GRPC"), ("--listen-http", "HEADWATER_LISTEN_HTTP")] {
            if !arguments.iter().any(|word| word == flag) {
                command.env(name, "127.0.0.1:0");
            }
        }
        command.env("HEADWATER_LOG_FORMAT", "json");
        let folder = tempfile::tempdir().unwrap();
        command.stdout(File::create(folder.path().join("stdout")).unwrap());
        command.stderr(File::create(folder.path().join("log")).unwrap());
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        let (grpc, http) = loop {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
            if let Some(addresses) = log.lines().find_map(listening) {
                break addresses;
            }
            let ended = child.try_wait().unwrap();
            if ended.is_some() || began.elapsed() > START_MAX {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{arguments:?} does not listen ({ended:?}):\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Self { child, grpc, http, folder }
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it logged, a JSON object a line.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// What it said on standard output.
    pub(crate) fn greeting(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stdout")).unwrap()
    }

    /// Waits until `/readyz` says yes.
    pub(crate) async fn ready(&self, limit: Duration) {
        within(limit, "ready", || async {
            match self.get("/readyz").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}", self.log())),
            }
        })
        .await;
    }

    /// Status and body of a page.
    pub(crate) async fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.http).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Ok((status, body.to_owned()))
    }

    /// What the samples of a metric that have all these labels add up to.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (status, page) = self.get("/metrics").await.unwrap();
        assert_eq!(status, 200);
        page.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(|line| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\""))))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// A connection of its own.
    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn ingest(&self) -> Ingest {
        IngestServiceClient::new(self.channel().await)
    }

    pub(crate) async fn stats(&self) -> Stats {
        StatsServiceClient::new(self.channel().await)
    }

    /// Whether gRPC's health protocol says that the service ("" for the process) serves, as its name in the protocol.
    pub(crate) async fn health(&self, channel: Channel, service: &str) -> Result<String, tonic::Status> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel).check(request).await?.into_inner();
        Ok(answer.status().as_str_name().to_owned())
    }

    /// Sends a signal by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("/bin/sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < limit, "it did not end within {limit:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Headwater {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of process {}:\n{}", self.child.id(), self.log());
        }
    }
}

fn listening(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| line[name].as_str()?.parse().ok();
    (line["message"] == "listening").then(|| Some((address("grpc")?, address("http")?)))?
}

/// A folder as a text, for arguments.
pub(crate) fn text(path: impl Into<PathBuf>) -> String {
    path.into().into_os_string().into_string().unwrap()
}
