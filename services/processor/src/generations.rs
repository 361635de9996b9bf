//! Which generations of live statistics a process fills, and the way of a new one: built beside the current one, put in
//! its place once it has everything, and what was replaced is removed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use headwater_contracts::StreamContract;
use headwater_history::{GenerationRecord, GenerationState, History, HistoryError, PartitionProgress};
use headwater_live::{GenerationKey, LiveError};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::assignment::Shared;

/// How often each stream's generations are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often while one is being built.
const EVERY_BUILDING: Duration = Duration::from_millis(200);
/// How long a generation has to be seen as replaced or cancelled before it is removed: those who read or fill it have
/// noticed by then.
const REMOVED_AFTER: Duration = Duration::from_secs(30);
/// How long after that its row is forgotten. Until then it is removed again and again, because a process that slept may
/// have written to it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// How often it is removed again.
const REMOVED_EVERY: Duration = Duration::from_secs(60);

/// Stream to the generations that are to be filled: the current one first.
pub(crate) type Filled = HashMap<String, Vec<GenerationKey>>;

/// What is filled now, for all who fill it. Whoever waits for a change is told in the order in which they wait, which a
/// watch channel does not do: a simulated run can be repeated.
pub(crate) struct FilledNow {
    filled: Mutex<Filled>,
    changed: Notify,
}

impl FilledNow {
    /// The generations of a stream that are to be filled.
    pub(crate) fn of(&self, stream: &str) -> Vec<GenerationKey> {
        self.filled.lock().get(stream).cloned().unwrap_or_default()
    }

    /// Ends with the next change after this call.
    pub(crate) fn change(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Whether that changes anything.
    fn set(&self, stream: &str, generations: &[GenerationKey]) -> bool {
        let mut filled = self.filled.lock();
        let changes = filled.get(stream).is_none_or(|before| before != generations);
        if changes {
            filled.insert(stream.to_owned(), generations.to_vec());
            self.changed.notify_waiters();
        }
        changes
    }
}

/// Looks after the generations of every stream.
pub(crate) struct Generations {
    shared: Arc<Shared>,
    filled: Arc<FilledNow>,
    ended: HashMap<GenerationKey, Ended>,
    /// Streams whose current generation is of another contract.
    foreign: HashSet<String>,
}

/// A generation that nobody reads.
struct Ended {
    seen: Instant,
    removed: Option<Instant>,
}

/// Why a look was cut short.
enum Away {
    History(HistoryError),
    Live(LiveError),
}

/// The key of a generation of a stream.
pub(crate) fn key(stream: &str, record: &GenerationRecord) -> GenerationKey {
    let generation = record.generation;
    GenerationKey { stream: stream.to_owned(), generation: generation.number, shards: generation.shards }
}

/// Whether the history still wants the generation filled.
pub(crate) async fn is_wanted(
    history: &dyn History,
    stream: &StreamContract,
    generation: &GenerationKey,
) -> Result<bool, HistoryError> {
    let all = history.generations(&stream.schema).await?;
    Ok(all.iter().any(|record| {
        record.generation.number == generation.generation
            && matches!(record.state, GenerationState::Current | GenerationState::Building)
    }))
}

impl Generations {
    /// Begins with the current generation of each stream.
    pub(crate) fn new(shared: Arc<Shared>, current: Filled) -> (Self, Arc<FilledNow>) {
        let filled = Arc::new(FilledNow { filled: Mutex::new(current), changed: Notify::new() });
        (Self { shared, filled: Arc::clone(&filled), ended: HashMap::new(), foreign: HashSet::new() }, filled)
    }

    /// Looks again and again. Several processes doing so do no harm.
    pub(crate) async fn run(mut self) {
        loop {
            let building = self.filled.filled.lock().values().any(|filled| filled.len() > 1);
            tokio::time::sleep(if building { EVERY_BUILDING } else { EVERY }).await;
            let shared = Arc::clone(&self.shared);
            for stream in shared.contracts.streams() {
                match self.look(stream).await {
                    Ok(()) => {}
                    // Told by those who fill; the next look finds out.
                    Err(Away::History(error)) => debug!(stream = stream.schema.name, %error, "generations"),
                    Err(Away::Live(error)) => debug!(stream = stream.schema.name, %error, "generations"),
                }
            }
        }
    }

