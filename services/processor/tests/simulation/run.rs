//! One seed: processes that come, go, pause and crash while records are published; then calm, and the check.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_contracts::Contracts;
use headwater_event_log::TopicSpec;
use headwater_live::memory::{MemoryLive, MemorySnapshot};
use headwater_live::{GenerationKey, LiveStatistics};
use headwater_processor::{Outside, Processor, ProcessorOptions};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::check::{WINDOW_MAX_MS, check};
use crate::database::Database;
use crate::history::SimHistory;
use crate::live::SimLive;
use crate::log::{Brokers, PARTITIONS, SimLog};
use crate::traffic::{Sent, publish};
use crate::world::{Hits, World};

const PROCESSES_MAX: usize = 3;
const SHARDS: u32 = 3;
/// How long everything may take to be settled after the last fault, in seconds of the simulation.
const SETTLED_S: u64 = 60;

/// Runs a seed: what was hit, and a digest of every step.
pub(crate) fn simulate(seed: u64, contracts: &Arc<Contracts>) -> Result<(Hits, u64), String> {
    // The pauses between retries have a jitter of this generator.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut simulation = Simulation::new(seed, contracts);
        let result = simulation.run().await;
        result.map(|()| (simulation.world.hits(), simulation.world.trace()))
    })
}

struct Process {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Simulation {
    world: Arc<World>,
    contracts: Arc<Contracts>,
    brokers: Arc<Brokers>,
    database: Arc<Database>,
    memory: Arc<MemoryLive>,
    processes: BTreeMap<u64, Process>,
    started: u64,
    snapshot: Option<MemorySnapshot>,
}

impl Simulation {
    fn new(seed: u64, contracts: &Arc<Contracts>) -> Self {
        let world = Arc::new(World::new(seed));
        let schemas = contracts.streams().map(|stream| Arc::clone(&stream.schema)).collect();
        let database = Arc::new(Database::new(schemas));
        Self {
            brokers: Arc::new(Brokers::new(Arc::clone(&world), Arc::clone(&database), contracts)),
            world,
            contracts: Arc::clone(contracts),
            database,
            memory: Arc::new(MemoryLive::new(WINDOW_MAX_MS)),
            processes: BTreeMap::new(),
            started: 0,
            snapshot: None,
        }
    }

    async fn run(&mut self) -> Result<(), String> {
        self.start();
        let publishing = tokio::spawn(publish(Arc::clone(&self.world), Arc::clone(&self.brokers)));
        while !publishing.is_finished() {
            sleep(Duration::from_millis(50 + self.world.below(1500))).await;
            self.bury().await;
            self.disturb().await;
        }
        let sent: Vec<Sent> = publishing.await.unwrap();
        self.world.calm();
        self.bury().await;
        if self.processes.is_empty() {
            self.start();
        }
        let settled = self.settle().await;
        let generations = self.generations();
        let evidence = self.database.evidence();
        let now_ms = self.world.now_ms();
        let checked = check(&self.contracts, &sent, &evidence, &self.memory, &generations, now_ms).await;
        let problems: Vec<String> =
            [self.world.violation(), settled.err(), checked.err()].into_iter().flatten().collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }

    fn start(&mut self) {
        self.started += 1;
        let process = self.started;
        self.world.hit("process", "started");
        let log = Arc::new(SimLog { brokers: Arc::clone(&self.brokers), process });
        let world = || Arc::clone(&self.world);
        let outside = Outside {
            log: log.clone(),
            registry: log,
            history: Arc::new(SimHistory { world: world(), database: Arc::clone(&self.database), process }),
            live: Arc::new(SimLive { world: world(), memory: Arc::clone(&self.memory), process }),
        };
        let meter = opentelemetry::global::meter("simulation");
        let processor =
            Processor::new(options(process), Arc::clone(&self.contracts), outside, Arc::new(|_, _| {}), &meter);
        let stop = CancellationToken::new();
        let task = tokio::spawn(processor.run(stop.clone()));
        self.processes.insert(process, Process { stop, task });
    }

