//! A member of a group, which is a librdkafka consumer per topic, each with a thread.
//!
//! The assignor is cooperative-sticky: a change of members moves only the partitions that have to move, and the others
//! are read on. librdkafka's balances the whole of a member's partitions and not each topic's: with two topics of equal
//! size and two members, each member ends up with all of one topic (tried). So each topic is a group of its own, named
//! `<group>.<topic>`, which also keeps a change in one topic from stopping the others.
//!
//! A rebalance is answered at once, within the thread that it arrives on: what is revoked is unassigned there and then,
//! and what is assigned is acknowledged as an empty addition, for until the answer librdkafka pauses all that the member
//! has, and the group waits. The partitions themselves are added when the member says at which offsets: once, and never
//! with a seek. Both happen under the assignment's lock, so that neither can overtake the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::errors::{code_of, log_line};
use super::producer::Producer;
use super::reader::{KafkaReader, Source};
use crate::assignment::{Announcements, Assignment};
use crate::{EventLogError, GroupMember, MemberEvent, PartitionReader, TopicPartition};

/// How long a consumer's thread sleeps when nothing happens; what it takes to notice that it should end.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often the offsets that are done are told to the brokers.
const HINT_INTERVAL: Duration = Duration::from_secs(1);
/// How long leaving may take before the rest of it goes on alone.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A consumer of one topic of the group.
pub(super) type TopicConsumer = BaseConsumer<MemberContext>;

/// A member of a group.
pub(super) struct KafkaMember {
    consumers: Vec<(String, Arc<TopicConsumer>)>,
    announcements: Announcements,
    shared: Arc<Shared>,
    producer: Arc<Producer>,
    ended: watch::Receiver<()>,
}

/// What the consumers' threads and the member have in common.
struct Shared {
    assignment: Mutex<Assignment<Arc<Source>>>,
    hints: Mutex<HashMap<TopicPartition, i64>>,
    stop: AtomicBool,
}

/// What librdkafka calls back.
pub(super) struct MemberContext {
    shared: Arc<Shared>,
    topic: String,
}

impl KafkaMember {
    /// Joins with a consumer per topic: the topic and the properties of its consumer.
    pub(super) fn join(topics: Vec<(String, ClientConfig)>, producer: Arc<Producer>) -> Result<Self, EventLogError> {
        let (assignment, announcements) = Assignment::new();
        let shared = Arc::new(Shared {
            assignment: Mutex::new(assignment),
            hints: Mutex::new(HashMap::new()),
            stop: AtomicBool::new(false),
        });
        let (running, ended) = watch::channel(());
        let mut member = Self { consumers: Vec::new(), announcements, shared, producer, ended };
        for (topic, config) in topics {
            let refused = |error: &dyn std::fmt::Display| EventLogError::Refused(error.to_string());
            let context = MemberContext { shared: member.shared.clone(), topic: topic.clone() };
            let consumer = BaseConsumer::from_config_and_context(&config, context).map_err(|e| refused(&e))?;
            let consumer: Arc<TopicConsumer> = Arc::new(consumer);
            consumer.subscribe(&[&topic]).map_err(|e| refused(&e))?;
            let thread = ConsumerThread {
                consumer: consumer.clone(),
                shared: member.shared.clone(),
                topic: topic.clone(),
                _running: running.clone(),
            };
            member.consumers.push((topic, consumer));
            let name = "kafka-consumer".to_owned();
            thread::Builder::new().name(name).spawn(move || thread.run()).map_err(|e| refused(&e))?;
        }
        Ok(member)
    }

    /// Tells the threads to leave. The last holder of a consumer waits for its end, and that must be its thread.
    fn stop(&mut self) {
        for (_, source) in self.shared.assignment.lock().end() {
            source.end();
        }
        self.consumers.clear();
        self.shared.stop.store(true, Ordering::Release);
    }
}

#[async_trait]
impl GroupMember for KafkaMember {
    async fn next_event(&mut self) -> Result<MemberEvent, EventLogError> {
        self.announcements.next().await
    }

    async fn start(&mut self, at: Vec<(TopicPartition, i64)>) -> Result<Vec<Box<dyn PartitionReader>>, EventLogError> {
        let mut assignment = self.shared.assignment.lock();
        let seen = self.announcements.seen;
        if !assignment.may_start(seen, at.iter().map(|(partition, _)| partition)) {
            return Err(EventLogError::Revoked);
        }
        let mut readers: Vec<Box<dyn PartitionReader>> = Vec::with_capacity(at.len());
        let mut sources = Vec::with_capacity(at.len());
        for (topic, consumer) in &self.consumers {
            let mut list = TopicPartitionList::new();
            for (partition, offset) in at.iter().filter(|(partition, _)| partition.topic == *topic) {
                // Not librdkafka's to refuse: the reader says that it is out of range.
                if list.add_partition_offset(topic, partition.partition, Offset::Offset(*offset)).is_err() {
                    sources.push((partition.clone(), Source::new(None)));
                    continue;
                }
                // Split before it is assigned, so that no record of it comes by another way.
                let queue = consumer.split_partition_queue(topic, partition.partition);
                sources.push((partition.clone(), Source::new(queue)));
            }
            if list.count() > 0 {
                consumer.incremental_assign(&list).map_err(|error| EventLogError::Refused(error.to_string()))?;
            }
        }
        for (partition, offset) in at {
            let source = sources.iter().find(|(other, _)| *other == partition).map(|(_, source)| source.clone());
            let source = source.ok_or_else(|| EventLogError::UnknownTopic(partition.topic.clone()))?;
            readers.push(Box::new(KafkaReader::new(partition, offset, source, self.producer.clone())));
        }
        assignment.started(sources.into_iter());
        Ok(readers)
    }

