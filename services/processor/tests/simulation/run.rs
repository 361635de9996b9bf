//! One seed: processes that come, go, pause and crash while records are published; then calm, and the check.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_contracts::Contracts;
use headwater_domain::StreamSchema;
use headwater_event_log::{TopicPartition, TopicSpec, Watermarks};
use headwater_history::{BuildOutcome, GenerationRecord, GenerationState, History};
use headwater_live::memory::{MemoryLive, MemorySnapshot};
use headwater_live::{GenerationKey, LiveStatistics};
use headwater_processor::{Outside, Processor, ProcessorOptions};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::brokers::{Brokers, Log, PARTITIONS};
use crate::check::{WINDOW_MAX_MS, check};
use crate::database::{Database, Segment};
use crate::history::SimHistory;
use crate::live::SimLive;
use crate::log::SimLog;
use crate::traffic::{Sent, publish};
use crate::world::{Hits, World};

const PROCESSES_MAX: usize = 3;
const SHARDS: u32 = 3;
/// How long everything may take to be settled after the last fault, in seconds of the simulation.
const SETTLED_S: u64 = 240;

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
    /// Builds of generations that were asked for.
    rebuilds: u64,
    /// What this seed does to logs, once each: makes a topic anew, and removes what was not read.
    makes_anew: bool,
    removes_unread: bool,
}

impl Simulation {
    fn new(seed: u64, contracts: &Arc<Contracts>) -> Self {
        let world = Arc::new(World::new(seed));
        let schemas = contracts.streams().map(|stream| Arc::clone(&stream.schema)).collect();
        let database = Arc::new(Database::new(schemas));
        let (makes_anew, removes_unread) = (world.chance(150), world.chance(200));
        Self {
            brokers: Arc::new(Brokers::new(Arc::clone(&world), Arc::clone(&database), contracts)),
            world,
            contracts: Arc::clone(contracts),
            database,
            memory: Arc::new(MemoryLive::new(WINDOW_MAX_MS)),
            processes: BTreeMap::new(),
            started: 0,
            snapshot: None,
            rebuilds: 0,
            makes_anew,
            removes_unread,
        }
    }

    async fn run(&mut self) -> Result<(), String> {
        self.start();
        let publishing = tokio::spawn(publish(Arc::clone(&self.world), Arc::clone(&self.brokers)));
        while !publishing.is_finished() {
            sleep(Duration::from_millis(50 + self.world.below(1000))).await;
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
        let generations = settled.clone().unwrap_or_default();
        let newest = generations.iter().map(|generation| generation.generation).max();
        if newest > Some(1) {
            self.world.hit("rebuild", "done");
        }
        for place in self.brokers.places() {
            if let Some([reason, ..]) = self.stop_of(&place) {
                self.world.hit("process", reason);
            }
        }
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
        let told = world();
        let conditions = Arc::new(move |name: &str, reason| told.told(process, name, reason));
        let processor = Processor::new(options(process), Arc::clone(&self.contracts), outside, conditions, &meter);
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
        match (self.world.below(20), someone) {
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
            (12, _) => {
                if let Some(snapshot) = self.snapshot.take() {
                    self.world.hit("live", "some shards rolled back");
                    let lost = 1 + self.world.below((1 << SHARDS) - 2);
                    self.memory.restore_some(snapshot, |shard| lost >> shard & 1 == 1);
                }
            }
            (13, _) if self.world.chance(300) => self.brokers.raise(),
            (14, _) => _ = self.brokers.retain(false),
            (15, _) if self.removes_unread => self.removes_unread = !self.brokers.retain(true),
            (16, _) if self.makes_anew => self.makes_anew = !self.brokers.make_anew(),
            (17, _) if self.world.chance(400) => self.rebuild().await,
            (18, _) => self.cancel_rebuild().await,
            (19, _) => self.resume().await,
            _ => {}
        }
    }

    /// Asks for a new generation of a stream, as RebuildService does.
    async fn rebuild(&mut self) {
        self.rebuilds += 1;
        let schema = self.any_schema();
        match self.database.history.build_generation(&schema, &format!("rebuild {}", self.rebuilds)).await {
            Ok(BuildOutcome::Started(_)) => self.world.hit("rebuild", "started"),
            Ok(BuildOutcome::Busy(_)) => self.world.hit("rebuild", "another is running"),
            // Before the first process has made the tables.
            Ok(BuildOutcome::NoneYet) | Err(_) => {}
        }
    }

    async fn cancel_rebuild(&self) {
        let schema = self.any_schema();
        let all = self.database.history.generations(&schema).await.unwrap_or_default();
        if let Some(building) = all.iter().find(|record| record.state == GenerationState::Building) {
            let cancelled = self.database.history.cancel_generation(&schema, building.generation.number).await;
            assert_eq!(cancelled, Ok(true));
            self.world.hit("rebuild", "cancelled");
        }
    }

    fn any_schema(&self) -> Arc<StreamSchema> {
        let streams: Vec<_> = self.contracts.streams().collect();
        Arc::clone(&streams[self.world.below(streams.len() as u64) as usize].schema)
    }

    /// Says where one of the partitions that are stopped goes on, as `headwater resume` does.
    async fn resume(&self) {
        let stopped: Vec<_> = self.brokers.places().into_iter().filter(|place| self.stop_of(place).is_some()).collect();
        if let Some(place) = stopped.get(self.world.below(stopped.len() as u64) as usize) {
            let (made, low) = self.brokers.log(place, |log| (log.made, log.low));
            self.database.resume(place, made, low).await;
            self.world.hit("process", "stopped partition resumed");
        }
    }

    /// Why a partition must be stopped, where it must: one of these reasons.
    fn stop_of(&self, place: &TopicPartition) -> Option<&'static [&'static str]> {
        let Segment { made, shift, next, .. } = self.database.segment(place)?;
        let (made_now, Watermarks { low, .. }) = self.brokers.log(place, |log| (log.made, log.marks()));
        if made_now != made {
            // The last where it was stopped before, by that.
            Some(&["TOPIC_REPLACED", "TOPIC_MISSING", "OFFSET_OUTSIDE_LOG", "RECORDS_REMOVED"])
        } else if low > next - shift {
            Some(&["RECORDS_REMOVED"])
        } else {
            None
        }
    }

