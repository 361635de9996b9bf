//! What the platform made of what was sent: its tables, Kafka's offsets, and its statistics.

mod outside;
mod rows;

use std::collections::BTreeMap;

pub use outside::Sources;

use crate::event::{Body, Stream};

/// Everything that is there.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Rows of the streams' tables.
    pub stored: Vec<Stored>,
    /// Rows of `dead_letters`.
    pub dead: Vec<Dead>,
    /// Rows of `duplicates`.
    pub duplicates: Vec<Duplicate>,
    /// Rows of `batches`.
    pub ranges: Vec<Range>,
    /// Rows of `offsets`.
    pub positions: Vec<Position>,
    /// Where each partition of the topics ends, and what Kafka was told.
    pub ends: Vec<End>,
    /// Answers of GetStats.
    pub answers: Vec<Answer>,
}

/// A row of a stream's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The stream.
    pub stream: Stream,
    /// Identifies the event, with its time.
    pub id: String,
    /// In microseconds since the Unix epoch.
    pub time_us: i64,
    /// The other fields.
    pub body: Body,
    /// Where it came from.
    pub partition: i32,
    /// Where it came from.
    pub offset: i64,
    /// What flagged it.
    pub flag: Option<Flag>,
}

/// What flagged a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name of the rule.
    pub rule: String,
    /// Its version.
    pub version: i32,
    /// Which of its span it was.
    pub count: i64,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The stream.
    pub stream: Stream,
    /// Where it came from.
    pub partition: i32,
    /// Where it came from.
    pub offset: i64,
    /// Why.
    pub reason: String,
    /// Id and time in its bytes, where they are an event.
    pub identity: Option<(String, i64)>,
}

/// A record of an event that was stored before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The stream.
    pub stream: Stream,
    /// Where it came from.
    pub partition: i32,
    /// Where it came from.
    pub offset: i64,
    /// Of which event.
    pub id: String,
    /// Of which event, in microseconds since the Unix epoch.
    pub time_us: i64,
    /// Partition and offset that it is stored from.
    pub of: (i32, i64),
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The stream.
    pub stream: Stream,
    /// The partition.
    pub partition: i32,
    /// First offset.
    pub first: i64,
    /// Offset after the last.
    pub next: i64,
    /// The owner's epoch.
    pub epoch: i64,
    /// How many records it says that it has, in whatever place.
    pub records: i32,
}

/// How far a partition has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The stream.
    pub stream: Stream,
    /// The partition.
    pub partition: i32,
    /// The latest owner's epoch.
    pub epoch: i64,
    /// Offset after the last that is done. None: none is.
    pub next: Option<i64>,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The stream.
    pub stream: Stream,
    /// The partition.
    pub partition: i32,
    /// What the group has committed to Kafka.
    pub committed: Option<i64>,
    /// Offset after the last record.
    pub high: i64,
}

/// An answer of GetStats to one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The stream.
    pub stream: Stream,
    /// The statistic.
    pub stat: String,
    /// The window that was asked for, in seconds. None: all time.
    pub window_s: Option<i64>,
    /// The moment it is of, in milliseconds since the Unix epoch.
    pub as_of_ms: i64,
    /// Where it says that the window begins.
    pub window_start_ms: Option<i64>,
    /// Whether it says that nothing is missing.
    pub complete: bool,
    /// Key to figure.
    pub values: BTreeMap<String, i64>,
}

impl Answer {
    /// Stream and statistic.
    pub fn asked(&self) -> (Stream, &str) {
        (self.stream, &self.stat)
    }
}

impl Evidence {
    /// How far a partition has come, by Postgres.
    pub fn next_of(&self, (stream, partition): (Stream, i32)) -> Option<i64> {
        self.positions.iter().find(|at| (at.stream, at.partition) == (stream, partition))?.next
    }
}
