use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_testkit::{Options, Program, Redis, RedisProxy, free_port};
use tokio::task::block_in_place;

use super::Service;

const READY_MAX: Duration = Duration::from_secs(30);
/// How long a server may take to take another's data over.
const REPLICATED_MAX: Duration = Duration::from_secs(10);
/// Names the bug that a build with planted bugs has; it is handed on to the replicas.
const PLANTED_BUG: &str = "HEADWATER_PLANTED_BUG";

/// A Redis, the cache's replicas each with a way of its own to it, and one more way for whoever does without the cache. It
/// ends with its handle.
pub(super) struct Stack {
    pub(super) redis: Redis,
    /// Takes the first one's place in a failover, and the way by which it copies it.
    pub(super) standby: Option<(Redis, RedisProxy)>,
    pub(super) replicas: Vec<Replica>,
    pub(super) direct: RedisProxy,
}

/// A replica, and its way to the store.
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) program: Program,
    pub(super) proxy: RedisProxy,
}

impl Stack {
    /// Starts everything in a folder, and waits until it is ready.
    pub(super) async fn start(
        folder: &Path,
        binary: &Path,
        count: usize,
        has_standby: bool,
        staleness_max_ms: u64,
    ) -> Result<Self> {
        let server = |name: &str| {
            let options = Options::default().dir(folder.join(name)).setting("appendonly", "no");
            block_in_place(|| Redis::start(options.setting("repl-diskless-sync-delay", "0")))
        };
        let redis = server("redis-1")?;
        let standby = if has_standby {
            let (standby, way) = (server("redis-2")?, RedisProxy::start(redis.port()).await?);
            standby.ask(&format!("REPLICAOF 127.0.0.1 {}", way.port()))?;
            block_in_place(|| replicated(&standby))?;
            Some((standby, way))
        } else {
            None
        };
        let mut replicas = Vec::new();
        for number in 1..=count {
            let proxy = RedisProxy::start(redis.port()).await?;
            let name = format!("replica-{number}");
            let program = block_in_place(|| program(binary, &folder.join(&name), &proxy.url(), staleness_max_ms))
                .with_context(|| name.clone())?;
            replicas.push(Replica { name, program, proxy });
        }
        for replica in &replicas {
            replica.ready().await?;
        }
        let direct = RedisProxy::start(redis.port()).await?;
        Ok(Self { redis, standby, replicas, direct })
    }

    /// Clients of the replicas, and of the store without them.
    pub(super) async fn service(&self) -> Result<Service> {
        let endpoints: Vec<String> =
            self.replicas.iter().map(|replica| format!("http://127.0.0.1:{}", replica.program.port())).collect();
        let mut service = Service::new(&endpoints, &self.direct.url())?;
        service.learn_prefix("").await?;
        Ok(service)
    }

    /// Every way to the store.
    pub(super) fn ways(&self) -> impl Iterator<Item = &RedisProxy> {
        self.replicas.iter().map(|replica| &replica.proxy).chain([&self.direct])
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

fn program(binary: &Path, folder: &Path, redis_url: &str, staleness_max_ms: u64) -> Result<Program> {
    let http_port = free_port()?;
    let options = Options::default().dir(folder);
    let binary: PathBuf = binary.to_owned();
    let (redis_url, staleness_max_ms) = (redis_url.to_owned(), staleness_max_ms.to_string());
    Program::start("cache", &options, http_port, "/livez", move |_, port| {
        let mut command = Command::new(&binary);
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if (name.starts_with("HEADWATER_") && name != PLANTED_BUG) || name.starts_with("REDIS_") {
                command.env_remove(&variable);
            }
        }
        command.args(["serve", "--role", "cache", "--cache-redis-url", &redis_url]);
        command.args(["--cache-staleness-max-ms", &staleness_max_ms, "--cache-ttl-ms", "0"]);
        command.args(["--listen-grpc", &format!("127.0.0.1:{port}")]);
        command.args(["--listen-http", &format!("127.0.0.1:{http_port}")]);
        Ok(command)
    })
}

/// Waits until a server has what its primary has.
fn replicated(standby: &Redis) -> Result<()> {
    let began = Instant::now();
    loop {
        let info = standby.ask("INFO replication")?.unwrap_or_default();
        if info.contains("master_link_status:up") {
            return Ok(());
        }
        if began.elapsed() > REPLICATED_MAX {
            bail!("the standby does not follow:\n{info}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
