//! A log that refuses, loses, keeps without saying so and is slow, by a seed; and a registry that only counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use headwater_domain::partition_of;
use headwater_event_log::{
    EventLog, EventLogError, GroupMember, NewRecord, Position, ProtoSchema, Registered, RegisteredSchema,
    RegistryError, SchemaRegistry, TopicSpec, Watermarks,
};
use parking_lot::Mutex;
use tokio::time::sleep;

const PARTITIONS: i32 = 3;

/// How often each fault was hit, by name.
pub(crate) type Hits = BTreeMap<&'static str, u64>;

/// The log.
pub(crate) struct FaultyLog {
    rng: Mutex<fastrand::Rng>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<i32, Vec<Bytes>>,
    acknowledged: BTreeSet<(i32, i64)>,
    hits: Hits,
}

/// What becomes of a record.
#[derive(Clone, Copy)]
enum Fate {
    Acknowledged,
    /// It is kept, and nobody is told.
    AnswerLost,
    Lost,
    QueueFull,
    TooLarge,
}

impl FaultyLog {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Mutex::new(fastrand::Rng::with_seed(seed)), state: Mutex::default() }
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.rng.lock().u64(0..bound)
    }

    pub(crate) fn hit(&self, fault: &'static str) {
        *self.state.lock().hits.entry(fault).or_default() += 1;
    }

    pub(crate) fn hits(&self) -> Hits {
        self.state.lock().hits.clone()
    }

    /// The record at that place, where the log has answered for it.
    pub(crate) fn acknowledged(&self, place: (i32, i64)) -> Option<Bytes> {
        let state = self.state.lock();
        let record = state.partitions.get(&place.0)?.get(usize::try_from(place.1).ok()?)?;
        state.acknowledged.contains(&place).then(|| record.clone())
    }

    fn fate(&self, is_outage: bool) -> Fate {
        let fate = match self.below(100) {
            0..=49 if is_outage => Fate::Lost,
            _ if is_outage => Fate::AnswerLost,
            0..=2 => Fate::AnswerLost,
            3..=5 => Fate::Lost,
            6 => Fate::QueueFull,
            7 => Fate::TooLarge,
            _ => Fate::Acknowledged,
        };
        match fate {
            Fate::Acknowledged => {}
            Fate::AnswerLost => self.hit("kept, answer lost"),
            Fate::Lost => self.hit("lost"),
            Fate::QueueFull => self.hit("queue full"),
            Fate::TooLarge => self.hit("too large"),
        }
        fate
    }

    fn keep(&self, record: &NewRecord) -> Position {
        let partition = partition_of(&record.key, PARTITIONS);
        let mut state = self.state.lock();
        let records = state.partitions.entry(partition).or_default();
        records.push(record.value.clone());
        Position { partition, offset: records.len() as i64 - 1 }
    }
}

#[async_trait]
impl EventLog for FaultyLog {
    async fn ensure_topic(&self, _spec: &TopicSpec) -> Result<i32, EventLogError> {
        Ok(PARTITIONS)
    }

    async fn partitions(&self, _topic: &str) -> Result<i32, EventLogError> {
        Ok(PARTITIONS)
    }

    async fn append(&self, _topic: &str, records: Vec<NewRecord>) -> Vec<Result<Position, EventLogError>> {
        let is_outage = self.below(10) == 0;
        let mut results = Vec::with_capacity(records.len());
        for record in &records {
            sleep(Duration::from_millis(self.below(4))).await;
            results.push(match self.fate(is_outage) {
                Fate::Acknowledged => Ok(self.keep(record)),
                Fate::AnswerLost => {
                    self.keep(record);
                    Err(EventLogError::Unavailable("the answer is lost".into()))
                }
                Fate::Lost => Err(EventLogError::Unavailable("the record is lost".into())),
                Fate::QueueFull => Err(EventLogError::QueueFull),
                Fate::TooLarge => Err(EventLogError::RecordTooLarge { bytes: record.value.len() }),
            });
        }
        sleep(Duration::from_millis(self.below(20))).await;
        // Against its contract, and never to be taken for an acknowledgement.
        if self.below(50) == 0 {
            self.hit("result missing");
            results.pop();
        }
        let mut state = self.state.lock();
        state.acknowledged.extend(results.iter().flatten().map(|position| (position.partition, position.offset)));
        results
    }

    async fn watermarks(&self, topic: &str, _partition: i32) -> Result<Watermarks, EventLogError> {
        Err(EventLogError::UnknownTopic(topic.to_owned()))
    }

    async fn join(&self, _group: &str, _topics: &[String]) -> Result<Box<dyn GroupMember>, EventLogError> {
        Err(EventLogError::Refused("nobody reads".into()))
    }

    async fn check(&self) -> Result<(), EventLogError> {
        Ok(())
    }

    async fn flush(&self, _timeout: Duration) {}
}

#[async_trait]
impl SchemaRegistry for FaultyLog {
    async fn register(&self, _subject: &str, _schema: &ProtoSchema) -> Result<Registered, RegistryError> {
        Ok(Registered { id: 1, version: 1 })
    }

    async fn schema(&self, _id: u32) -> Result<Option<RegisteredSchema>, RegistryError> {
        Ok(None)
    }

    async fn latest(&self, _subject: &str) -> Result<Option<RegisteredSchema>, RegistryError> {
        Ok(None)
    }

    async fn check(&self) -> Result<(), RegistryError> {
        Ok(())
    }
}
