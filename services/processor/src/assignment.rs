//! Which partitions this process works on.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use headwater_contracts::{Contracts, StreamContract};
use headwater_event_log::{EventLogError, GroupMember, MemberEvent, TopicPartition, TopicSpec, Watermarks};
use headwater_history::{Generation, HistoryError, Ownership, Remembered};
use headwater_live::{GenerationKey, LiveError};
use opentelemetry::metrics::Meter;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::follow::Following;
use crate::generations::{Filled, FilledNow, Generations};
use crate::metrics::Metrics;
use crate::options::{Conditions, Outside, ProcessorOptions};
use crate::partition::{PartitionWork, Stop};
use crate::schema_ids::SchemaIds;
use crate::spread::{self, Spread};
use crate::stopped::{self, Stopped};
use crate::upkeep;
use crate::waiting::Waiting;

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
    pub(crate) waiting: Waiting,
    pub(crate) spread: Spread,
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

/// A partition that was taken in the history, and where its reader begins. Offsets are the log's.
struct Taken {
    place: TopicPartition,
    ownership: Ownership,
    next: i64,
    remembered: Option<Remembered>,
    last_read: Option<(i64, i64)>,
}

/// A partition, and the offset before which everything is done.
pub(crate) type Hint = (TopicPartition, i64);

/// A partition that cannot be read on; where it was taken, with which epoch and at which offset of the history.
struct NotTaken {
    place: TopicPartition,
    stands: Option<(i64, Option<i64>)>,
    stopped: Stopped,
}

