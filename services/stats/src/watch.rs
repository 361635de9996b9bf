//! What the service knows of each stream besides its figures: which generation answers, and whether it is behind.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
}

impl Watch {
    pub(crate) fn new(
        contracts: Arc<Contracts>,
        history: Arc<dyn History>,
        live: Arc<dyn LiveStatistics>,
        log: Option<Arc<dyn EventLog>>,
    ) -> Self {
        Self { contracts, history, live, log, known: RwLock::default() }
    }

    /// Looks again and again; tells `condition` what is away.
    pub(crate) async fn run(&self, condition: impl Fn(&str, Option<String>)) {
        loop {
            let mut away = (None, None);
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
        known.stored = progress.into_iter().map(|partition| (partition.partition, partition.next)).collect();
        Ok(())
    }

    async fn look_at_live(&self, stream: &StreamContract) -> Result<(), String> {
        let name = &stream.schema.name;
        let known = self.known.read().get(name).cloned().unwrap_or_default();
        let Some(generation) = known.generation else { return Ok(()) };
        let applied = self.live.applied(&generation).await.map_err(|error| error.to_string())?;
        self.complete(&generation, &applied);
        let mark = Mark { at: Instant::now(), ends: self.ends(name, known.stored).await };
        let mut known = self.known.write();
        let known = known.entry(name.clone()).or_default();
        if !mark.reached(&applied) && known.marks.len() < MARKS_MAX {
            known.marks.push_back(mark);
        }
        Ok(())
    }

    /// Where every partition ends: in the log where it answers, else in the history.
    async fn ends(&self, stream: &str, stored: BTreeMap<i32, i64>) -> BTreeMap<i32, i64> {
        let Some(log) = &self.log else { return stored };
        let mut ends = stored;
        for partition in 0.. {
            match log.watermarks(stream, partition).await {
                Ok(marks) if marks.high > marks.low => {
                    let end = ends.entry(partition).or_insert(marks.high);
                    *end = marks.high.max(*end);
                }
                Ok(_) => {}
                Err(EventLogError::UnknownTopic(_)) => break,
                Err(error) => {
                    debug!(stream, partition, %error, "cannot tell how far the log is ahead");
                    break;
                }
            }
        }
        ends
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
