use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::Message;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use tokio::sync::Notify;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use super::errors::code_of;
use super::member::MemberContext;
use super::producer::Producer;
use super::topics::{settled_state, watermarks};
use crate::{EventLogError, LogRecord, PartitionReader, TopicPartition};

/// Records that are taken from librdkafka before other tasks get their turn.
const TURN_RECORDS: usize = 512;
/// How long to wait before the brokers are asked again why a partition cannot be read.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// Where a reader's records come from: librdkafka's own queue of the partition, which is bounded. The member takes it
/// away when the partition is revoked: librdkafka has one queue per partition, whoever reads it.
pub(super) struct Source {
    queue: Mutex<Option<PartitionQueue<MemberContext>>>,
    ended: AtomicBool,
    more: Arc<Notify>,
}

/// Reads a partition.
pub(super) struct KafkaReader {
    partition: TopicPartition,
    /// Offset that is read next.
    next: i64,
    source: Arc<Source>,
    taken: Taken,
    failure: Option<Failure>,
    producer: Arc<Producer>,
}

/// Records that were taken and not handed out yet; their bytes are one piece of memory.
#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    records: Vec<TakenRecord>,
}

struct TakenRecord {
    offset: i64,
    appended_ms: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// Why the partition cannot be read on. The first two are checked with the brokers.
#[derive(Clone, Debug)]
enum Failure {
    OutOfRange,
    UnknownTopic,
    Final(EventLogError),
}

/// Why taking records stopped.
enum Stop {
    Full,
    Turn,
    Empty,
    Failed(Failure),
}

impl Source {
    pub(super) fn new(queue: Option<PartitionQueue<MemberContext>>) -> Arc<Self> {
        let more = Arc::new(Notify::new());
        let queue = queue.map(|mut queue| {
            let more = more.clone();
            queue.set_nonempty_callback(move || more.notify_one());
            queue
        });
        Arc::new(Self { queue: Mutex::new(queue), ended: AtomicBool::new(false), more })
    }

    /// Ends the reader: the partition is another's now.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.queue.lock().take();
        self.more.notify_one();
    }
}

impl KafkaReader {
    pub(super) fn new(partition: TopicPartition, at: i64, source: Arc<Source>, producer: Arc<Producer>) -> Self {
        let failure = source.queue.lock().is_none().then_some(Failure::OutOfRange);
        Self { partition, next: at, source, taken: Taken::default(), failure, producer }
    }

    /// Takes what is there, up to the bounds.
    fn take(&mut self, records_max: usize, bytes_max: usize) -> Stop {
        let queue = self.source.queue.lock();
        let Some(queue) = queue.as_ref() else { return Stop::Empty };
        for _ in 0..TURN_RECORDS {
            let taken = &self.taken;
            if taken.records.len() >= records_max || !taken.records.is_empty() && taken.bytes.len() >= bytes_max {
                return Stop::Full;
            }
            match queue.poll(Duration::ZERO) {
                None => return Stop::Empty,
                Some(Ok(message)) => {
                    self.next = message.offset() + 1;
                    self.taken.push(&message);
                }
                Some(Err(error)) => {
                    debug!(partition = ?self.partition, %error, "reading");
                    if let Some(failure) = Failure::of(code_of(&error)) {
                        return Stop::Failed(failure);
                    }
                }
            }
        }
        Stop::Turn
    }

    /// Asks the brokers whether it is as librdkafka says. None where it is not, or they do not answer: read on.
    async fn confirm(&self, failure: &Failure) -> Option<EventLogError> {
        let producer = self.producer.clone();
        let (topic, partition, offset) = (self.partition.topic.clone(), self.partition.partition, self.next);
        let asked = match failure {
            Failure::Final(error) => return Some(error.clone()),
            Failure::OutOfRange => spawn_blocking(move || {
                let marks = producer.with_client(|client| watermarks(client, &topic, partition)).flatten()?;
                Ok(Some(EventLogError::OffsetOutOfRange { topic, partition, offset, low: marks.low, high: marks.high }))
            }),
            Failure::UnknownTopic => spawn_blocking(move || {
                let state = producer.with_client(|client| settled_state(client, &topic)).flatten()?;
                let there = state.is_some_and(|state| partition < state.partitions);
                Ok((!there).then_some(EventLogError::UnknownTopic(topic)))
            }),
        };
        match asked.await {
            Ok(Ok(confirmed)) => confirmed,
            Ok(Err(error @ EventLogError::UnknownTopic(_))) => Some(error),
            Ok(Err(error)) => {
                debug!(partition = ?self.partition, %error, "the brokers do not say why the partition cannot be read");
                None
            }
            Err(error) => Some(EventLogError::Refused(error.to_string())),
        }
    }
}

