//! A log in memory with a group whose partitions move, and a registry.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use headwater_contracts::Contracts;
use headwater_domain::partition_of;
use headwater_event_log::{
    EventLog, EventLogError, GroupMember, LogRecord, MemberEvent, NewRecord, PartitionReader, Position, ProtoSchema,
    Registered, RegisteredSchema, RegistryError, SchemaRegistry, TopicPartition, TopicSpec, Watermarks,
};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use crate::database::Database;
use crate::world::World;

/// Partitions of every topic.
pub(crate) const PARTITIONS: i32 = 3;

/// The brokers.
pub(crate) struct Brokers {
    world: Arc<World>,
    /// What hints are held against.
    database: Arc<Database>,
    state: Mutex<State>,
    schemas: Vec<RegisteredSchema>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<TopicPartition, Vec<LogRecord>>,
    topics: Vec<String>,
    members: BTreeMap<u64, Membership>,
    owners: BTreeMap<TopicPartition, u64>,
}

#[derive(Default)]
struct Membership {
    /// What it will be told, and when.
    mail: VecDeque<(i64, MemberEvent)>,
    leases: BTreeMap<TopicPartition, Arc<AtomicBool>>,
}

/// The log as one process sees it.
pub(crate) struct SimLog {
    pub(crate) brokers: Arc<Brokers>,
    pub(crate) process: u64,
}

struct Member {
    brokers: Arc<Brokers>,
    process: u64,
}

struct Reader {
    brokers: Arc<Brokers>,
    process: u64,
    place: TopicPartition,
    next: i64,
    revoked: Arc<AtomicBool>,
}

impl Brokers {
    pub(crate) fn new(world: Arc<World>, database: Arc<Database>, contracts: &Contracts) -> Self {
        let schemas = (1..)
            .zip(contracts.streams())
            .map(|(id, stream)| RegisteredSchema {
                id,
                schema: ProtoSchema { text: stream.text.text.clone(), references: Vec::new() },
            })
            .collect();
        let mut state = State::default();
        for stream in contracts.streams() {
            state.topics.push(stream.schema.name.clone());
            for partition in 0..PARTITIONS {
                let place = TopicPartition { topic: stream.schema.name.clone(), partition };
                state.records.insert(place, Vec::new());
            }
        }
        Self { world, database, state: Mutex::new(state), schemas }
    }

    /// Appends a record, and says where it is.
    pub(crate) fn put(&self, topic: &str, key: &[u8], value: Option<Vec<u8>>) -> (TopicPartition, LogRecord) {
        let place = TopicPartition { topic: topic.to_owned(), partition: partition_of(key, PARTITIONS) };
        let mut state = self.state.lock();
        let records = state.records.entry(place.clone()).or_default();
        let record = LogRecord {
            offset: records.len() as i64,
            appended_ms: self.world.now_ms(),
            key: Some(Bytes::copy_from_slice(key)),
            value: value.map(Bytes::from),
        };
        records.push(record.clone());
        drop(state);
        self.world.bump();
        (place, record)
    }

    pub(crate) fn high(&self, place: &TopicPartition) -> i64 {
        self.state.lock().records.get(place).map_or(0, |records| records.len() as i64)
    }

    /// Every partition of every stream.
    pub(crate) fn places(&self) -> Vec<TopicPartition> {
        let state = self.state.lock();
        let of = |topic: &String| {
            (0..PARTITIONS).map(|partition| TopicPartition { topic: topic.clone(), partition }).collect()
        };
        state.topics.iter().flat_map(|topic| -> Vec<TopicPartition> { of(topic) }).collect()
    }

