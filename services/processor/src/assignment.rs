//! Which partitions this process works on.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use headwater_contracts::{Contracts, StreamContract};
use headwater_event_log::{
    EventLogError, GroupMember, MemberEvent, RegistryError, TopicPartition, TopicSpec, Watermarks,
};
use headwater_history::{Generation, HistoryError, Ownership, Remembered};
use headwater_live::{GenerationKey, LiveError};
use opentelemetry::metrics::Meter;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::follow::Follower;
use crate::metrics::Metrics;
use crate::options::{Conditions, Outside, ProcessorOptions};
use crate::partition::{PartitionWork, Stop};
use crate::schema_ids::SchemaIds;
use crate::upkeep;

const RETRY_MIN: Duration = Duration::from_millis(50);
/// Hints on their way to the log; more are made up for by later ones.
const HINTS_MAX: usize = 1024;
/// Partitions that were fenced and may have to be taken anew; one that does not fit waits for room.
const FENCED_MAX: usize = 64;

/// Takes partitions of every stream's topic and brings their records into the history and live statistics.
pub struct Processor {
    shared: Arc<Shared>,
}

/// What all tasks of a processor have in common.
pub(crate) struct Shared {
    pub(crate) options: ProcessorOptions,
    pub(crate) contracts: Arc<Contracts>,
    pub(crate) outside: Outside,
    pub(crate) conditions: Conditions,
    pub(crate) schemas: SchemaIds,
    pub(crate) metrics: Metrics,
}

/// Why a processor cannot start at all.
#[derive(Debug, Error)]
enum StartError {
    #[error(transparent)]
    Log(#[from] EventLogError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Live(#[from] LiveError),
}

/// A partition that was taken in the history, and where its reader begins.
struct Taken {
    place: TopicPartition,
    ownership: Ownership,
    next: i64,
    remembered: Option<Remembered>,
}

/// A partition, and the offset before which everything is done.
pub(crate) type Hint = (TopicPartition, i64);

/// What became of partitions that were to be taken: those that could not be have told their reason.
#[derive(Default)]
struct Tried {
    places: Vec<TopicPartition>,
    taken: Vec<Taken>,
}

/// The tasks of a partition.
struct Worker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Processor {
    /// A processor of every stream of the contracts, which counts what it does with the meter.
    pub fn new(
        options: ProcessorOptions,
        contracts: Arc<Contracts>,
        outside: Outside,
        conditions: Conditions,
        meter: &Meter,
    ) -> Self {
        let schemas = SchemaIds::new(Arc::clone(&outside.registry));
        let metrics = Metrics::new(meter);
        Self { shared: Arc::new(Shared { options, contracts, outside, conditions, schemas, metrics }) }
    }

    /// Works until `stop`; outages of outside systems are waited out. Every commit that was begun is settled by the
    /// history, so that stopping in the middle of one loses and doubles nothing.
    pub async fn run(self, stop: CancellationToken) {
        let conditions = Arc::clone(&self.shared.conditions);
        conditions("processor", Some("starting".into()));
        self.work(&stop).await;
        conditions("processor", Some("stopped".into()));
    }

