use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::state::State;
use super::{Args, Begin};
use crate::Failed;

/// What the offsets that a state's member commits are marked with, before the state's id.
const MARK: &str = "state:";
/// How long going to another offset may take.
const SEEK_MAX: Duration = Duration::from_secs(5);

/// A member of the group.
pub(super) type Member = BaseConsumer<Group>;

/// Which partitions a member has, and where it is in each. With a state the state decides; without one, Kafka does.
pub(super) struct Group {
    broker: String,
    topic: String,
    latest: bool,
    timeout: Duration,
    state: Option<Arc<State>>,
    has: Mutex<Has>,
}

#[derive(Default)]
struct Has {
    /// The next offset of each partition; none where Kafka knows and nothing was read yet.
    positions: HashMap<i32, Option<i64>>,
    uncommitted: BTreeMap<i32, i64>,
    assigned_at: Option<Instant>,
    failed: Option<Failed>,
}

impl Group {
    /// Joins.
    pub(super) fn join(args: &Args, state: Option<Arc<State>>) -> KafkaResult<Member> {
        let reset = match (&state, args.from) {
            // An offset outside the log is an error then: records would be skipped or counted twice.
            (Some(_), _) => "error",
            (None, Begin::Earliest) => "earliest",
            (None, Begin::Latest) => "latest",
        };
        let group = Self {
            broker: args.outside.broker.clone(),
            topic: args.outside.topic.clone(),
            latest: args.from == Begin::Latest,
            timeout: args.outside.timeout(),
            state,
            has: Mutex::default(),
        };
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &args.outside.broker)
            .set("group.id", &args.group)
            .set("allow.auto.create.topics", "false")
            .set("auto.offset.reset", reset)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Members in other languages know this one too.
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "2000")
            // A full queue is looked at again soon, not after a second.
            .set("fetch.queue.backoff.ms", "10");
        for (name, value) in args.outside.properties() {
            config.set(name, value);
        }
        let consumer = Member::from_config_and_context(&config, group)?;
        consumer.subscribe(&[&args.outside.topic])?;
        Ok(consumer)
    }

    pub(super) fn positions(&self) -> HashMap<i32, Option<i64>> {
        self.has.lock().positions.clone()
    }

    /// When partitions were assigned first.
    pub(super) fn assigned_at(&self) -> Option<Instant> {
        self.has.lock().assigned_at
    }

    /// What ended the member within a callback.
    pub(super) fn take_failure(&self) -> Result<(), Failed> {
        self.has.lock().failed.take().map_or(Ok(()), Err)
    }

    /// Records before these offsets are counted.
    pub(super) fn moved(&self, moves: &BTreeMap<i32, (i64, i64)>) {
        let mut has = self.has.lock();
        for (&partition, &(_, next)) in moves {
            has.positions.insert(partition, Some(next));
            has.uncommitted.insert(partition, next);
        }
    }

    /// Goes to where the state is: another member counted there.
    pub(super) fn begin_again(&self, consumer: &Member, moves: &BTreeMap<i32, (i64, i64)>) -> Result<(), Failed> {
        let Some(state) = &self.state else { return Ok(()) };
        for &partition in moves.keys() {
            let Some(next) = state.next(partition)? else { continue };
            // Given away meanwhile: whoever has it begins at the state's offset.
            let there = consumer.seek(&self.topic, partition, Offset::Offset(next), SEEK_MAX).is_ok();
            let mut has = self.has.lock();
            if there && has.positions.contains_key(&partition) {
                has.positions.insert(partition, Some(next));
            } else {
                has.positions.remove(&partition);
            }
        }
        Ok(())
    }

    /// Tells Kafka what is counted. With a state this is a hint: where it fails nothing is lost.
    pub(super) fn commit(&self, consumer: &Member, mode: CommitMode) -> Result<(), Failed> {
        let uncommitted = std::mem::take(&mut self.has.lock().uncommitted);
        if uncommitted.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (partition, next) in uncommitted {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(next)).map_err(|e| self.failed(&e))?;
        }
        if let Some(state) = &self.state {
            // Python's client sends the zero byte that ends a string, and reads on behind the text where there is none.
            let mark = format!("{MARK}{}\0", state.id);
            for mut element in list.elements() {
                element.set_metadata(&mark);
            }
        }
        match consumer.commit(&list, mode) {
            Err(error) if self.state.is_none() && !consumer.assignment_lost() => Err(self.failed(&error)),
            _ => Ok(()),
        }
    }

    fn assigned(&self, consumer: &Member, list: &mut TopicPartitionList) -> Result<(), Failed> {
        let partitions: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
        let mut positions: HashMap<i32, Option<i64>> = partitions.iter().map(|&partition| (partition, None)).collect();
        if let Some(state) = self.state.as_ref().filter(|_| !partitions.is_empty()) {
            let committed = consumer.committed_offsets(list.clone(), self.timeout).map_err(|e| self.failed(&e))?;
            for element in committed.elements() {
                let mark = element.metadata().trim_end_matches('\0');
                if mark.starts_with(MARK) && mark[MARK.len()..] != state.id {
                    let (topic, partition, id) = (&self.topic, element.partition(), &state.id);
                    let error = format!(
                        "the group has counted {topic}[{partition}] with another state ({mark}), this file's is \
                         {MARK}{id}: sums would be doubled or lost; use that file, or another --group"
                    );
                    return Err(Failed::State { path: state.path.clone(), error });
                }
            }
            for &partition in &partitions {
                let next = match state.next(partition)? {
                    Some(next) => next,
                    None => {
                        let ends = consumer.fetch_watermarks(&self.topic, partition, self.timeout);
                        let (low, high) = ends.map_err(|error| self.failed(&error))?;
                        state.begin(partition, if self.latest { high } else { low })?
                    }
                };
                let set = list.set_partition_offset(&self.topic, partition, Offset::Offset(next));
                set.map_err(|error| self.failed(&error))?;
                positions.insert(partition, Some(next));
            }
        }
        consumer.assign(list).map_err(|error| self.failed(&error))?;
        let mut has = self.has.lock();
        has.positions = positions;
        has.assigned_at.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn failed(&self, error: &KafkaError) -> Failed {
        Failed::Kafka { broker: self.broker.clone(), error: format!("topic {}: {error}", self.topic) }
    }
}

impl ClientContext for Group {}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &Member, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let answered = if kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assigned(consumer, list)
        } else {
            let committed = self.commit(consumer, CommitMode::Sync);
            self.has.lock().positions.clear();
            consumer.unassign().map_err(|error| self.failed(&error)).and(committed)
        };
        if let Err(failed) = answered {
            self.has.lock().failed.get_or_insert(failed);
            // The group waits for an answer.
            let _ = consumer.unassign();
        }
    }
}
