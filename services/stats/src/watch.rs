//! What the service knows of each stream besides its figures: which generation answers, and whether it is behind.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_contracts::{Contracts, StreamContract};
use headwater_domain::Reason;
use headwater_event_log::{EventLog, EventLogError};
use headwater_history::{GenerationState, History, HistoryError};
use headwater_live::{GenerationKey, LiveStatistics};
use headwater_serving::problem::Problem;
use parking_lot::RwLock;
use tracing::{debug, warn};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);
/// How far the live store's clock may seem to be off before it is taken anew: an answer takes its time.
const CLOCK_TOLERANCE_MS: i64 = 100;
/// Marks that are waited for at most; past it the oldest are kept, which is what lag is told by.
const MARKS_MAX: usize = 1024;

/// Where every partition ended at a moment.
#[derive(Clone, Debug)]
struct Mark {
    at: Instant,
    ends: BTreeMap<i32, i64>,
}

/// What is known of a stream.
#[derive(Clone, Debug, Default)]
struct Known {
    generation: Option<GenerationKey>,
    /// Partition to the offset that the history has.
    stored: BTreeMap<i32, i64>,
    /// Partition to what is added to an offset of the log for the history's.
    shifts: BTreeMap<i32, i64>,
    /// Partitions whose log ends before what is stored: it is not the one that was read.
    other_log: BTreeSet<i32>,
    /// Partition to the greatest offset that live statistics of the generation were seen to have.
    seen: BTreeMap<i32, i64>,
    /// What the figures have not reached yet, oldest first.
    marks: VecDeque<Mark>,
}

/// Looks after every stream.
pub(crate) struct Watch {
    contracts: Arc<Contracts>,
    history: Arc<dyn History>,
    live: Arc<dyn LiveStatistics>,
    log: Option<Arc<dyn EventLog>>,
    known: RwLock<HashMap<String, Known>>,
    /// The live store's clock: what it said, and when.
    clock: RwLock<Option<(i64, Instant)>>,
}

impl Watch {
    pub(crate) fn new(
        contracts: Arc<Contracts>,
        history: Arc<dyn History>,
        live: Arc<dyn LiveStatistics>,
        log: Option<Arc<dyn EventLog>>,
    ) -> Self {
        Self { contracts, history, live, log, known: RwLock::default(), clock: RwLock::default() }
    }

    /// Looks again and again; tells `condition` what is away.
    pub(crate) async fn run(&self, condition: impl Fn(&str, Option<String>)) {
        loop {
            let mut away = (None, self.look_at_clock().await.err());
            for stream in self.contracts.streams() {
                if let Err(error) = self.look_at_history(stream).await {
                    away.0 = Some(error.to_string());
                }
                if let Err(error) = self.look_at_live(stream).await {
                    away.1 = Some(error);
                }
            }
            condition("stats: history", away.0);
            condition("stats: live statistics", away.1);
            tokio::time::sleep(EVERY).await;
        }
    }