/// What became of partitions that were to be taken.
#[derive(Default)]
struct Tried {
    places: Vec<TopicPartition>,
    taken: Vec<Taken>,
    not_taken: Vec<NotTaken>,
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
        let (metrics, waiting) = (Metrics::new(meter), Waiting::default());
        Self {
            shared: Arc::new(Shared {
                options,
                contracts,
                outside,
                conditions,
                schemas,
                metrics,
                waiting,
                spread: Spread::default(),
            }),
        }
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
        let mut generations = None;
        while !stop.is_cancelled() {
            // What waits here has nothing to give back; a member has partitions, which others get at once when it leaves.
            let prepared = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                prepared = self.prepare(&mut generations) => prepared,
            };
            let failed = match prepared {
                Ok(filled) => match self.member(filled, stop).await {
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

    /// Makes what is missing. The generations are those of this process's contract, and are made once: a process that
    /// only joins the group anew does not take them back from a newer contract's.
    async fn prepare(
        &self,
        generations: &mut Option<(Arc<FilledNow>, AbortOnDropHandle<()>)>,
    ) -> Result<Arc<FilledNow>, StartError> {
        let shared = &self.shared;
        let schemas: Vec<_> = shared.contracts.streams().map(|stream| Arc::clone(&stream.schema)).collect();
        shared.history(|| shared.outside.history.prepare(&schemas)).await?;
        shared.live(|| shared.outside.live.check()).await?;
        for stream in shared.contracts.streams() {
            for name in
                [stream.schema.name.clone(), format!("{}{}", stream.schema.name, shared.options.dead_letter_suffix)]
            {
                let spec = TopicSpec { name, ..shared.options.topic.clone() };
                shared.log(|| shared.outside.log.ensure_topic(&spec)).await?;
            }
        }
        if let Some((filled, _)) = generations {
            return Ok(filled.clone());
        }
        let mut current = Filled::new();
        for stream in shared.contracts.streams() {
            let fingerprint = stream.stats_fingerprint();
            let make = || shared.outside.history.generation(&stream.schema, shared.options.shards, &fingerprint);
            let Generation { number, shards } = shared.history(make).await?;
            let stream = stream.schema.name.clone();
            current.insert(stream.clone(), vec![GenerationKey { stream, generation: number, shards }]);
        }
        let (looking_after, filled) = Generations::new(Arc::clone(shared), current);
        let looking_after = AbortOnDropHandle::new(tokio::spawn(looking_after.run()));
        Ok(generations.insert((filled, looking_after)).0.clone())
    }

    async fn member(&self, filled: Arc<FilledNow>, stop: &CancellationToken) -> Result<(), EventLogError> {
        let shared = &self.shared;
        let topics: Vec<String> = shared.contracts.streams().map(|stream| stream.schema.name.clone()).collect();
        let mut member = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            member = shared.log(|| shared.outside.log.join(&shared.options.group, &topics)) => member?,
        };
        (shared.conditions)("processor", None);
        let _spread = AbortOnDropHandle::new(tokio::spawn(spread::run(Arc::clone(shared))));
        let _upkeep = AbortOnDropHandle::new(tokio::spawn(upkeep::run(Arc::clone(shared), filled.clone())));
        let mut assignment = Assignment {
            shared: Arc::clone(shared),
            filled,
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
        member.leave().await;
        ended
    }
}

/// The partitions that a member of the group has.
struct Assignment {
    shared: Arc<Shared>,
    /// The generations of live statistics that are filled.
    filled: Arc<FilledNow>,
    workers: BTreeMap<TopicPartition, Worker>,
    /// Assigned, and not begun.
    pending: Vec<TopicPartition>,
    taking: Option<JoinHandle<Tried>>,
    hints: (mpsc::Sender<Hint>, mpsc::Receiver<Hint>),
    /// Partitions that another owner took.
    fenced: (mpsc::Sender<TopicPartition>, mpsc::Receiver<TopicPartition>),
}

impl Assignment {
    async fn run(&mut self, member: &mut dyn GroupMember, stop: &CancellationToken) -> Result<(), EventLogError> {
        loop {
            if self.taking.is_none() && !self.pending.is_empty() {
                let (shared, places) = (Arc::clone(&self.shared), self.pending.clone());
                self.taking = Some(tokio::spawn(async move { take_all(&shared, places).await }));
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
                    // Still ours by the group's word: who took it did so late, and will not work on it, or somebody
                    // said where it goes on. A log begins to read a partition once for each time that it is
                    // assigned, so that the group is joined anew.
                    if self.workers.contains_key(&place) {
                        let place = condition(&place);
                        return Err(EventLogError::Refused(format!("{place} has to be taken anew: joining anew")));
                    }
                }
                Some((place, next)) = self.hints.1.recv() => member.hint(&place, next),
            }
        }
    }

    async fn begin(&mut self, member: &mut dyn GroupMember, tried: Tried) -> Result<(), EventLogError> {
        // What was revoked meanwhile is not ours any more.
        let Tried { places, mut taken, mut not_taken } = tried;
        taken.retain(|taken| self.pending.contains(&taken.place));
        not_taken.retain(|not_taken| self.pending.contains(&not_taken.place));
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
        self.pending.retain(|place| !places.contains(place));
        for NotTaken { place, stands, stopped } in not_taken {
            let following = stands.and_then(|(_, next)| self.follow(&place, next));
            let epoch = stands.map(|(epoch, _)| epoch);
            let (shared, stop, fenced) = (Arc::clone(&self.shared), CancellationToken::new(), self.fenced.0.clone());
            let task = tokio::spawn({
                let (place, stop) = (place.clone(), stop.clone());
                async move {
                    until(&stop, stopped::stay(&shared, &place, epoch, &stopped, &fenced)).await;
                    drop(following);
                }
            });
            self.workers.insert(place, Worker { stop, task });
        }
        for (taken, reader) in taken.into_iter().zip(readers) {
            let Some(stream) = self.shared.contracts.stream(&taken.place.topic) else { continue };
            let Some(following) = self.follow(&taken.place, taken.ownership.next) else { continue };
            let work = PartitionWork {
                shared: Arc::clone(&self.shared),
                stream: Arc::clone(stream),
                place: taken.place.clone(),
                ownership: taken.ownership,
                next: taken.next + taken.ownership.log_shift,
                remembered: taken.remembered,
                hints: self.hints.0.clone(),
                batches: following.batches.clone(),
                committed: following.committed.clone(),
                last_read: taken.last_read,
                has_told_misplaced: false,
            };
            let stop = CancellationToken::new();
            let task = tokio::spawn(work_on(
                Arc::clone(&self.shared),
                taken.place.clone(),
                taken.ownership.epoch,
                work.run(reader),
                following,
                stop.clone(),
                self.fenced.0.clone(),
            ));
            self.workers.insert(taken.place, Worker { stop, task });
        }
        Ok(())
    }

    fn follow(&self, place: &TopicPartition, next: Option<i64>) -> Option<Following> {
        let stream = self.shared.contracts.stream(&place.topic)?;
        Some(Following::start(&self.shared, stream, place.partition, self.filled.clone(), next))
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
    epoch: i64,
    work: impl Future<Output = Stop>,
    following: Following,
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
            let _rest = following.end();
            // Who lost it is told in this time, as a rule, and leaves it to its new owner.
            let tell = async {
                tokio::time::sleep(shared.options.retry_max).await;
                let _ = fenced.send(place).await;
            };
            until(&stop, tell).await;
        }
        Stop::MaybeOtherTopic { .. } => {
            warn!(topic = place.topic, partition = place.partition, reason = %ended, "the partition is looked at anew");
            let _ = fenced.send(place).await;
        }
        Stop::Log(EventLogError::Revoked) => {
            info!(topic = place.topic, partition = place.partition, reason = %ended, "gave up the partition");
        }
        other => {
            let Some(stopped) = Stopped::of(&place, &other) else { return };
            until(&stop, stopped::stay(&shared, &place, Some(epoch), &stopped, &fenced)).await;
        }
    }
}