    async fn look(&mut self, stream: &StreamContract) -> Result<(), Away> {
        let (name, fingerprint) = (&stream.schema.name, stream.stats_fingerprint());
        let all = self.shared.outside.history.generations(&stream.schema).await.map_err(Away::History)?;
        let in_state = |state: GenerationState| {
            all.iter().find(|record| record.state == state && record.fingerprint == fingerprint)
        };
        let (current, building) = (in_state(GenerationState::Current), in_state(GenerationState::Building));
        let keys: Vec<GenerationKey> = current.into_iter().chain(building).map(|record| key(name, record)).collect();
        if self.filled.set(name, &keys) {
            info!(stream = name, generations = ?keys.iter().map(|key| key.generation).collect::<Vec<_>>(), "filling");
        }
        let foreign = all.iter().find(|record| record.state == GenerationState::Current && current.is_none());
        self.tell_foreign(name, foreign);
        for record in &all {
            if matches!(record.state, GenerationState::Replaced | GenerationState::Cancelled) {
                self.clear_away(stream, record).await?;
            }
        }
        match building {
            Some(building) => self.switch_when_built(stream, &key(name, building)).await,
            None => Ok(()),
        }
    }

    /// Tells where a process with other statistics took the lead, as in the middle of a deployment.
    fn tell_foreign(&mut self, stream: &str, foreign: Option<&GenerationRecord>) {
        let was_told = match foreign {
            Some(_) => !self.foreign.insert(stream.to_owned()),
            None => !self.foreign.remove(stream),
        };
        if was_told {
            return;
        }
        let reason = foreign.map(|record| {
            let number = record.generation.number;
            format!("generation {number} is of other statistics than this process's contract: it does not fill it")
        });
        if let Some(reason) = &reason {
            warn!(stream, reason, "statistics of another contract");
        }
        (self.shared.conditions)(&format!("statistics of {stream}"), reason);
    }

    /// A generation takes the current one's place when it has everything that the history had when this look began.
    async fn switch_when_built(&self, stream: &StreamContract, building: &GenerationKey) -> Result<(), Away> {
        let history = &self.shared.outside.history;
        let wanted = history.progress(&stream.schema).await.map_err(Away::History)?;
        // What arrives meanwhile is not waited for: under load something always does.
        tokio::time::sleep(EVERY_BUILDING).await;
        let applied = self.shared.outside.live.applied(building).await.map_err(Away::Live)?;
        let has = |place: &PartitionProgress| applied.get(&place.partition).is_some_and(|&offset| offset >= place.next);
        if !wanted.iter().all(has) {
            return Ok(());
        }
        if history.switch_generation(&stream.schema, building.generation).await.map_err(Away::History)? {
            info!(stream = stream.schema.name, generation = building.generation, "a new generation is current");
        }
        Ok(())
    }

    async fn clear_away(&mut self, stream: &StreamContract, record: &GenerationRecord) -> Result<(), Away> {
        let key = key(&stream.schema.name, record);
        let now = Instant::now();
        let ended = self.ended.entry(key.clone()).or_insert(Ended { seen: now, removed: None });
        let (age, removed_ago) = (now - ended.seen, ended.removed.map(|at| now - at));
        if age >= REMOVED_AFTER && removed_ago.is_none_or(|ago| ago >= REMOVED_EVERY) {
            ended.removed = Some(now);
            self.shared.outside.live.remove(&key).await.map_err(Away::Live)?;
            if removed_ago.is_none() {
                info!(stream = key.stream, generation = key.generation, "removed a generation that nobody reads");
            }
        }
        if age >= REMOVED_AFTER + FORGOTTEN_AFTER {
            let history = &self.shared.outside.history;
            history.forget_generation(&stream.schema, key.generation).await.map_err(Away::History)?;
            self.ended.remove(&key);
        }
        Ok(())
    }
}
