use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

/// How a topic is made where it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Replicas of each partition, on as many brokers.
    pub replication: i32,
    /// Replicas that must have a record before it is acknowledged.
    pub min_insync: i32,
    /// How long records are kept, in milliseconds.
    pub retention_ms: i64,
}

/// A record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Chooses the partition, by `murmur2`: see [`headwater_domain::partition_of`].
    pub key: Bytes,
    /// The framed message.
    pub value: Bytes,
    /// Headers, in order.
    pub headers: Vec<(String, Bytes)>,
}

/// Where an appended record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Partition of the topic.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: i64,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Offset within the partition.
    pub offset: i64,
    /// When the log took it (LogAppendTime), in milliseconds since the Unix epoch.
    pub appended_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition, from 0.
    pub partition: i32,
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Offset of the oldest record that is kept.
    pub low: i64,
    /// Offset that the next record will have.
    pub high: i64,
}

/// What a member of a group is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    /// These partitions are the member's now, besides those it has. It calls [`GroupMember::start`] for them, all at once.
    Assigned(Vec<TopicPartition>),
    /// These partitions are no longer the member's: their readers end. Another may have them already, so that what is
    /// under way for them must be fenced by the history.
    Revoked(Vec<TopicPartition>),
}

/// Why the log did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventLogError {
    /// The log is away, or did not acknowledge in time: whether a record was kept is not known. Retrying can help.
    #[error("the event log is unavailable: {0}")]
    Unavailable(String),
    /// The record is over the log's own limit of bytes. Retrying cannot help.
    #[error("the record has {bytes} bytes, more than the event log takes")]
    RecordTooLarge {
        /// Size of the record.
        bytes: usize,
    },
    /// More records wait for an acknowledgement than the limit. Retrying later can help.
    #[error("the event log's queue is full")]
    QueueFull,
    /// The offset to read from is not in the log.
    #[error("offset {offset} of {topic}/{partition} is outside the log, which holds {low} to {high}")]
    OffsetOutOfRange {
        /// Name of the topic.
        topic: String,
        /// Partition of the topic.
        partition: i32,
        /// The offset that was asked for.
        offset: i64,
        /// Offset of the oldest record.
        low: i64,
        /// Offset that the next record will have.
        high: i64,
    },
    /// There is no such topic.
    #[error("the topic {0} does not exist")]
    UnknownTopic(String),
    /// The topic is there and not as Headwater needs it; the text says which setting, and the command that changes it.
    #[error("{0}")]
    Unsuitable(String),
    /// The reader's partition was revoked, or its member left.
    #[error("the partition was revoked")]
    Revoked,
    /// The log refused for good.
    #[error("the event log refused: {0}")]
    Refused(String),
}

/// An append-only log of topics with partitions.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Makes the topic where it is missing, and waits until it can be used. Returns its partitions, which may be more or
    /// fewer than the spec's where it was there already.
    ///
    /// # Errors
    /// `Unsuitable` where it was there with another timestamp type than LogAppendTime; `Unavailable`; `Refused`.
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<i32, EventLogError>;

    /// Appends records, each to the partition of its key; returns one result per record, in order, once each is settled.
    /// `Ok` only where `min_insync` replicas have it. Records of one key keep their order
    /// within a call, and over calls in the order in which these are first polled, for as long as all are accepted.
    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Vec<Result<Position, EventLogError>>;

    /// How many partitions a topic has now.
    ///
    /// # Errors
    /// `UnknownTopic`, `Unavailable`.
    async fn partitions(&self, topic: &str) -> Result<i32, EventLogError>;

    /// Offsets that a partition holds.
    ///
    /// # Errors
    /// `UnknownTopic`, `Unavailable`.
    async fn watermarks(&self, topic: &str, partition: i32) -> Result<Watermarks, EventLogError>;

    /// Whether a partition may have been made anew since it had a record at that offset, appended at that time in
    /// milliseconds since the Unix epoch: whether the oldest record that is kept is not after the offset, and newer than
    /// the time. A log whose topics are never deleted says no.
    ///
    /// # Errors
    /// `UnknownTopic`, `Unavailable`.
    async fn may_be_anew(&self, at: &TopicPartition, offset: i64, appended_ms: i64) -> Result<bool, EventLogError> {
        let _ = (at, offset, appended_ms);
        Ok(false)
    }

    /// Joins a group that shares the partitions of the topics among its members.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn join(&self, group: &str, topics: &[String]) -> Result<Box<dyn GroupMember>, EventLogError>;

    /// Whether the log answers now.
    ///
    /// # Errors
    /// `Unavailable` where it does not within two seconds.
    async fn check(&self) -> Result<(), EventLogError>;

    /// Waits until everything that was appended is settled, at most that long; for the end of the process.
    async fn flush(&self, timeout: Duration);
}

/// A member of a group. Dropping it leaves the group at once, as a crash would, only sooner noticed.
#[async_trait]
pub trait GroupMember: Send {
    /// Waits for the next change of what the member has. Cancel-safe.
    ///
    /// # Errors
    /// `Refused` where the member cannot go on and must join anew. Outages are waited out.
    async fn next_event(&mut self) -> Result<MemberEvent, EventLogError>;

    /// Begins to read partitions of the last `Assigned`, each at an offset; returns a reader for each, in order.
    /// An offset that the log does not hold fails that reader's first `read`, not the call.
    ///
    /// # Errors
    /// `Revoked` where the assignment has changed since; `Unavailable`.
    async fn start(&mut self, at: Vec<(TopicPartition, i64)>) -> Result<Vec<Box<dyn PartitionReader>>, EventLogError>;

    /// Remembers with the log that everything before `next` is done: a hint for people and for lag, never where reading
    /// begins. Returns at once; a hint that is lost does no harm.
    fn hint(&self, partition: &TopicPartition, next: i64);

    /// Leaves the group, so that others take over at once.
    async fn leave(self: Box<Self>);
}

/// Reads one partition in order.
#[async_trait]
pub trait PartitionReader: Send {
    /// Waits for the first record, without end, and then up to `linger` for more; returns at least one record and at most
    /// `records_max` or about `bytes_max`. Cancel-safe: a cancelled read loses nothing.
    /// What is read ahead is bounded; a reader that is not read slows nothing but its own partition.
    ///
    /// # Errors
    /// `OffsetOutOfRange`, `UnknownTopic`, `Revoked`: the reader is done. Outages are waited out.
    async fn read(
        &mut self,
        records_max: usize,
        bytes_max: usize,
        linger: Duration,
    ) -> Result<Vec<LogRecord>, EventLogError>;
}