    async fn work(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // What waits here has nothing to give back; a member has partitions, which others get at once when it leaves.
            let prepared = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                prepared = self.prepare() => prepared,
            };
            let failed = match prepared {
                Ok(generations) => match self.member(&generations, stop).await {
                    Ok(()) => return,
                    Err(error) => StartError::from(error),
                },
                Err(error) => error,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.not_now(&failed) => {}
            }
        }
    }

    async fn not_now(&self, error: &(dyn std::error::Error + Send + Sync)) {
        error!(%error, "the processor cannot go on, and tries again");
        (self.shared.conditions)("processor", Some(error.to_string()));
        tokio::time::sleep(self.shared.options.retry_max).await;
    }

    async fn prepare(&self) -> Result<HashMap<String, GenerationKey>, StartError> {
        let shared = &self.shared;
        let schemas: Vec<_> = shared.contracts.streams().map(|stream| Arc::clone(&stream.schema)).collect();
        shared.history(|| shared.outside.history.prepare(&schemas)).await?;
        shared.live(|| shared.outside.live.check()).await?;
        let mut generations = HashMap::new();
        for stream in shared.contracts.streams() {
            for name in
                [stream.schema.name.clone(), format!("{}{}", stream.schema.name, shared.options.dead_letter_suffix)]
            {
                let spec = TopicSpec { name, ..shared.options.topic.clone() };
                shared.log(|| shared.outside.log.ensure_topic(&spec)).await?;
            }
            let fingerprint = stream.stats_fingerprint();
            let make = || shared.outside.history.generation(&stream.schema, shared.options.shards, &fingerprint);
            let Generation { number, shards } = shared.history(make).await?;
            let stream = stream.schema.name.clone();
            generations.insert(stream.clone(), GenerationKey { stream, generation: number, shards });
        }
        Ok(generations)
    }

    async fn member(
        &self,
        generations: &HashMap<String, GenerationKey>,
        stop: &CancellationToken,
    ) -> Result<(), EventLogError> {
        let shared = &self.shared;
        let topics: Vec<String> = shared.contracts.streams().map(|stream| stream.schema.name.clone()).collect();
        let mut member = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            member = shared.log(|| shared.outside.log.join(&shared.options.group, &topics)) => member?,
        };
        (shared.conditions)("processor", None);
        let upkeep = tokio::spawn(upkeep::run(Arc::clone(shared), generations.clone()));
        let mut assignment = Assignment {
            shared: Arc::clone(shared),
            generations,
            workers: BTreeMap::new(),
            pending: Vec::new(),
            taking: None,
            hints: mpsc::channel(HINTS_MAX),
            fenced: mpsc::channel(FENCED_MAX),
        };
        let ended = assignment.run(member.as_mut(), stop).await;
        for place in assignment.workers.keys().cloned().collect::<Vec<_>>() {
            assignment.end(&place).await;
        }
        upkeep.abort();
        member.leave().await;
        ended
    }
}

/// The partitions that a member of the group has.
struct Assignment<'a> {
    shared: Arc<Shared>,
    generations: &'a HashMap<String, GenerationKey>,
    workers: BTreeMap<TopicPartition, Worker>,
    /// Assigned, and not begun.
    pending: Vec<TopicPartition>,
    taking: Option<JoinHandle<Tried>>,
    hints: (mpsc::Sender<Hint>, mpsc::Receiver<Hint>),
    /// Partitions that another owner took.
    fenced: (mpsc::Sender<TopicPartition>, mpsc::Receiver<TopicPartition>),
}