    /// Takes dead processes out of the group, as their sessions end.
    async fn bury(&mut self) {
        let dead: Vec<u64> = self.processes.keys().copied().filter(|process| self.world.is_dead(*process)).collect();
        for process in dead {
            if let Some(Process { task, .. }) = self.processes.remove(&process) {
                task.abort();
                let _ = task.await;
            }
            sleep(Duration::from_millis(self.world.below(1500))).await;
            self.brokers.remove(process);
        }
    }

    async fn disturb(&mut self) {
        let count = self.processes.len();
        let living: Vec<u64> = self.processes.keys().copied().collect();
        let someone = living.get(self.world.below(count as u64) as usize).copied();
        match (self.world.below(12), someone) {
            (_, None) => self.start(),
            (0..=2, _) if count < PROCESSES_MAX => self.start(),
            (3, Some(process)) => {
                self.world.hit("process", "killed");
                self.world.kill(process);
            }
            (4, Some(process)) => {
                if let Some(Process { stop, task }) = self.processes.remove(&process) {
                    stop.cancel();
                    // One that is paused, or dies while it stops, is taken out as a dead one.
                    let abort = task.abort_handle();
                    if tokio::time::timeout(Duration::from_secs(3), task).await.is_err() {
                        self.world.kill(process);
                        abort.abort();
                    }
                    // One that was stopped while it joined left nobody behind who could leave: its session ends.
                    self.brokers.remove(process);
                }
            }
            (5, Some(process)) => {
                self.world.hit("process", "paused");
                self.world.pause(process, Duration::from_millis(500 + self.world.below(6000)));
                sleep(Duration::from_millis(self.world.below(500))).await;
                self.brokers.rebalance(false);
            }
            (6 | 7, _) => self.brokers.rebalance(true),
            (8, _) => self.snapshot = Some(self.memory.snapshot()),
            (9, _) => {
                if let Some(snapshot) = self.snapshot.take() {
                    self.world.hit("live", "rolled back");
                    self.memory.restore(snapshot);
                }
            }
            (10, _) if self.world.fault("live", "emptied", 400) => self.memory.clear(),
            (11, _) if self.database.prune().await => self.world.hit("history", "batches pruned"),
            _ => {}
        }
    }

    fn generations(&self) -> Vec<GenerationKey> {
        let key = |stream: &str| GenerationKey { stream: stream.to_owned(), generation: 1, shards: SHARDS };
        self.contracts.streams().map(|stream| key(&stream.schema.name)).collect()
    }

    /// Waits until history and live statistics have everything.
    async fn settle(&self) -> Result<(), String> {
        let mut behind = Vec::new();
        for _ in 0..SETTLED_S {
            sleep(Duration::from_secs(1)).await;
            behind.clear();
            for generation in self.generations() {
                let applied = self.memory.applied(&generation).await.map_err(|error| error.to_string())?;
                for place in self.brokers.places().into_iter().filter(|place| place.topic == generation.stream) {
                    let high = self.brokers.high(&place);
                    let next = self.database.next(&(place.topic.clone(), place.partition)).unwrap_or(0);
                    let applied = applied.get(&place.partition).copied().unwrap_or(0);
                    if next != high || applied != high {
                        behind.push(format!(
                            "{}/{}: {high} records, {next} stored, {applied} live",
                            place.topic, place.partition
                        ));
                    }
                }
            }
            if behind.is_empty() {
                return Ok(());
            }
        }
        Err(format!("not settled after {SETTLED_S} s without faults: {}", behind.join("; ")))
    }
}

fn options(process: u64) -> ProcessorOptions {
    ProcessorOptions {
        group: "simulation".into(),
        owner: format!("process {process}"),
        topic: TopicSpec {
            name: String::new(),
            partitions: PARTITIONS,
            replication: 1,
            min_insync: 1,
            retention_ms: WINDOW_MAX_MS,
        },
        dead_letter_suffix: ".dead".into(),
        batch_records_max: 40,
        batch_bytes_max: 1 << 20,
        batch_linger: Duration::from_millis(20),
        retry_max: Duration::from_secs(1),
        rule_spans_max: 8,
        window_max_ms: WINDOW_MAX_MS,
        shards: SHARDS,
        live_queue_max: 2,
        batches_kept_ms: 3_600_000,
        events_kept_days: 0,
        upkeep_interval: Duration::from_secs(60),
    }
}
