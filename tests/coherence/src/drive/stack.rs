use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_testkit::{Options, Program, RedisProxy, free_port};
use tokio::task::block_in_place;

use super::Service;
use super::store::{Store, StoreKind};

const READY_MAX: Duration = Duration::from_secs(30);
/// Names the bug that a build with planted bugs has; it is handed on to the replicas.
const PLANTED_BUG: &str = "HEADWATER_PLANTED_BUG";

/// A store, and the cache's replicas on it. It ends with its handle.
pub(super) struct Stack {
    pub(super) store: Store,
    pub(super) replicas: Vec<Replica>,
}

/// A process of the cache.
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) program: Program,
}

impl Stack {
    /// Starts everything in a folder, and waits until it is ready.
    pub(super) async fn start(
        folder: &Path,
        binary: &Path,
        count: usize,
        kind: StoreKind,
        staleness_max_ms: u64,
    ) -> Result<Self> {
        let store = Store::start(folder, kind, count).await?;
        let mut replicas = Vec::new();
        for number in 1..=count {
            let name = format!("replica-{number}");
            let mut arguments = store.arguments(number - 1);
            arguments.push(format!("--cache-staleness-max-ms={staleness_max_ms}"));
            let program = block_in_place(|| program(binary, &folder.join(&name), &arguments));
            replicas.push(Replica { program: program.with_context(|| name.clone())?, name });
        }
        for replica in &replicas {
            replica.ready().await?;
        }
        Ok(Self { store, replicas })
    }

    /// Clients of the replicas, and of the store without them where it is one server.
    pub(super) async fn service(&self) -> Result<Service> {
        let endpoints: Vec<String> =
            self.replicas.iter().map(|replica| format!("http://127.0.0.1:{}", replica.program.port())).collect();
        let mut service = Service::new(&endpoints, self.store.direct().map(RedisProxy::url).as_deref())?;
        service.learn_prefix("").await?;
        Ok(service)
    }
}

impl Replica {
    /// Waits until it is ready to serve.
    pub(super) async fn ready(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            match block_in_place(|| self.program.page("/readyz")) {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > READY_MAX => {
                    bail!("{} did not become ready: {error:#}\n{}", self.name, self.program.log_tail())
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

fn program(binary: &Path, folder: &Path, arguments: &[String]) -> Result<Program> {
    let http_port = free_port()?;
    let options = Options::default().dir(folder);
    let binary: PathBuf = binary.to_owned();
    let arguments = arguments.to_owned();
    Program::start("cache", &options, http_port, "/livez", move |_, port| {
        let mut command = Command::new(&binary);
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if (name.starts_with("HEADWATER_") && name != PLANTED_BUG) || name.starts_with("REDIS_") {
                command.env_remove(&variable);
            }
        }
        command.args(["serve", "--role", "cache", "--cache-ttl-ms", "0"]).args(&arguments);
        command.args(["--listen-grpc", &format!("127.0.0.1:{port}")]);
        command.args(["--listen-http", &format!("127.0.0.1:{http_port}")]);
        Ok(command)
    })
}
