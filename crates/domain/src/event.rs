use crate::{Reason, Value};

/// An event: one value per column of its stream, and what the contract does not know yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// One value per column, in the columns' order.
    pub values: Vec<Value>,
    /// Fields with numbers that the contract does not know, as they stood on the wire.
    pub unknown: Vec<u8>,
}

/// What a rule said of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Counted,
    /// It is stored and does not count.
    Flagged {
        /// Name of the rule.
        rule: String,
        /// Version of the rule.
        version: u32,
        /// Which event of its span it was: the rule's count plus 1 or more.
        count: u64,
    },
}

/// An event with its place in the log and its verdict: a row of the stream's table.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Offset within the partition.
    pub offset: i64,
    /// When the log took it, in milliseconds since the Unix epoch.
    pub appended_ms: i64,
    /// The event.
    pub event: Event,
    /// What the rules said.
    pub verdict: Verdict,
}

/// A record of the log that could not be an event, kept whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Offset within the partition.
    pub offset: i64,
    /// When the log took it, in milliseconds since the Unix epoch.
    pub appended_ms: i64,
    /// Why it is not an event.
    pub reason: Reason,
    /// The event's id, where it could be read: what a person looks the record up by.
    pub id: Option<String>,
    /// Path of the field at fault, where there is one.
    pub field: String,
    /// A sentence for people.
    pub detail: String,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Option<Vec<u8>>,
}

/// A record whose event was stored already, or stands earlier in the same batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Offset of the record.
    pub offset: i64,
    /// The event's id.
    pub id: String,
    /// The event's time, in microseconds since the Unix epoch.
    pub time_us: i64,
    /// Partition of the record that was stored.
    pub of_partition: i32,
    /// Offset of the record that was stored.
    pub of_offset: i64,
}

/// What one transaction of the history holds: the records [first, next) of one partition, each in exactly one of three places.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchCommit {
    /// Partition of the stream's topic.
    pub partition: i32,
    /// The epoch under which the partition was taken.
    pub epoch: i64,
    /// Offset of the first record.
    pub first: i64,
    /// Offset after the last record.
    pub next: i64,
    /// When the log took the last record, in milliseconds since the Unix epoch.
    pub last_appended_ms: i64,
    /// CRC-32 of the last record's key and value: tells a topic made anew from the one that was read.
    pub last_checksum: u32,
    /// Events, by offset.
    pub stored: Vec<StoredEvent>,
    /// Records that could not be events, by offset.
    pub dead: Vec<DeadLetter>,
    /// Records whose events were stored already, by offset.
    pub duplicates: Vec<Duplicate>,
}

/// A batch that the history remembers, with its events: what live statistics are replayed from.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedBatch {
    /// Partition of the stream's topic.
    pub partition: i32,
    /// Offset of the first record.
    pub first: i64,
    /// Offset after the last record.
    pub next: i64,
    /// Whether it is the first batch that the partition ever had.
    pub is_start: bool,
    /// Its events, by offset.
    pub stored: Vec<StoredEvent>,
}
