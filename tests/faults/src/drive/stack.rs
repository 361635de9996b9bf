//! The servers, and the platform's processes on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use headwater_testkit::{KafkaCluster, Options, Postgres, PostgresProxy, Redis, Registry};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::process::{Process, Roster, Settings};
use crate::event::Stream;

pub(super) const PROCESSORS: usize = 3;
const INGESTS: usize = 2;
const BROKERS: usize = 3;
/// Partitions of each stream's topic.
pub(super) const PARTITIONS: i32 = 4;
/// How long a broker that was killed may take until it has everything that the others have.
const IN_SYNC_MAX: Duration = Duration::from_secs(60);
/// How long members of a group may take until they agree.
const SETTLED_MAX: Duration = Duration::from_secs(40);
/// The processors' consumer group, as the platform calls it where nothing else is set.
pub(super) const GROUP: &str = "headwater-processor";
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that runs. It ends with its handle.
pub(super) struct Stack {
    pub(super) kafka: KafkaCluster,
    pub(super) redis: Redis,
    pub(super) postgres: Postgres,
    pub(super) proxy: PostgresProxy,
    pub(super) ingests: Vec<Process>,
    pub(super) processors: Vec<Process>,
    pub(super) stats: Process,
    pub(super) settings: Settings,
    pub(super) roster: Roster,
    /// Processors that were ever started.
    numbered: usize,
    _registry: Registry,
}

impl Stack {
    /// Starts everything in a folder, and waits until all of it is ready.
    pub(super) async fn start(folder: &Path, binary: PathBuf) -> Result<Self> {
        let at = |name: &str| Options::default().dir(folder.join(name));
        let small = |mut options: Options, heap_mib: u32| {
            options.heap_mib = Some(heap_mib);
            options
        };
        let (kafka, registry, redis, postgres) = tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let kafka = scope.spawn(|| KafkaCluster::start(BROKERS, &at("kafka")));
                let registry = scope.spawn(|| Registry::start(small(at("registry"), 256)));
                let redis = Redis::start(at("redis").setting("appendonly", "no"));
                let postgres = Postgres::start(at("postgres"));
                let ended = || anyhow!("a start panicked");
                let kafka = kafka.join().map_err(|_| ended()).flatten();
                let registry = registry.join().map_err(|_| ended()).flatten();
                anyhow::Ok((kafka?, registry?, redis?, postgres?))
            })
        })?;
        let proxy = PostgresProxy::start(postgres.port()).await?;
        let arguments = [
            ("--kafka-brokers", kafka.bootstrap()),
            ("--registry-url", registry.url()),
            ("--redis-url", redis.url()),
            ("--postgres-url", format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port())),
            ("--topics-partitions", PARTITIONS.to_string()),
            ("--topics-replication", BROKERS.to_string()),
            ("--topics-min-insync", "2".to_owned()),
        ];
        let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let settings = Settings { binary, folder: folder.to_owned(), arguments };
        let roster = Roster::default();
        let processes = tokio::task::block_in_place(|| {
            let start = |role, number| Process::start(role, number, &settings, &roster);
            let ingests = (1..=INGESTS).map(|number| start("ingest", number)).collect::<Result<Vec<_>>>()?;
            let processors = (1..=PROCESSORS).map(|number| start("processor", number)).collect::<Result<Vec<_>>>()?;
            let stats = start("stats", 1)?;
            for process in ingests.iter().chain(&processors).chain([&stats]) {
                process.ready()?;
            }
            anyhow::Ok((ingests, processors, stats))
        });
        let (ingests, processors, stats) = processes?;
        Ok(Self {
            kafka,
            redis,
            postgres,
            proxy,
            ingests,
            processors,
            stats,
            settings,
            roster,
            numbered: PROCESSORS,
            _registry: registry,
        })
    }

    /// Starts one more processor, and waits until it is ready.
    pub(super) fn add_processor(&mut self) -> Result<()> {
        self.numbered += 1;
        let process = Process::start("processor", self.numbered, &self.settings, &self.roster)?;
        process.ready()?;
        self.processors.push(process);
        Ok(())
    }

    /// Waits until every partition of the streams' topics, and of Kafka's own of offsets, is on every broker. It blocks.
    pub(super) fn in_sync(&self) -> Result<()> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.kafka.bootstrap()).set("group.id", "in-sync").create()?;
        let began = Instant::now();
        loop {
            let behind = behind(&consumer);
            match behind {
                Ok(0) => return Ok(()),
                other if began.elapsed() > IN_SYNC_MAX => {
                    bail!("Kafka's partitions are not in sync within {IN_SYNC_MAX:?}: {other:?}")
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Waits until the processors' groups have nothing left to settle: the next fault meets a group that is whole, and its
    /// recovery is its own. It blocks.
    pub(super) fn settled(&self) -> Result<()> {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", self.kafka.bootstrap()).create()?;
        let began = Instant::now();
        for stream in Stream::ALL {
            let name = format!("{GROUP}.{}", stream.name());
            loop {
                let groups = consumer.client().fetch_group_list(Some(&name), ASK_TIMEOUT);
                let found = groups.map(|groups| {
                    let group = groups.groups().iter().find(|group| group.name() == name);
                    group.map(|group| (group.state().to_owned(), group.members().len()))
                });
                match found {
                    Ok(Some((state, members))) if state == "Stable" && members == self.processors.len() => break,
                    other if began.elapsed() > SETTLED_MAX => {
                        let processors = self.processors.len();
                        bail!("{name} of {processors} processors is not stable within {SETTLED_MAX:?}: {other:?}")
                    }
                    _ => std::thread::sleep(Duration::from_millis(100)),
                }
            }
        }
        Ok(())
    }

    /// Where Postgres is, without the proxy.
    pub(super) fn postgres_url(&self) -> String {
        self.postgres.url()
    }

    /// What has ended by itself, with the end of its log.
    pub(super) fn ended(&self) -> Option<String> {
        let mut all = self.ingests.iter().chain(&self.processors).chain([&self.stats]);
        all.find(|process| !process.is_alive()).map(|process| format!("{}:\n{}", process.name, process.log_tail()))
    }
}

/// How many partitions lack a replica.
fn behind(consumer: &BaseConsumer) -> Result<usize> {
    let mut behind = 0;
    for topic in Stream::ALL.map(Stream::name).into_iter().chain(["__consumer_offsets"]) {
        let metadata = consumer.fetch_metadata(Some(topic), ASK_TIMEOUT)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic).context("no topic")?;
        anyhow::ensure!(!found.partitions().is_empty(), "{topic} is not known");
        behind += found.partitions().iter().filter(|at| at.isr().len() < BROKERS || at.leader() < 0).count();
    }
    Ok(behind)
}

/// A copy of the program, so that a build in the meantime does not change what a restart starts.
pub(super) fn own_copy(binary: &Path, folder: &Path) -> Result<PathBuf> {
    let copy = folder.join("headwater");
    fs::copy(binary, &copy).with_context(|| format!("cannot copy {}: build it first", binary.display()))?;
    Ok(copy)
}