async fn until(stop: &CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

pub(crate) fn condition(place: &TopicPartition) -> String {
    format!("{}/{}", place.topic, place.partition)
}

fn names(places: &[TopicPartition]) -> String {
    places.iter().map(condition).collect::<Vec<_>>().join(" ")
}

async fn take_all(shared: &Shared, places: Vec<TopicPartition>) -> Tried {
    let mut tried = Tried::default();
    for place in &places {
        let Some(stream) = shared.contracts.stream(&place.topic) else { continue };
        match take(shared, stream, place).await {
            Ok(taken) => tried.taken.push(taken),
            Err(not_taken) => tried.not_taken.push(not_taken),
        }
    }
    Tried { places, ..tried }
}

async fn take(shared: &Shared, stream: &StreamContract, place: &TopicPartition) -> Result<Taken, NotTaken> {
    let not_taken = |stands, stopped| NotTaken { place: place.clone(), stands, stopped };
    let history = &shared.outside.history;
    let take = || history.take(&stream.schema, place.partition, &shared.options.owner);
    let taken = shared.history(take).await;
    let ownership = taken.map_err(|error| not_taken(None, Stopped::refused(&error)))?;
    let stands = Some((ownership.epoch, ownership.next));
    let read = || shared.outside.log.watermarks(&place.topic, place.partition);
    let marks = shared.log(read).await;
    let Watermarks { low, high } = marks.map_err(|error| not_taken(stands, Stopped::refused(&error)))?;
    let in_log = |offset| offset - ownership.log_shift;
    let last = ownership.last.map(|last| Remembered { offset: in_log(last.offset), ..last });
    let last_read = last.map(|last| (last.offset, last.appended_ms));
    let begin = |next, remembered| Ok(Taken { place: place.clone(), ownership, next, remembered, last_read });
    match (ownership.next.map(in_log), last) {
        (None, _) => begin(low, None),
        (Some(next), _) if next < low || next > high => {
            Err(not_taken(stands, Stopped::outside(place, next, low, high)))
        }
        (Some(next), Some(last)) if last.offset >= low => begin(next, Some(last)),
        (Some(next), _) => begin(next, None),
    }
}