    /// Deals the partitions anew among the members that are awake. Who loses one is told later, or much later.
    pub(crate) fn rebalance(&self, deal_anew: bool) {
        let places = self.places();
        let mut state = self.state.lock();
        let state = &mut *state;
        let all: Vec<u64> = state.members.keys().copied().collect();
        let awake: Vec<u64> = all.iter().copied().filter(|id| !self.world.is_paused(*id)).collect();
        let candidates = if awake.is_empty() { all } else { awake };
        let mut lost: BTreeMap<u64, Vec<TopicPartition>> = BTreeMap::new();
        let mut won: BTreeMap<u64, Vec<TopicPartition>> = BTreeMap::new();
        for place in places {
            let before = state.owners.get(&place).copied();
            let keeps = !deal_anew && before.is_some_and(|owner| candidates.contains(&owner));
            if keeps || candidates.is_empty() {
                continue;
            }
            let owner = candidates[self.world.below(candidates.len() as u64) as usize];
            if before != Some(owner) {
                state.owners.insert(place.clone(), owner);
                won.entry(owner).or_default().push(place.clone());
                if let Some(before) = before {
                    lost.entry(before).or_default().push(place);
                }
            }
        }
        if !lost.is_empty() {
            self.world.hit("rebalance", "partitions moved");
        }
        for (id, places) in lost {
            self.tell(state, id, self.world.below(2000), MemberEvent::Revoked(places));
        }
        for (id, places) in won {
            self.tell(state, id, self.world.below(300), MemberEvent::Assigned(places));
        }
        self.world.bump();
    }

    fn tell(&self, state: &mut State, id: u64, delay_ms: u64, event: MemberEvent) {
        let Some(member) = state.members.get_mut(&id) else { return };
        let at_ms = self.world.now_ms() + delay_ms as i64;
        let at_ms = member.mail.back().map_or(at_ms, |(last_ms, _)| at_ms.max(*last_ms));
        member.mail.push_back((at_ms, event));
    }

    /// Takes a member out, as the group does when its session ends.
    pub(crate) fn remove(&self, process: u64) {
        let mut state = self.state.lock();
        if let Some(member) = state.members.remove(&process) {
            for lease in member.leases.values() {
                lease.store(true, Ordering::Relaxed);
            }
        }
        state.owners.retain(|_, owner| *owner != process);
        drop(state);
        self.rebalance(false);
    }
}

fn away(detail: String) -> EventLogError {
    EventLogError::Unavailable(detail)
}

#[async_trait]
impl EventLog for SimLog {
    async fn ensure_topic(&self, _spec: &TopicSpec) -> Result<i32, EventLogError> {
        self.brokers.world.call(self.process, "ensure_topic", away, async { Ok(PARTITIONS) }).await
    }

    async fn partitions(&self, _topic: &str) -> Result<i32, EventLogError> {
        Ok(PARTITIONS)
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Vec<Result<Position, EventLogError>> {
        let act = async {
            let put = |record: &NewRecord| {
                let (place, at) = self.brokers.put(topic, &record.key, Some(record.value.to_vec()));
                Ok(Position { partition: place.partition, offset: at.offset })
            };
            Ok(records.iter().map(put).collect())
        };
        let result: Result<Vec<_>, EventLogError> = self.brokers.world.call(self.process, "append", away, act).await;
        result.unwrap_or_else(|error| vec![Err(error); records.len()])
    }

    async fn watermarks(&self, topic: &str, partition: i32) -> Result<Watermarks, EventLogError> {
        let place = TopicPartition { topic: topic.to_owned(), partition };
        let act = async { Ok(Watermarks { low: 0, high: self.brokers.high(&place) }) };
        self.brokers.world.call(self.process, "watermarks", away, act).await
    }

    async fn join(&self, _group: &str, _topics: &[String]) -> Result<Box<dyn GroupMember>, EventLogError> {
        let act = async {
            self.brokers.remove(self.process);
            self.brokers.state.lock().members.insert(self.process, Membership::default());
            let deal_anew = self.brokers.world.chance(700);
            self.brokers.rebalance(deal_anew);
            Ok(())
        };
        self.brokers.world.call(self.process, "join", away, act).await?;
        Ok(Box::new(Member { brokers: Arc::clone(&self.brokers), process: self.process }))
    }

    async fn check(&self) -> Result<(), EventLogError> {
        Ok(())
    }

    async fn flush(&self, _timeout: Duration) {}
}

#[async_trait]
impl GroupMember for Member {
    async fn next_event(&mut self) -> Result<MemberEvent, EventLogError> {
        loop {
            self.brokers.world.alive(self.process).await;
            let change = self.brokers.world.change();
            let now_ms = self.brokers.world.now_ms();
            let wait_ms = {
                let mut state = self.brokers.state.lock();
                let Some(member) = state.members.get_mut(&self.process) else {
                    return Err(EventLogError::Refused("the session ended".into()));
                };
                match member.mail.front() {
                    Some((at_ms, _)) if *at_ms <= now_ms => {
                        let Some((_, event)) = member.mail.pop_front() else { continue };
                        if let MemberEvent::Revoked(places) = &event {
                            for lease in places.iter().filter_map(|place| member.leases.remove(place)) {
                                lease.store(true, Ordering::Relaxed);
                            }
                        }
                        drop(state);
                        self.brokers.world.bump();
                        return Ok(event);
                    }
                    Some((at_ms, _)) => Some((at_ms - now_ms) as u64),
                    None => None,
                }
            };
            match wait_ms {
                Some(wait_ms) => sleep(Duration::from_millis(wait_ms)).await,
                None => change.await,
            }
        }
    }

