//! The store of the replicas, and the ways to it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use headwater_testkit::{LinkFault, Links, Options, Redis, RedisCluster, RedisProxy, Way};
use tokio::task::block_in_place;
use tokio::time::sleep;

/// How long a server may take to take another's data over.
const REPLICATED_MAX: Duration = Duration::from_secs(10);
/// How long a standby hears nothing before it takes over: so much is lost.
const LOST_FOR: Duration = Duration::from_millis(150);
const PRIMARIES: usize = 3;
/// How long the nodes of a Cluster may take until one has taken another's place.
const TAKEN_OVER_MAX: Duration = Duration::from_secs(30);

/// What the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreKind {
    One,
    WithStandby,
    Cluster,
}

/// The store. It ends with its handle.
pub(super) struct Store {
    servers: Servers,
    /// To one server each replica has a way of its own; to a Cluster all share one to each node.
    ways: Vec<RedisProxy>,
    /// The way of whoever does without the cache.
    direct: Option<RedisProxy>,
}

enum Servers {
    One(Redis),
    /// The second copies the first by this way, until it takes its place.
    Two {
        first: Redis,
        second: Box<Redis>,
        way: RedisProxy,
        is_second: bool,
    },
    Cluster(RedisCluster),
}

impl Store {
    pub(super) async fn start(folder: &Path, kind: StoreKind, replicas: usize) -> Result<Self> {
        let options = || Options::default().setting("appendonly", "no").setting("repl-diskless-sync-delay", "0");
        let server = |name: &str| block_in_place(|| Redis::start(options().dir(folder.join(name))));
        if kind == StoreKind::Cluster {
            let mut cluster = block_in_place(|| RedisCluster::with_replicas(PRIMARIES, options()))?;
            let mut ways = Vec::new();
            for node in cluster.nodes() {
                let way = RedisProxy::start(node.port()).await?;
                // Whoever asks the nodes for each other is led through the ways.
                node.ask(&format!("CONFIG SET cluster-announce-port {}", way.port()))?;
                ways.push(way);
            }
            let mut store = Self { servers: Servers::Cluster(cluster), ways, direct: None };
            store.announced().await?;
            return Ok(store);
        }
        let first = server("redis-1")?;
        let mut ways = Vec::new();
        for _ in 0..replicas {
            ways.push(RedisProxy::start(first.port()).await?);
        }
        let direct = Some(RedisProxy::start(first.port()).await?);
        let servers = if kind == StoreKind::One {
            Servers::One(first)
        } else {
            let (second, way) = (server("redis-2")?, RedisProxy::start(first.port()).await?);
            second.ask(&format!("REPLICAOF 127.0.0.1 {}", way.port()))?;
            block_in_place(|| replicated(&second))?;
            Servers::Two { first, second: Box::new(second), way, is_second: false }
        };
        Ok(Self { servers, ways, direct })
    }

    /// How a replica, by its number from 0, is told of it.
    pub(super) fn arguments(&self, replica: usize) -> Vec<String> {
        match &self.servers {
            Servers::Cluster(_) => {
                let urls: Vec<String> = self.ways.iter().map(RedisProxy::url).collect();
                vec![format!("--cache-redis-url={}", urls.join(",")), "--cache-redis-cluster=true".to_owned()]
            }
            _ => vec![format!("--cache-redis-url={}", self.ways[replica].url())],
        }
    }

    /// The ways of the replicas.
    pub(super) fn ways(&self) -> &[RedisProxy] {
        &self.ways
    }

    /// The way of whoever does without the cache.
    pub(super) fn direct(&self) -> Option<&RedisProxy> {
        self.direct.as_ref()
    }

    /// A server that serves.
    pub(super) fn serving(&mut self) -> &mut Redis {
        match &mut self.servers {
            Servers::One(server) => server,
            Servers::Two { first, is_second: false, .. } => first,
            Servers::Two { second, .. } => second,
            Servers::Cluster(cluster) => &mut cluster.nodes()[0],
        }
    }

    /// Another server becomes the store, and has not what was written last. What was done, for people.
    pub(super) async fn fail_over(&mut self) -> Result<String> {
        match &mut self.servers {
            Servers::One(_) => bail!("there is nobody to take over"),
            Servers::Two { first, second, way, is_second } => {
                way.set(Links::All, LinkFault::BlackHole(Way::ToClient));
                sleep(LOST_FOR).await;
                let lost = offset(first)?.saturating_sub(offset(second)?);
                ensure!(lost > 0, "nothing was lost");
                let ways = || self.ways.iter().chain(&self.direct);
                ways().for_each(|link| link.lead_to(second.port()));
                block_in_place(|| first.kill())?;
                way.cut(Links::All);
                second.ask("REPLICAOF NO ONE")?;
                ways().for_each(|link| link.cut(Links::All));
                *is_second = true;
                Ok(format!("redis-2 takes over, without the last {lost} bytes"))
            }
            Servers::Cluster(cluster) => {
                // A primary, and the replica that is its own.
                let (former, heir) = (PRIMARIES - 1, 2 * PRIMARIES - 1);
                let nodes = cluster.nodes();
                block_in_place(|| nodes[former].kill())?;
                let began = Instant::now();
                loop {
                    let says = |node: &Redis, command: &str, what: &str| {
                        node.ask(command).ok().flatten().unwrap_or_default().contains(what)
                    };
                    let left = || nodes.iter().filter(|node| node.process().is_some());
                    if says(&nodes[heir], "INFO replication", "role:master")
                        && left().all(|node| says(node, "CLUSTER INFO", "cluster_state:ok"))
                    {
                        return Ok(format!("node {} takes node {}'s slots over", heir + 1, former + 1));
                    }
                    ensure!(began.elapsed() < TAKEN_OVER_MAX, "nobody took the slots over");
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Waits until every node of a Cluster tells of the others by their ways.
    async fn announced(&mut self) -> Result<()> {
        let Servers::Cluster(cluster) = &mut self.servers else { return Ok(()) };
        let began = Instant::now();
        loop {
            let told = |node: &Redis| {
                let nodes = node.ask("CLUSTER NODES").ok().flatten().unwrap_or_default();
                self.ways.iter().all(|way| nodes.contains(&format!(":{}@", way.port())))
            };
            if cluster.nodes().iter().all(told) {
                return Ok(());
            }
            if began.elapsed() > REPLICATED_MAX {
                bail!("the nodes do not tell of the ways to each other");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// How much of what was written a server has.
fn offset(server: &Redis) -> Result<u64> {
    let info = server.ask("INFO replication")?.unwrap_or_default();
    let offset = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name)?.parse().ok());
    offset("slave_repl_offset:").or_else(|| offset("master_repl_offset:")).context("no offset")
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