#[async_trait]
impl PartitionReader for KafkaReader {
    async fn read(
        &mut self,
        records_max: usize,
        bytes_max: usize,
        linger: Duration,
    ) -> Result<Vec<LogRecord>, EventLogError> {
        let records_max = records_max.max(1);
        let mut deadline = None;
        loop {
            if self.source.ended.load(Ordering::Acquire) {
                return Err(EventLogError::Revoked);
            }
            if let Some(failure) = self.failure.clone() {
                if !self.taken.records.is_empty() {
                    return Ok(self.taken.hand_out(records_max));
                }
                match self.confirm(&failure).await {
                    Some(error) => return Err(error),
                    // librdkafka stands still where an offset was out of range; elsewhere it goes on by itself.
                    None if matches!(failure, Failure::UnknownTopic) => self.failure = None,
                    None => {}
                }
                sleep(ASK_INTERVAL).await;
                continue;
            }
            match self.take(records_max, bytes_max) {
                Stop::Full => return Ok(self.taken.hand_out(records_max)),
                Stop::Turn => yield_now().await,
                Stop::Failed(failure) => self.failure = Some(failure),
                Stop::Empty if self.taken.records.is_empty() => self.source.more.notified().await,
                Stop::Empty => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + linger);
                    if timeout_at(deadline, self.source.more.notified()).await.is_err() {
                        return Ok(self.taken.hand_out(records_max));
                    }
                }
            }
        }
    }
}

impl Taken {
    fn push(&mut self, message: &BorrowedMessage<'_>) {
        let key = message.key().map(|key| self.put(key));
        let value = message.payload().map(|value| self.put(value));
        let appended_ms = message.timestamp().to_millis().unwrap_or(0);
        self.records.push(TakenRecord { offset: message.offset(), appended_ms, key, value });
    }

    fn put(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn hand_out(&mut self, records_max: usize) -> Vec<LogRecord> {
        // The next batch is likely to be as large.
        let next_bytes = Vec::with_capacity(self.bytes.len());
        let next_records = Vec::with_capacity(self.records.len());
        let bytes = Bytes::from(std::mem::replace(&mut self.bytes, next_bytes));
        let mut records = std::mem::replace(&mut self.records, next_records);
        // A read that was cancelled may have been asked for more than this one.
        for later in records.split_off(records.len().min(records_max)) {
            let key = later.key.map(|range| self.put(&bytes[range]));
            let value = later.value.map(|range| self.put(&bytes[range]));
            self.records.push(TakenRecord { key, value, ..later });
        }
        let record = |taken: TakenRecord| LogRecord {
            offset: taken.offset,
            appended_ms: taken.appended_ms,
            key: taken.key.map(|range| bytes.slice(range)),
            value: taken.value.map(|range| bytes.slice(range)),
        };
        records.into_iter().map(record).collect()
    }
}

impl Failure {
    /// What an error within the partition's queue means for the reader; none where librdkafka waits it out.
    fn of(code: Option<RDKafkaErrorCode>) -> Option<Self> {
        use RDKafkaErrorCode as Code;
        match code? {
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation | Code::NoOffset => {
                Some(Self::OutOfRange)
            }
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::UnknownTopicId => {
                Some(Self::UnknownTopic)
            }
            // librdkafka goes on behind what it cannot read: that would be records lost in silence.
            code @ (Code::BadMessage
            | Code::BadCompression
            | Code::InvalidMessage
            | Code::NotImplemented
            | Code::Underflow
            | Code::UnsupportedCompressionType
            | Code::TopicAuthorizationFailed
            | Code::MessageSizeTooLarge) => Some(Self::Final(EventLogError::Refused(code.to_string()))),
            _ => None,
        }
    }
}
