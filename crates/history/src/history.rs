use std::sync::Arc;

use async_trait::async_trait;
use headwater_domain::{BatchCommit, Duplicate, RecordedBatch, SpanAsk, StoredEvent, StreamSchema};
use thiserror::Error;

use crate::{BuildOutcome, ExplainPage, ExplainQuery, Generation, GenerationRecord, Resumed};

/// The last record that a partition's offset stands for: tells a topic made anew from the one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its offset.
    pub offset: i64,
    /// When the log took it, in milliseconds since the Unix epoch.
    pub appended_ms: i64,
    /// CRC-32 of its key and value.
    pub checksum: u32,
}

/// What a new owner of a partition is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The owner's epoch: greater than every earlier one, and none but its holder can commit.
    pub epoch: i64,
    /// Offset to read from; none where the partition has no batch yet.
    pub next: Option<i64>,
    /// The record before `next`.
    pub last: Option<Remembered>,
    /// Time of the newest event that was ever stored from the partition, in microseconds since the Unix epoch.
    pub newest_us: Option<i64>,
    /// What is added to a record's offset in the log for its offset here: 0 until a topic was made anew.
    pub log_shift: i64,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Everything is stored, and the partition's offset is the batch's `next`.
    Committed,
    /// Nothing is stored: the partition has another epoch or another offset. The owner must stop.
    Fenced {
        /// The partition's epoch.
        epoch: i64,
        /// The partition's offset.
        next: Option<i64>,
    },
    /// Nothing is stored: these events of the batch are stored already. Take them out, judge anew, and commit again.
    Duplicates(Vec<Duplicate>),
}

/// How far a partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionProgress {
    /// Partition of the stream's topic.
    pub partition: i32,
    /// Offset of the first record of the first batch there ever was.
    pub start: i64,
    /// Offset after the last record that is stored.
    pub next: i64,
    /// When the log took that record, in milliseconds since the Unix epoch.
    pub last_appended_ms: i64,
    /// The epoch of its owner.
    pub epoch: i64,
    /// What is added to a record's offset in the log for its offset here.
    pub log_shift: i64,
}

/// Which events, by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerdictFilter {
    /// All.
    #[default]
    All,
    /// Those that count.
    Counted,
    /// Those that a rule flagged.
    Flagged,
}

/// Which stored events to read, by time and id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// From this time on, in microseconds since the Unix epoch, inclusive.
    pub start_us: i64,
    /// Before this time, exclusive.
    pub end_us: Option<i64>,
    /// Only of this key, as its key text.
    pub key: Option<String>,
    /// Only with this id.
    pub id: Option<String>,
    /// Only with this verdict.
    pub verdict: VerdictFilter,
    /// Only after this time and id: where the page before ended.
    pub after: Option<(i64, String)>,
    /// Events at most.
    pub limit: usize,
}

/// A stored event with the partition it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRow {
    /// Partition of the stream's topic.
    pub partition: i32,
    /// The event, its offset and its verdict.
    pub row: StoredEvent,
}

/// A page of stored events, by time and id.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPage {
    /// The events.
    pub rows: Vec<HistoryRow>,
    /// Whether there are more.
    pub more: bool,
}

/// Asks for a distinct over all time: how many values `field` had, in all or for each value of `by`, of events that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllTimeQuery {
    /// Index of the column whose values are counted.
    pub field: usize,
    /// Index of the column it is counted apart for.
    pub by: Option<usize>,
    /// Only of this value of `by`, as its key text.
    pub key: Option<String>,
    /// Keys to leave out, greatest first.
    pub skip: usize,
    /// Keys at most.
    pub limit: usize,
}

/// Why the history did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HistoryError {
    /// The database is away, or the connection broke: what was under way may or may not have been done. Retrying can help.
    #[error("the history is unavailable: {0}")]
    Unavailable(String),
    /// A contract does not fit what is stored: the text names the stream, the field and the reason.
    #[error("{0}")]
    Contract(String),
    /// The database refused, for a reason that retrying does not mend.
    #[error("the history refused: {0}")]
    Refused(String),
}