impl Assignment<'_> {
    async fn run(&mut self, member: &mut dyn GroupMember, stop: &CancellationToken) -> Result<(), EventLogError> {
        loop {
            if self.taking.is_none() && !self.pending.is_empty() {
                let (shared, places) = (Arc::clone(&self.shared), self.pending.clone());
                self.taking = Some(tokio::spawn(async move {
                    let taken = take_all(&shared, &places).await;
                    Tried { places, taken }
                }));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                event = member.next_event() => match event? {
                    MemberEvent::Assigned(places) => {
                        info!(partitions = %names(&places), "assigned");
                        self.pending.extend(places);
                    }
                    MemberEvent::Revoked(places) => {
                        info!(partitions = %names(&places), "revoked");
                        self.pending.retain(|place| !places.contains(place));
                        for place in &places {
                            self.end(place).await;
                        }
                    }
                },
                tried = tried(&mut self.taking), if self.taking.is_some() => {
                    self.taking = None;
                    self.begin(member, tried).await?;
                }
                Some(place) = self.fenced.1.recv() => {
                    // Still ours by the group's word: who took it did so late, and will not work on it. A log begins
                    // to read a partition once for each time that it is assigned, so that the group is joined anew.
                    if self.workers.contains_key(&place) {
                        let place = condition(&place);
                        return Err(EventLogError::Refused(format!("{place} was taken by a late owner: joining anew")));
                    }
                }
                Some((place, next)) = self.hints.1.recv() => member.hint(&place, next),
            }
        }
    }

    async fn begin(&mut self, member: &mut dyn GroupMember, tried: Tried) -> Result<(), EventLogError> {
        // What was revoked meanwhile is not ours any more.
        let taken: Vec<Taken> = tried.taken.into_iter().filter(|taken| self.pending.contains(&taken.place)).collect();
        let at = taken
            .iter()
            .map(|taken| (taken.place.clone(), taken.remembered.map_or(taken.next, |remembered| remembered.offset)))
            .collect();
        let readers = match member.start(at).await {
            Ok(readers) => readers,
            // Assigned anew meanwhile: the next event says what to take.
            Err(EventLogError::Revoked) => return Ok(()),
            Err(error) => return Err(error),
        };
        // What was assigned meanwhile is still to be taken.
        self.pending.retain(|place| !tried.places.contains(place));
        for (taken, reader) in taken.into_iter().zip(readers) {
            let (Some(stream), Some(generation)) =
                (self.shared.contracts.stream(&taken.place.topic), self.generations.get(&taken.place.topic))
            else {
                continue;
            };
            let (batches, batch_queue) = mpsc::channel(self.shared.options.live_queue_max.max(1));
            let (committed, committed_seen) = watch::channel(taken.ownership.next);
            let follower = Follower {
                shared: Arc::clone(&self.shared),
                stream: Arc::clone(stream),
                partition: taken.place.partition,
                generation: generation.clone(),
            };
            let work = PartitionWork {
                shared: Arc::clone(&self.shared),
                stream: Arc::clone(stream),
                place: taken.place.clone(),
                ownership: taken.ownership,
                next: taken.next,
                remembered: taken.remembered,
                hints: self.hints.0.clone(),
                batches,
                committed,
            };
            let stop = CancellationToken::new();
            let work = async move { tokio::join!(work.run(reader), follower.run(batch_queue, committed_seen)).0 };
            let task = tokio::spawn(work_on(
                Arc::clone(&self.shared),
                taken.place.clone(),
                work,
                stop.clone(),
                self.fenced.0.clone(),
            ));
            self.workers.insert(taken.place, Worker { stop, task });
        }
        Ok(())
    }

    async fn end(&mut self, place: &TopicPartition) {
        if let Some(worker) = self.workers.remove(place) {
            worker.stop.cancel();
            let _ = worker.task.await;
            (self.shared.conditions)(&condition(place), None);
        }
    }
}

