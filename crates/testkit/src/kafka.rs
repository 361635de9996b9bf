//! A Kafka broker (KRaft: broker and controller in one process).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::install::{free_port, installed, program};
use crate::server::{Options, Recipe, Server, is_a_server};

const HEAP_MIB: u32 = 768;
/// The cluster's id, 16 bytes in base64. All clusters of the testkit may share it: none meets another's data.
const CLUSTER_ID: &str = "aGVhZHdhdGVyLXRlc3Qtaw";

/// One Kafka broker, in Kafka's own server process.
///
/// Topics have 1 partition unless they are made otherwise; the broker makes no topic by itself.
pub struct Kafka {
    server: Server,
}

is_a_server!(Kafka);

impl Kafka {
    /// Starts a broker and waits until it serves.
    ///
    /// # Errors
    /// Where Kafka is not installed, or does not become ready.
    pub fn start(options: Options) -> Result<Self> {
        let server = Server::start("kafka", &options, |dir, port| prepare(&options, dir, port))?;
        Ok(Self { server })
    }

    /// `host:port`, as `bootstrap.servers` takes it.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }
}

fn prepare(options: &Options, dir: &Path, port: u16) -> Result<Recipe> {
    let libs = installed("kafka/libs", "kafka")?;
    let properties = dir.join("server.properties");
    fs::write(&properties, server_properties(options, dir, port)?)?;

    let data = dir.join("data");
    if !data.join("meta.properties").exists() {
        let output = java(&libs, 128)?
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(&properties)
            .output()
            .context("java cannot be started")?;
        ensure!(output.status.success(), "formatting failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }

    let mut command = java(&libs, options.heap_mib.unwrap_or(HEAP_MIB))?;
    command.arg("kafka.Kafka").arg(&properties).current_dir(dir);
    Ok(Recipe {
        name: "kafka",
        port,
        stop_signal: "TERM",
        user: None,
        command,
        ready: Box::new(|log| {
            ensure!(log.contains("Kafka Server started"), "its log does not say that the server started");
            Ok(())
        }),
    })
}

fn server_properties(options: &Options, dir: &Path, port: u16) -> Result<String> {
    let controller = free_port()?;
    let advertised = options.advertised_port.unwrap_or(port);
    let mut text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={}
auto.create.topics.enable=false
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=1000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
",
        dir.join("data").display()
    );
    // Of a name given twice the last counts.
    for (name, value) in &options.settings {
        text.push_str(&format!("{name}={value}\n"));
    }
    Ok(text)
}

fn java(libs: &Path, heap_mib: u32) -> Result<Command> {
    let mut command = Command::new(program("java", "java")?);
    let mut classes: PathBuf = libs.to_owned();
    classes.push("*");
    command
        .arg(format!("-Xmx{heap_mib}m"))
        .args(["-Xms128m", "-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true"])
        .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
        .arg("-cp")
        .arg(classes);
    Ok(command)
}