    /// The moment that windows end at, in milliseconds since the Unix epoch: by the live store's clock, so that every
    /// replica answers alike whatever its host's clock says; by the host's where the store never told.
    pub(crate) fn now_ms(&self) -> i64 {
        let whole_ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        match *self.clock.read() {
            Some((at_ms, seen)) => at_ms + whole_ms(seen.elapsed()),
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole_ms),
        }
    }

    async fn look_at_clock(&self) -> Result<(), String> {
        let asked = Instant::now();
        let told_ms = self.live.now_ms().await.map_err(|error| error.to_string())?;
        let is_known = self.clock.read().is_some() && (self.now_ms() - told_ms).abs() <= CLOCK_TOLERANCE_MS;
        if !is_known {
            // It was told about in the middle of the question and its answer.
            *self.clock.write() = Some((told_ms, asked + asked.elapsed() / 2));
        }
        Ok(())
    }

    /// The generation that answers for the stream.
    pub(crate) async fn generation(&self, stream: &StreamContract) -> Result<GenerationKey, Problem> {
        let known = self.known.read().get(&stream.schema.name).and_then(|known| known.generation.clone());
        if let Some(generation) = known {
            return Ok(generation);
        }
        self.look_at_history(stream).await.map_err(|error| history_problem(&error))?;
        let known = self.known.read().get(&stream.schema.name).and_then(|known| known.generation.clone());
        known.ok_or_else(|| {
            let name = &stream.schema.name;
            Problem::new(
                Reason::NotReady,
                format!("no processor has begun on the stream {name:?} with these statistics yet; try again"),
            )
        })
    }

    /// Takes in what live statistics have; returns whether nothing that was there is missing.
    pub(crate) fn complete(&self, generation: &GenerationKey, applied: &BTreeMap<i32, i64>) -> bool {
        let mut known = self.known.write();
        let known = known.entry(generation.stream.clone()).or_default();
        if known.generation.as_ref() != Some(generation) {
            return false;
        }
        let mut complete = known.stored.keys().all(|partition| applied.contains_key(partition));
        for (&partition, &seen) in &known.seen {
            complete &= applied.get(&partition).is_some_and(|&applied| applied >= seen);
        }
        for (&partition, &applied) in applied {
            let seen = known.seen.entry(partition).or_insert(applied);
            *seen = applied.max(*seen);
        }
        while known.marks.front().is_some_and(|mark| mark.reached(applied)) {
            known.marks.pop_front();
        }
        complete
    }

    /// How long ago the oldest mark was that the figures have not reached: 0 where they have reached all.
    pub(crate) fn lag(&self, stream: &str) -> Duration {
        let known = self.known.read();
        known.get(stream).and_then(|known| known.marks.front()).map_or(Duration::ZERO, |mark| mark.at.elapsed())
    }

    async fn look_at_history(&self, stream: &StreamContract) -> Result<(), HistoryError> {
        let schema = &stream.schema;
        let fingerprint = stream.stats_fingerprint();
        let generations = self.history.generations(schema).await?;
        // One of other statistics would be read wrong.
        let current =
            generations.into_iter().find(|of| of.state == GenerationState::Current && of.fingerprint == fingerprint);
        let progress = match current {
            Some(_) => self.history.progress(schema).await?,
            None => Vec::new(),
        };
        let generation = current.map(|current| GenerationKey {
            stream: schema.name.clone(),
            generation: current.generation.number,
            shards: current.generation.shards,
        });
        let mut known = self.known.write();
        let known = known.entry(schema.name.clone()).or_default();
        if known.generation != generation {
            known.generation = generation;
            known.seen.clear();
            known.marks.clear();
        }
        known.shifts = progress.iter().map(|partition| (partition.partition, partition.log_shift)).collect();
        known.stored = progress.into_iter().map(|partition| (partition.partition, partition.next)).collect();
        Ok(())
    }

    async fn look_at_live(&self, stream: &StreamContract) -> Result<(), String> {
        let name = &stream.schema.name;
        let known = self.known.read().get(name).cloned().unwrap_or_default();
        let Some(generation) = known.generation.clone() else { return Ok(()) };
        let applied = self.live.applied(&generation).await.map_err(|error| error.to_string())?;
        self.complete(&generation, &applied);
        let at = Instant::now();
        let (ends, other_log) = self.ends(name, known).await;
        let mark = Mark { at, ends };
        let mut known = self.known.write();
        let known = known.entry(name.clone()).or_default();
        known.other_log = other_log;
        if !mark.reached(&applied) && known.marks.len() < MARKS_MAX {
            known.marks.push_back(mark);
        }
        Ok(())
    }

    /// The offsets of the log that figures with these of the history stand for, which tokens are of. None for a partition
    /// whose log is not the one that was read.
    pub(crate) fn in_log(&self, stream: &str, applied: BTreeMap<i32, i64>) -> BTreeMap<i32, i64> {
        let known = self.known.read();
        let Some(known) = known.get(stream) else { return applied };
        let ours = applied.into_iter().filter(|(partition, _)| !known.other_log.contains(partition));
        ours.map(|(partition, at)| (partition, at - known.shifts.get(&partition).unwrap_or(&0))).collect()
    }

    /// Where every partition ends: in the log where it answers, else in the history; and whose log is another.
    async fn ends(&self, stream: &str, known: Known) -> (BTreeMap<i32, i64>, BTreeSet<i32>) {
        let (mut ends, mut other_log) = (known.stored, BTreeSet::new());
        let Some(log) = &self.log else { return (ends, other_log) };
        for partition in 0.. {
            match log.watermarks(stream, partition).await {
                Ok(marks) => {
                    let high = marks.high + known.shifts.get(&partition).unwrap_or(&0);
                    if ends.get(&partition).is_some_and(|stored| *stored > high) {
                        other_log.insert(partition);
                    }
                    if marks.high > marks.low {
                        let end = ends.entry(partition).or_insert(high);
                        *end = high.max(*end);
                    }
                }
                Err(EventLogError::UnknownTopic(_)) => break,
                Err(error) => {
                    debug!(stream, partition, %error, "cannot tell how far the log is ahead");
                    break;
                }
            }
        }
        (ends, other_log)
    }
}

impl Mark {
    fn reached(&self, applied: &BTreeMap<i32, i64>) -> bool {
        self.ends.iter().all(|(partition, end)| applied.get(partition).is_some_and(|applied| applied >= end))
    }
}

/// What the history's error means for a caller. Its own words go to the log of the process.
pub(crate) fn history_problem(error: &HistoryError) -> Problem {
    warn!(%error, "history");
    match error {
        HistoryError::Unavailable(_) => {
            Problem::new(Reason::HistoryUnavailable, "the history database is away; try again after the delay")
        }
        HistoryError::Contract(_) | HistoryError::Refused(_) => {
            Problem::new(Reason::Internal, "the history refused; the log of the service says why")
        }
    }
}