    fn hint(&self, partition: &TopicPartition, next: i64) {
        self.shared.hints.lock().insert(partition.clone(), next);
    }

    async fn leave(mut self: Box<Self>) {
        self.stop();
        let mut ended = self.ended.clone();
        drop(self);
        // It ends with an error once the last thread has dropped its end.
        if tokio::time::timeout(LEAVE_TIMEOUT, ended.changed()).await.is_err() {
            warn!("leaving the group takes longer than {LEAVE_TIMEOUT:?}");
        }
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Polls a consumer, so that rebalances are answered and heartbeats go on however slow the readers are.
struct ConsumerThread {
    consumer: Arc<TopicConsumer>,
    shared: Arc<Shared>,
    topic: String,
    _running: watch::Sender<()>,
}

impl ConsumerThread {
    fn run(self) {
        let mut hinted = Instant::now();
        while !self.shared.stop.load(Ordering::Acquire) {
            match self.consumer.poll(POLL_INTERVAL) {
                None => {}
                Some(Ok(message)) => {
                    // It would be missing from its partition's reader, so nothing more may be read.
                    error!(topic = self.topic, partition = message.partition(), "a record came outside of its queue");
                    let lost = format!("a record of {}/{} went astray", self.topic, message.partition());
                    self.shared.assignment.lock().fail(EventLogError::Refused(lost));
                }
                Some(Err(error)) => self.on_error(&error),
            }
            if hinted.elapsed() >= HINT_INTERVAL {
                self.commit_hints();
                hinted = Instant::now();
            }
        }
        self.commit_hints();
        debug!(topic = self.topic, "leaving the group");
        drop(self.consumer);
    }

    fn on_error(&self, error: &KafkaError) {
        use RDKafkaErrorCode as Code;
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let refused = matches!(
            code_of(error),
            Some(
                Code::Fatal
                    | Code::GroupAuthorizationFailed
                    | Code::TopicAuthorizationFailed
                    | Code::InvalidSessionTimeout
                    | Code::InconsistentGroupProtocol
                    | Code::GroupMaxSizeReached
            )
        );
        if fatal || refused {
            let text = format!("reading {} as a member of the group: {error}", self.topic);
            self.shared.assignment.lock().fail(EventLogError::Refused(text));
        } else {
            debug!(topic = self.topic, %error, "the consumer waits an error out");
        }
    }

    fn commit_hints(&self) {
        let mut list = TopicPartitionList::new();
        self.shared.hints.lock().retain(|partition, next| {
            let ours = partition.topic == self.topic;
            if ours
                && let Err(error) = list.add_partition_offset(&self.topic, partition.partition, Offset::Offset(*next))
            {
                debug!(%error, "a hint is no offset");
            }
            !ours
        });
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            debug!(topic = self.topic, %error, "a hint was lost");
        }
    }
}

impl ConsumerContext for MemberContext {
    fn rebalance(&self, consumer: &TopicConsumer, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<TopicPartition> = list
            .elements()
            .iter()
            .map(|element| TopicPartition { topic: element.topic().to_owned(), partition: element.partition() })
            .collect();
        let numbers: Vec<i32> = partitions.iter().map(|partition| partition.partition).collect();
        let mut assignment = self.shared.assignment.lock();
        let answered = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                info!(topic = self.topic, partitions = ?numbers, "partitions assigned");
                assignment.assign(partitions);
                consumer.incremental_assign(&TopicPartitionList::new())
            }
            _ => {
                info!(topic = self.topic, partitions = ?numbers, lost = consumer.assignment_lost(), "partitions revoked");
                let mut reading = TopicPartitionList::new();
                for (partition, source) in assignment.revoke(&partitions) {
                    source.end();
                    reading.add_partition(&partition.topic, partition.partition);
                }
                consumer.incremental_unassign(&reading)
            }
        };
        if let Err(error) = answered {
            assignment.fail(EventLogError::Refused(format!("a rebalance of {}: {error}", self.topic)));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            debug!(topic = self.topic, %error, "a hint was lost");
        }
    }
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, reason, "consumer of {}", self.topic);
    }
}