/// Stored events, offsets, dead letters and the pointer to the live statistics' generation.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// Makes the platform's own tables and one per stream where they are missing, and adds columns for new fields.
    ///
    /// # Errors
    /// `Contract` where `id`, `key` or `time` of a stream that has data changed, or a field's kind; `Unavailable`; `Refused`.
    async fn prepare(&self, streams: &[Arc<StreamSchema>]) -> Result<(), HistoryError>;

    /// Takes a partition: a new epoch, and the end of the former owner's session where there is one.
    /// `owner` names the process for people.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn take(&self, schema: &StreamSchema, partition: i32, owner: &str) -> Result<Ownership, HistoryError>;

    /// Stores a batch in one transaction: rows, dead letters, duplicates, the batch itself and the partition's offset.
    /// Where the answer of the COMMIT is lost, it is found out before this returns.
    ///
    /// # Errors
    /// `Unavailable`: nothing is known to be stored; commit the same batch again, which finds out. `Refused`.
    async fn commit(&self, schema: &StreamSchema, batch: &BatchCommit) -> Result<CommitOutcome, HistoryError>;

    /// Says that a partition goes on with the record at the log's offset `from`, whatever was read of the log before.
    /// Its offsets here go on where they ended, its last record is forgotten, and who had it is fenced.
    ///
    /// # Errors
    /// `Unavailable`; `Refused` where nothing was ever stored of it.
    async fn resume(&self, schema: &StreamSchema, partition: i32, from: i64) -> Result<Resumed, HistoryError>;

    /// How many stored events, which the rule looks at, each key has in each span, of one partition; in the order asked.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn span_counts(
        &self,
        schema: &StreamSchema,
        partition: i32,
        asks: &[SpanAsk],
    ) -> Result<Vec<u64>, HistoryError>;

    /// The recorded batches of a partition whose `first` is at least `from` (all that are kept where none), by offset,
    /// at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn batches(
        &self,
        schema: &StreamSchema,
        partition: i32,
        from: Option<i64>,
        limit: usize,
    ) -> Result<Vec<RecordedBatch>, HistoryError>;

    /// Stored events of a partition with offsets from `first` on and before `before`, by offset, at most `limit`: what
    /// lies before the batches that are kept. It may read much of the table.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn rows(
        &self,
        schema: &StreamSchema,
        partition: i32,
        first: i64,
        before: i64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, HistoryError>;

    /// How far each partition of a stream has come, by partition.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn progress(&self, schema: &StreamSchema) -> Result<Vec<PartitionProgress>, HistoryError>;

    /// The stream's generation: the first, of `shards` shards and this `fingerprint` of its statistics, is made where
    /// there is none; a new one with the next number where the fingerprint or the shards changed. It is current at once,
    /// and what was being built is cancelled.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn generation(
        &self,
        schema: &StreamSchema,
        shards: u32,
        fingerprint: &str,
    ) -> Result<Generation, HistoryError>;

    /// The newest generations of a stream, newest first, at most 100.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn generations(&self, schema: &StreamSchema) -> Result<Vec<GenerationRecord>, HistoryError>;

    /// Begins a generation beside the current one and like it: once for a `request_id`, and one at a time.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn build_generation(&self, schema: &StreamSchema, request_id: &str) -> Result<BuildOutcome, HistoryError>;

    /// Makes a generation that is being built the current one, in one transaction. Returns whether it is current now.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn switch_generation(&self, schema: &StreamSchema, number: i64) -> Result<bool, HistoryError>;

    /// Gives up a generation that is being built. Returns whether it is cancelled now.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn cancel_generation(&self, schema: &StreamSchema, number: i64) -> Result<bool, HistoryError>;

    /// Forgets a generation that was replaced or cancelled, and is not the newest: numbers are never used again.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn forget_generation(&self, schema: &StreamSchema, number: i64) -> Result<(), HistoryError>;

    /// Before which time events were stored once and then forgotten by `prune`, in microseconds since the Unix epoch: a
    /// new generation cannot count them. None where nothing was.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn dropped_before_us(&self, schema: &StreamSchema) -> Result<Option<i64>, HistoryError>;

    /// Stored events by time and id.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn query(&self, schema: &StreamSchema, query: &HistoryQuery) -> Result<HistoryPage, HistoryError>;

    /// What became of the records with an event's id, all of one moment: by look-ups in indexes, one for each part of
    /// the stream's table.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn explain(&self, schema: &StreamSchema, query: &ExplainQuery) -> Result<ExplainPage, HistoryError>;

    /// A distinct over all time: figures by key, greatest first, equals by key; and how many keys there are.
    /// Without `by`, one figure with an empty key.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn all_time_distinct(
        &self,
        schema: &StreamSchema,
        query: &AllTimeQuery,
    ) -> Result<(Vec<(String, u64)>, u64), HistoryError>;

    /// Forgets what the bounds allow: batch rows and duplicates stored before `batches_before_ms`, and whole days of
    /// events before `events_before_us` where that is set. The newest batch row of a partition stays, and so do days
    /// from the oldest on that a batch row younger than the bound has an event of. Returns rows removed.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn prune(
        &self,
        schema: &StreamSchema,
        batches_before_ms: i64,
        events_before_us: Option<i64>,
    ) -> Result<u64, HistoryError>;

    /// Whether the database answers now.
    ///
    /// # Errors
    /// `Unavailable` where it does not within two seconds.
    async fn check(&self) -> Result<(), HistoryError>;
}