async fn tried(taking: &mut Option<JoinHandle<Tried>>) -> Tried {
    match taking {
        Some(task) => task.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

async fn work_on(
    shared: Arc<Shared>,
    place: TopicPartition,
    work: impl Future<Output = Stop>,
    stop: CancellationToken,
    fenced: mpsc::Sender<TopicPartition>,
) {
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        ended = work => ended,
    };
    match ended {
        Stop::Fenced { .. } => {
            info!(topic = place.topic, partition = place.partition, reason = %ended, "gave up the partition");
            // Who lost it is told in this time, as a rule, and leaves it to its new owner.
            let tell = async {
                tokio::time::sleep(shared.options.retry_max).await;
                let _ = fenced.send(place).await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tell => {}
            }
        }
        Stop::Log(EventLogError::Revoked) => {
            info!(topic = place.topic, partition = place.partition, reason = %ended, "gave up the partition");
        }
        other => stopped(&shared, &place, &other.to_string()),
    }
}

fn stopped(shared: &Shared, place: &TopicPartition, reason: &str) {
    error!(topic = place.topic, partition = place.partition, reason, "the partition is stopped");
    (shared.conditions)(&condition(place), Some(format!("stopped: {reason}")));
}

fn condition(place: &TopicPartition) -> String {
    format!("{}/{}", place.topic, place.partition)
}

fn names(places: &[TopicPartition]) -> String {
    places.iter().map(condition).collect::<Vec<_>>().join(" ")
}

async fn take_all(shared: &Shared, places: &[TopicPartition]) -> Vec<Taken> {
    let mut all = Vec::with_capacity(places.len());
    for place in places {
        let Some(stream) = shared.contracts.stream(&place.topic) else { continue };
        match take(shared, stream, place).await {
            Ok(taken) => all.push(taken),
            Err(reason) => stopped(shared, place, &reason),
        }
    }
    all
}

async fn take(shared: &Shared, stream: &StreamContract, place: &TopicPartition) -> Result<Taken, String> {
    let history = &shared.outside.history;
    let take = || history.take(&stream.schema, place.partition, &shared.options.owner);
    let ownership = shared.history(take).await.map_err(|error| error.to_string())?;
    let read = || shared.outside.log.watermarks(&place.topic, place.partition);
    let Watermarks { low, high } = shared.log(read).await.map_err(|error| error.to_string())?;
    let place = place.clone();
    let Some(next) = ownership.next else {
        return Ok(Taken { place, ownership, next: low, remembered: None });
    };
    match ownership.last {
        _ if next > high => Err(format!(
            "the history has everything before offset {next}, and the log ends at {high}: the topic was made anew, or lost \
             records"
        )),
        Some(last) if last.offset >= low => Ok(Taken { place, ownership, next, remembered: Some(last) }),
        _ if next >= low => Ok(Taken { place, ownership, next, remembered: None }),
        _ => Err(format!(
            "the history has everything before offset {next}, and the log begins at {low}: the records between were removed \
             before they were read"
        )),
    }
}

impl Shared {
    /// Calls the event log until it is not away.
    pub(crate) async fn log<T, F>(&self, call: impl FnMut() -> F) -> Result<T, EventLogError>
    where
        F: Future<Output = Result<T, EventLogError>>,
    {
        let away = |error: &EventLogError| matches!(error, EventLogError::Unavailable(_) | EventLogError::QueueFull);
        self.until_back("event log", call, away).await
    }

    /// Calls the registry until it is not away.
    pub(crate) async fn registry<T, F>(&self, call: impl FnMut() -> F) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        self.until_back("schema registry", call, |error| matches!(error, RegistryError::Unavailable(_))).await
    }

    /// Calls the history until it is not away.
    pub(crate) async fn history<T, F>(&self, call: impl FnMut() -> F) -> Result<T, HistoryError>
    where
        F: Future<Output = Result<T, HistoryError>>,
    {
        self.until_back("history", call, |error| matches!(error, HistoryError::Unavailable(_))).await
    }

    /// Calls live statistics until they are not away.
    pub(crate) async fn live<T, F>(&self, call: impl FnMut() -> F) -> Result<T, LiveError>
    where
        F: Future<Output = Result<T, LiveError>>,
    {
        self.until_back("live statistics", call, |error| matches!(error, LiveError::Unavailable(_))).await
    }

    async fn until_back<T, E: std::fmt::Display, F>(
        &self,
        system: &'static str,
        call: impl FnMut() -> F,
        away: impl Fn(&E) -> bool,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(RETRY_MIN)
            .with_max_delay(self.options.retry_max)
            .with_jitter()
            .without_max_times();
        let mut was_away = false;
        let result = call
            .retry(pauses)
            .when(|error| away(error))
            .notify(|error, _| {
                if !was_away {
                    was_away = true;
                    warn!(system, %error, "away: waiting for it");
                    (self.conditions)(&format!("processor: {system}"), Some(error.to_string()));
                }
                self.metrics.retried(system);
            })
            .await;
        if was_away {
            info!(system, "back");
            (self.conditions)(&format!("processor: {system}"), None);
        }
        result
    }
}