    /// The generations that are read, one a stream; or what is still to be done about generations.
    async fn generations(&self) -> Result<Vec<GenerationKey>, String> {
        let mut all = Vec::new();
        for stream in self.contracts.streams() {
            let records = self.database.history.generations(&stream.schema).await.map_err(|error| error.to_string())?;
            for GenerationRecord { generation, state, .. } in records {
                let stream = stream.schema.name.clone();
                let key = GenerationKey { stream, generation: generation.number, shards: generation.shards };
                match state {
                    GenerationState::Current => all.push(key),
                    GenerationState::Building => return Err(format!("{key:?} is being built")),
                    _ if self.memory.holds(&key) => return Err(format!("{key:?} is {state:?}, and not removed")),
                    _ => {}
                }
            }
        }
        Ok(all)
    }

    /// Waits until history and live statistics have everything, and what cannot go on has said so.
    async fn settle(&self) -> Result<Vec<GenerationKey>, String> {
        let mut behind = String::new();
        for _ in 0..SETTLED_S {
            sleep(Duration::from_secs(1)).await;
            match self.settled().await {
                Ok(generations) => return Ok(generations),
                Err(found) => behind = found,
            }
        }
        Err(format!("not settled after {SETTLED_S} s without faults: {behind}"))
    }

    async fn settled(&self) -> Result<Vec<GenerationKey>, String> {
        let generations = self.generations().await?;
        for generation in &generations {
            let applied = self.memory.applied(generation).await.map_err(|error| error.to_string())?;
            for place in self.brokers.places().into_iter().filter(|place| place.topic == generation.stream) {
                let name = format!("{}/{}", place.topic, place.partition);
                let condition = self.world.condition(&name);
                let Watermarks { high, .. } = self.brokers.log(&place, Log::marks);
                let segment = self.database.segment(&place);
                let next = segment.as_ref().map_or(0, |segment| segment.next);
                let read = segment.map_or(0, |segment| segment.next - segment.shift);
                let as_it_must = match (self.stop_of(&place), &condition) {
                    (Some(reasons), Some(told)) => reasons.iter().any(|reason| told.starts_with(reason)),
                    (None, None) => read == high,
                    // Made anew between the look at its ends and the first read, which waits for the record before.
                    (Some(_), None) => read == high + 1,
                    _ => false,
                };
                let applied = applied.get(&place.partition).copied().unwrap_or(0);
                if !as_it_must || applied != next {
                    let must_stop = self.stop_of(&place);
                    return Err(format!(
                        "{name}: {high} records, {read} read, {next} stored, {applied} live, must stop by {must_stop:?}, \
                         and says {condition:?}"
                    ));
                }
            }
        }
        Ok(generations)
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
