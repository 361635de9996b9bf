//! Redis: a single server, or a cluster of masters.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::install::{free_port, program};
use crate::server::{Options, Recipe, Server, is_a_server};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const CLUSTER_WITHIN: Duration = Duration::from_secs(30);
const SLOTS: u32 = 16_384;

/// One Redis server. It writes each command to its file before it answers: data survives a kill, unless the setting
/// `appendonly` is given as `no`.
pub struct Redis {
    server: Server,
}

is_a_server!(Redis);

impl Redis {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// Where Redis is not installed, or does not become ready.
    pub fn start(options: Options) -> Result<Self> {
        let server = Server::start("redis", &options, |dir, port| prepare(&options, dir, port))?;
        Ok(Self { server })
    }

    /// `redis://host:port`
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// Sends one command, its words separated by spaces, and returns the answer: a string, a number, or nothing. For a
    /// test's own look at a server; a real client does the rest.
    ///
    /// # Errors
    /// Where the server does not answer within 5 s, or answers with an error or a list.
    pub fn ask(&self, command: &str) -> Result<Option<String>> {
        ask(self.port(), command)
    }

    /// Lets it use so many bytes at most, or any number where none. An empty server uses about a million: with fewer it
    /// takes no write that needs memory.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub fn limit_memory(&self, bytes_max: Option<u64>) -> Result<()> {
        self.ask(&format!("CONFIG SET maxmemory {}", bytes_max.unwrap_or(0))).map(drop)
    }
}

/// A Redis Cluster of masters without replicas, the slots shared out evenly.
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
        ensure!(count > 0, "a cluster has at least one node");
        ensure!(options.port.is_none() && options.dir.is_none(), "ports and folders of a cluster's nodes are chosen");
        let mut nodes = Vec::with_capacity(count);
        for _ in 0..count {
            let bus = free_port()?;
            let options = options
                .clone()
                .setting("cluster-enabled", "yes")
                .setting("cluster-port", bus.to_string())
                .setting("cluster-node-timeout", "2000");
            nodes.push((Redis::start(options)?, bus));
        }
        let count = u32::try_from(count)?;
        for (index, (node, _)) in (0..count).zip(&nodes) {
            let first = SLOTS * index / count;
            let last = SLOTS * (index + 1) / count - 1;
            node.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"))?;
            for (other, bus) in nodes.iter().filter(|(other, _)| other.port() != node.port()) {
                node.ask(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port()))?;
            }
        }
        let cluster = Self { nodes: nodes.into_iter().map(|(node, _)| node).collect() };
        cluster.await_whole()?;
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

    /// Waits until every node says that all slots are served and knows all nodes.
    ///
    /// # Errors
    /// Where that takes longer than 30 s.
    pub fn await_whole(&self) -> Result<()> {
        let deadline = Instant::now() + CLUSTER_WITHIN;
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            loop {
                let info = node.ask("CLUSTER INFO").ok().flatten().unwrap_or_default();
                if info.contains("cluster_state:ok") && info.lines().any(|line| line == known) {
                    break;
                }
                if Instant::now() > deadline {
                    bail!("the cluster was not whole within {} s:\n{info}", CLUSTER_WITHIN.as_secs());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

fn prepare(options: &Options, dir: &Path, port: u16) -> Result<Recipe> {
    let mut command = Command::new(program("redis-server", "redis")?);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--save", ""]);
    command.args(["--appendonly", "yes", "--enable-debug-command", "yes", "--dir"]).arg(dir).current_dir(dir);
    for (name, value) in &options.settings {
        command.arg(format!("--{name}")).arg(value);
    }
    Ok(Recipe {
        name: "redis",
        port,
        stop_signal: "TERM",
        user: None,
        command,
        ready: Box::new(move |_| {
            let answer = ask(port, "PING")?;
            ensure!(answer.as_deref() == Some("PONG"), "PING was answered with {answer:?}");
            Ok(())
        }),
    })
}

fn ask(port: u16, command: &str) -> Result<Option<String>> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    // An inline command: the line as a person would type it.
    write!(stream, "{command}\r\n")?;
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let line = line.trim_end();
    ensure!(line.is_char_boundary(1), "Redis answered nothing");
    match line.split_at(1) {
        ("+" | ":", text) => Ok(Some(text.to_owned())),
        ("$", "-1") => Ok(None),
        ("$", length) => {
            let mut bytes = vec![0; length.parse().context("a length")?];
            answer.read_exact(&mut bytes)?;
            Ok(Some(String::from_utf8(bytes)?))
        }
        _ => bail!("{command} was answered with {line}"),
    }
}
