//! The brokers: logs that end, grow and are made anew, and a group whose partitions move.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use headwater_contracts::Contracts;
use headwater_domain::partition_of;
use headwater_event_log::{LogRecord, MemberEvent, ProtoSchema, RegisteredSchema, TopicPartition, Watermarks};
use parking_lot::Mutex;

use crate::database::{Database, Segment};
use crate::world::World;

/// Partitions that every topic begins with.
pub(crate) const PARTITIONS: i32 = 3;
/// Partitions that a topic has at most.
const PARTITIONS_MAX: i32 = 5;

/// How long it takes at least to make a topic anew.
const MADE_ANEW_MS: i64 = 21;

/// The brokers.
pub(crate) struct Brokers {
    pub(crate) world: Arc<World>,
    /// What hints are held against.
    pub(crate) database: Arc<Database>,
    pub(crate) state: Mutex<State>,
    pub(crate) schemas: Vec<RegisteredSchema>,
}

#[derive(Default)]
pub(crate) struct State {
    logs: BTreeMap<TopicPartition, Log>,
    /// Every stream's topic, and its partitions.
    topics: BTreeMap<String, i32>,
    pub(crate) members: BTreeMap<u64, Membership>,
    owners: BTreeMap<TopicPartition, u64>,
}

/// One partition.
#[derive(Clone, Default)]
pub(crate) struct Log {
    /// How often its topic was made anew.
    pub(crate) made: u32,
    /// Whether who reads it is told of that, instead of reading on.
    pub(crate) tells: bool,
    /// When it can take its first record.
    opens_ms: i64,
    /// Offset of the oldest record that is kept.
    pub(crate) low: i64,
    /// From offset 0 on, removed ones too.
    pub(crate) records: Vec<LogRecord>,
}

#[derive(Default)]
pub(crate) struct Membership {
    /// What it will be told, and when.
    pub(crate) mail: VecDeque<(i64, MemberEvent)>,
    pub(crate) leases: BTreeMap<TopicPartition, Arc<AtomicBool>>,
}

/// Where a record is: its place, which of the topics of that name has it, and its offset there.
pub(crate) type Position = (TopicPartition, u32, i64);

impl Log {
    pub(crate) fn marks(&self) -> Watermarks {
        Watermarks { low: self.low, high: self.records.len() as i64 }
    }
}

impl State {
    /// Which of the topics of that name has the partition now.
    pub(crate) fn made(&self, place: &TopicPartition) -> u32 {
        self.logs.get(place).map_or(0, |log| log.made)
    }
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
        let topics = contracts.streams().map(|stream| (stream.schema.name.clone(), PARTITIONS)).collect();
        Self { world, database, state: Mutex::new(State { topics, ..State::default() }), schemas }
    }

    /// Appends a record, and says where it is.
    pub(crate) fn put(&self, topic: &str, key: &[u8], value: Option<Vec<u8>>) -> Position {
        let mut state = self.state.lock();
        let partitions = state.topics.get(topic).copied().unwrap_or(PARTITIONS);
        let place = TopicPartition { topic: topic.to_owned(), partition: partition_of(key, partitions) };
        let log = state.logs.entry(place.clone()).or_default();
        let offset = log.records.len() as i64;
        log.records.push(LogRecord {
            offset,
            appended_ms: self.world.now_ms().max(log.opens_ms),
            key: Some(Bytes::copy_from_slice(key)),
            value: value.map(Bytes::from),
        });
        let made = log.made;
        drop(state);
        self.world.bump();
        (place, made, offset)
    }

    /// The log as it is now.
    pub(crate) fn log<T>(&self, place: &TopicPartition, look: impl FnOnce(&Log) -> T) -> T {
        match self.state.lock().logs.get(place) {
            Some(log) => look(log),
            None => look(&Log::default()),
        }
    }

    pub(crate) fn partitions(&self, topic: &str) -> i32 {
        self.state.lock().topics.get(topic).copied().unwrap_or(PARTITIONS)
    }

    /// Every partition of every stream.
    pub(crate) fn places(&self) -> Vec<TopicPartition> {
        let state = self.state.lock();
        let of = |(topic, partitions): (&String, &i32)| -> Vec<TopicPartition> {
            (0..*partitions).map(|partition| TopicPartition { topic: topic.clone(), partition }).collect()
        };
        state.topics.iter().flat_map(of).collect()
    }

    fn any_place(&self) -> TopicPartition {
        let mut places = self.places();
        places.swap_remove(self.world.below(places.len() as u64) as usize)
    }

    /// Gives a topic more partitions; the group hears of them.
    pub(crate) fn raise(&self) {
        let TopicPartition { topic, .. } = self.any_place();
        let mut state = self.state.lock();
        let partitions = state.topics.entry(topic).or_default();
        if *partitions < PARTITIONS_MAX {
            *partitions += 1;
            drop(state);
            self.world.hit("log", "partition added");
            self.rebalance(false);
        }
    }

    /// Makes a topic anew: its records are gone, and offsets begin at 0. Of every partition some are stored, and some since
    /// it was resumed: until then the history has no record of it to tell another topic by.
    /// True where it did.
    pub(crate) fn make_anew(&self) -> bool {
        let TopicPartition { topic, .. } = self.any_place();
        let places: Vec<TopicPartition> = self.places().into_iter().filter(|place| place.topic == topic).collect();
        let begun = |place: &&TopicPartition| self.database.segment(place).is_some_and(|of| of.next > of.first);
        if places.iter().filter(begun).count() < places.len() {
            return false;
        }
        let tells = self.world.chance(500);
        self.world.hit("log", if tells { "topic made anew" } else { "topic made anew while it is read" });
        let opens_ms = self.world.now_ms() + MADE_ANEW_MS;
        let mut state = self.state.lock();
        for place in places {
            let log = state.logs.entry(place).or_default();
            *log = Log { made: log.made + 1, tells, opens_ms, ..Log::default() };
        }
        drop(state);
        self.world.bump();
        true
    }

    /// Removes the oldest records of a partition: only such as are stored, or others too.
    /// True where it did.
    pub(crate) fn retain(&self, others: bool) -> bool {
        let place = self.any_place();
        let Some(Segment { made, shift, next, .. }) = self.database.segment(&place) else { return false };
        let mut state = self.state.lock();
        let log = state.logs.entry(place).or_default();
        let (Watermarks { low, high }, next) = (log.marks(), next - shift);
        if log.made != made || low > next || (others && next == high) {
            return false;
        }
        let what = if others {
            log.low = next + 1 + self.world.below((high - next) as u64) as i64;
            "records removed before they were read"
        } else {
            log.low = low + self.world.below((next - low) as u64 + 1) as i64;
            "stored records removed"
        };
        drop(state);
        self.world.hit("log", what);
        self.world.bump();
        true
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
