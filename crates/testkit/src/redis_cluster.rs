//! Redis as a Cluster, of primaries alone or with replicas.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::install::free_port;
use crate::redis::Redis;
use crate::server::Options;

const CLUSTER_WITHIN: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(20);
const SLOTS: u32 = 16_384;

/// Nodes of a cluster of primaries alone take one for lost after this.
const NODE_TIMEOUT_MS: &str = "2000";

/// Nodes of a cluster with replicas: a replica takes over within some two seconds.
const FAILOVER_NODE_TIMEOUT_MS: &str = "1000";

/// A Redis Cluster, the slots shared out evenly among its primaries.
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts `count` servers, joins them, and waits until each says that the cluster is whole. The options hold for each
    /// node; port and folder are chosen.
    ///
    /// # Errors
    /// Where Redis is not installed, or the cluster does not come together.
    pub fn start(count: usize, options: Options) -> Result<Self> {
        Self::start_nodes(count, 0, options.setting("cluster-node-timeout", NODE_TIMEOUT_MS))
    }

    /// Starts so many primaries and a replica of each, in this order, that takes over within some two seconds when its
    /// primary is gone, or after the `cluster-node-timeout` that the options give. Waits until the cluster is whole and every
    /// replica has what its primary has.
    ///
    /// # Errors
    /// Where Redis is not installed, or the cluster does not come together.
    pub fn with_replicas(primaries: usize, options: Options) -> Result<Self> {
        let is_given = options.settings.iter().any(|(name, _)| name == "cluster-node-timeout");
        let options =
            if is_given { options } else { options.setting("cluster-node-timeout", FAILOVER_NODE_TIMEOUT_MS) };
        let options = options.setting("cluster-allow-replica-migration", "no").setting("repl-diskless-sync-delay", "0");
        Self::start_nodes(primaries, primaries, options)
    }

    fn start_nodes(primaries: usize, replicas: usize, options: Options) -> Result<Self> {
        ensure!(primaries > 0, "a cluster has at least one node");
        ensure!(options.port.is_none() && options.dir.is_none(), "ports and folders of a cluster's nodes are chosen");
        let mut nodes = Vec::with_capacity(primaries + replicas);
        for _ in 0..primaries + replicas {
            let bus = free_port()?;
            let options = options.clone().setting("cluster-enabled", "yes").setting("cluster-port", bus.to_string());
            nodes.push((Redis::start(options)?, bus));
        }
        let count = u32::try_from(primaries)?;
        for (index, (node, _)) in (0..count).zip(&nodes) {
            let first = SLOTS * index / count;
            let last = SLOTS * (index + 1) / count - 1;
            node.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"))?;
        }
        for (node, _) in &nodes {
            for (other, bus) in nodes.iter().filter(|(other, _)| other.port() != node.port()) {
                node.ask(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port()))?;
            }
        }
        let cluster = Self { nodes: nodes.into_iter().map(|(node, _)| node).collect() };
        cluster.await_whole()?;
        for replica in 0..replicas {
            cluster.replicate(primaries + replica, replica % primaries)?;
        }
        cluster.await_agreement(replicas)?;
        Ok(cluster)
    }

    /// The nodes, each to be killed, paused and restarted by itself.
    #[must_use]
    pub fn nodes(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// The URLs of the nodes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// The index of the primary that has a slot, as the nodes that answer say.
    ///
    /// # Errors
    /// Where no node answers, or they do not say the same.
    pub fn primary_of(&self, slot: u16) -> Result<usize> {
        let mut primaries = self.nodes.iter().filter_map(|node| primary_in(&node.ask("CLUSTER NODES").ok()??, slot));
        let port = primaries.next().with_context(|| format!("no node serves slot {slot}"))?;
        ensure!(primaries.all(|other| other == port), "the nodes do not agree on who serves slot {slot}");
        self.nodes.iter().position(|node| node.port() == port).context("the cluster has a node that is none of ours")
    }

    /// Waits until a slot has another primary than this one, that all who answer agree on: its index.
    ///
    /// # Errors
    /// Where that takes longer than 30 s.
    pub fn await_other_primary(&self, slot: u16, former: usize) -> Result<usize> {
        let deadline = Instant::now() + CLUSTER_WITHIN;
        loop {
            match self.primary_of(slot) {
                Ok(primary) if primary != former => return Ok(primary),
                _ if Instant::now() > deadline => {
                    bail!("nobody took slot {slot} over within {} s", CLUSTER_WITHIN.as_secs())
                }
                _ => std::thread::sleep(POLL_EVERY),
            }
        }
    }

    /// Waits until a node's replica has what the node has now: what is written is acknowledged before that. (WAIT would tell it
    /// only to the connection that wrote.)
    ///
    /// # Errors
    /// Where the replica is none of it, or that takes longer than 30 s.
    pub fn await_replica(&self, primary: usize, replica: usize) -> Result<()> {
        let offset = |node: usize, field: &str| -> Result<u64> {
            let info = self.nodes[node].ask("INFO replication")?.unwrap_or_default();
            let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            Ok(line.with_context(|| format!("node {node} tells no {field}"))?.trim().parse()?)
        };
        let written = offset(primary, "master_repl_offset")?;
        let deadline = Instant::now() + CLUSTER_WITHIN;
        while offset(replica, "slave_repl_offset")? < written {
            ensure!(Instant::now() < deadline, "the replica has not caught up within {} s", CLUSTER_WITHIN.as_secs());
            std::thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    /// Waits until every node says that all slots are served and knows all nodes.
    ///
    /// # Errors
    /// Where that takes longer than 30 s.
    pub fn await_whole(&self) -> Result<()> {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            await_lines(node, "CLUSTER INFO", &["cluster_state:ok", &known])?;
        }
        Ok(())
    }

    /// Waits until every node knows who is a replica.
    fn await_agreement(&self, replicas: usize) -> Result<()> {
        let deadline = Instant::now() + CLUSTER_WITHIN;
        let known = |node: &Redis| {
            let nodes = node.ask("CLUSTER NODES").ok().flatten().unwrap_or_default();
            nodes.lines().filter(|line| line.contains("slave")).count()
        };
        while self.nodes.iter().any(|node| known(node) != replicas) {
            ensure!(Instant::now() < deadline, "the nodes did not agree within {} s", CLUSTER_WITHIN.as_secs());
            std::thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    fn replicate(&self, replica: usize, primary: usize) -> Result<()> {
        let id = self.nodes[primary].ask("CLUSTER MYID")?.context("a node has an id")?;
        let replica = &self.nodes[replica];
        replica.ask(&format!("CLUSTER REPLICATE {id}"))?;
        await_lines(replica, "INFO replication", &["role:slave", "master_link_status:up"])
    }
}

/// Waits until a node's answer has these lines.
fn await_lines(node: &Redis, command: &str, expected: &[&str]) -> Result<()> {
    let deadline = Instant::now() + CLUSTER_WITHIN;
    loop {
        let answer = node.ask(command).ok().flatten().unwrap_or_default();
        if expected.iter().all(|line| answer.lines().any(|answered| answered == *line)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the cluster was not whole within {} s: {command} was answered with\n{answer}",
                CLUSTER_WITHIN.as_secs()
            );
        }
        std::thread::sleep(POLL_EVERY);
    }
}

/// The port of the primary that has a slot, in what `CLUSTER NODES` answers.
fn primary_in(nodes: &str, slot: u16) -> Option<u16> {
    let has = |range: &&str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
    };
    nodes.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_primary = fields.get(2)?.split(',').any(|flag| flag == "master");
        let has_slot = fields.get(8..)?.iter().any(&has);
        let port = fields.get(1)?.split('@').next()?.rsplit_once(':')?.1;
        if is_primary && has_slot { port.parse().ok() } else { None }
    })
}
