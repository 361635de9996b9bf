//! Kafka brokers that hold each other's data.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::install::free_port;
use crate::kafka::Kafka;
use crate::server::Options;

/// Heap of each broker in MiB, where the options name none: several run at a time.
const HEAP_MIB: u32 = 320;

/// Brokers that are one cluster, each of them also a controller. Topics are made with as many replicas as their makers ask
/// for; the cluster's own have one on each broker, up to three.
pub struct KafkaCluster {
    brokers: Vec<Kafka>,
}

impl KafkaCluster {
    /// Starts `count` brokers and waits until each serves. The options hold for every broker; ports are chosen, and a
    /// folder that is given gets one folder per broker.
    ///
    /// # Errors
    /// Where Kafka is not installed, or the brokers do not become ready together.
    pub fn start(count: usize, options: &Options) -> Result<Self> {
        ensure!(count > 0, "a cluster has at least one broker");
        ensure!(options.port.is_none(), "ports of a cluster's brokers are chosen");
        let mut ports = Vec::with_capacity(count);
        for _ in 0..count {
            ports.push((free_port()?, free_port()?));
        }
        let voters: Vec<String> = (1..).zip(&ports).map(|(id, (_, at))| format!("{id}@127.0.0.1:{at}")).collect();
        let voters = voters.join(",");
        // A broker is ready when a majority is there: none can be waited for before the others are started.
        let starting: Vec<_> = (1..)
            .zip(&ports)
            .map(|(id, &(port, controller))| {
                let options = member(options, id, count, port, controller, &voters);
                thread::spawn(move || Kafka::start(options))
            })
            .collect();
        let started: Vec<Result<Kafka>> = starting
            .into_iter()
            .map(|broker| broker.join().map_err(|_| anyhow!("the start of a broker panicked")).flatten())
            .collect();
        let brokers = started.into_iter().collect::<Result<_>>().context("a cluster of Kafka")?;
        Ok(Self { brokers })
    }

    /// The brokers, each to be killed, paused and restarted by itself.
    #[must_use]
    pub fn brokers(&mut self) -> &mut [Kafka] {
        &mut self.brokers
    }

    /// All brokers as `host:port,host:port`, as `bootstrap.servers` takes it.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(Kafka::bootstrap).collect::<Vec<_>>().join(",")
    }
}

fn member(options: &Options, id: usize, count: usize, port: u16, controller: u16, voters: &str) -> Options {
    let replicas = count.min(3).to_string();
    let insync = count.min(3).div_ceil(2).to_string();
    let mut member = options
        .clone()
        .port(port)
        .setting("node.id", id.to_string())
        .setting("controller.quorum.voters", voters)
        .setting("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"))
        .setting("offsets.topic.replication.factor", &replicas)
        .setting("transaction.state.log.replication.factor", &replicas)
        .setting("transaction.state.log.min.isr", &insync)
        .setting("share.coordinator.state.topic.replication.factor", &replicas)
        .setting("share.coordinator.state.topic.min.isr", &insync)
        // A leader that is gone has a successor within a session of a broker, and not within the default of many seconds.
        .setting("broker.session.timeout.ms", "2000")
        .setting("broker.heartbeat.interval.ms", "500")
        .setting("controller.quorum.election.timeout.ms", "500")
        .setting("controller.quorum.fetch.timeout.ms", "1000")
        .setting("replica.lag.time.max.ms", "3000");
    member.heap_mib = Some(options.heap_mib.unwrap_or(HEAP_MIB));
    member.dir = options.dir.as_ref().map(|dir| dir.join(format!("broker-{id}")));
    member
}
