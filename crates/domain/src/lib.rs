//! What Headwater means by an event, a verdict, a batch and a statistic.
//!
//! Nothing here does I/O or knows Protobuf, SQL or Kafka, so that a seeded simulation can run it for millions of steps.
//! Times are microseconds (`_us`) or milliseconds (`_ms`) since the Unix epoch, as the name says.

mod event;
mod operation;
mod partitioner;
mod reason;
mod rule;
mod schema;
mod token;
mod units;
mod value;
mod window;

pub use event::{BatchCommit, DeadLetter, Duplicate, Event, RecordedBatch, StoredEvent, Verdict};
pub use operation::{LiveBatch, Operation, operations};
pub use partitioner::{murmur2, partition_of};
pub use reason::Reason;
pub use rule::{RuleCounts, SpanAsk, judge, span_start_us};
pub use schema::{Column, RuleSpec, StatKind, StatSpec, StreamSchema, Where};
pub use token::{ConsistencyToken, TokenError};
pub use units::{format_units, units_of};
pub use value::{ColumnType, Value};
pub use window::{Bucket, Tier, Window, WindowError};