    async fn start(&mut self, at: Vec<(TopicPartition, i64)>) -> Result<Vec<Box<dyn PartitionReader>>, EventLogError> {
        self.brokers.world.alive(self.process).await;
        let mut state = self.brokers.state.lock();
        let Some(member) = state.members.get_mut(&self.process) else { return Err(EventLogError::Revoked) };
        let revoked = |(_, event): &(i64, MemberEvent)| match event {
            MemberEvent::Revoked(places) => at.iter().any(|(place, _)| places.contains(place)),
            MemberEvent::Assigned(_) => false,
        };
        if member.mail.iter().any(revoked) {
            self.brokers.world.hit("start", "assignment changed");
            return Err(EventLogError::Revoked);
        }
        let mut readers: Vec<Box<dyn PartitionReader>> = Vec::new();
        for (place, next) in at {
            let revoked = Arc::new(AtomicBool::new(false));
            if let Some(former) = member.leases.insert(place.clone(), Arc::clone(&revoked)) {
                former.store(true, Ordering::Relaxed);
            }
            let brokers = Arc::clone(&self.brokers);
            readers.push(Box::new(Reader { brokers, process: self.process, place, next, revoked }));
        }
        Ok(readers)
    }

    /// A hint is never ahead of the history.
    fn hint(&self, partition: &TopicPartition, next: i64) {
        let world = &self.brokers.world;
        let stored = self.brokers.database.next(&(partition.topic.clone(), partition.partition));
        if !world.is_dead(self.process) {
            world.hit("log", "hint");
            if stored.is_none_or(|stored| next > stored) {
                world.violated(format!("{partition:?}: the log was given the hint {next}, and {stored:?} is stored"));
            }
        }
    }

    async fn leave(self: Box<Self>) {
        self.brokers.world.alive(self.process).await;
        self.brokers.world.hit("group", "left");
        self.brokers.remove(self.process);
    }
}

#[async_trait]
impl PartitionReader for Reader {
    async fn read(
        &mut self,
        records_max: usize,
        _bytes_max: usize,
        linger: Duration,
    ) -> Result<Vec<LogRecord>, EventLogError> {
        let world = &self.brokers.world;
        loop {
            world.alive(self.process).await;
            let change = world.change();
            if self.revoked.load(Ordering::Relaxed) {
                return Err(EventLogError::Revoked);
            }
            if self.brokers.high(&self.place) > self.next {
                break;
            }
            change.await;
        }
        let _ = timeout(linger, std::future::pending::<()>()).await;
        world.alive(self.process).await;
        let records = {
            let state = self.brokers.state.lock();
            let held = &state.records[&self.place][self.next as usize..];
            let count = (1 + world.below(held.len() as u64) as usize).min(records_max);
            held[..count].to_vec()
        };
        self.next += records.len() as i64;
        Ok(records)
    }
}

#[async_trait]
impl SchemaRegistry for SimLog {
    async fn register(&self, _subject: &str, _schema: &ProtoSchema) -> Result<Registered, RegistryError> {
        Err(RegistryError::Refused("read only".into()))
    }

    async fn schema(&self, id: u32) -> Result<Option<RegisteredSchema>, RegistryError> {
        let act = async { Ok(self.brokers.schemas.iter().find(|schema| schema.id == id).cloned()) };
        self.brokers.world.call(self.process, "schema", RegistryError::Unavailable, act).await
    }

    async fn latest(&self, _subject: &str) -> Result<Option<RegisteredSchema>, RegistryError> {
        Err(RegistryError::Refused("not asked for".into()))
    }

    async fn check(&self) -> Result<(), RegistryError> {
        Ok(())
    }
}
