//! The history: what happened, stored once, and how far each partition has come. The authority for everything else.
//!
//! Two implementations pass one suite: [`postgres::PostgresHistory`] and [`sqlite::SqliteHistory`].

mod contract;
mod day;
mod explain;
mod generation;
mod history;
pub mod postgres;
mod resume;
mod spans;
pub mod sqlite;
mod storable;

pub use explain::{ExplainPage, ExplainPlace, ExplainQuery, Explained, Fate};
pub use generation::{BuildOutcome, Generation, GenerationRecord, GenerationState};
pub use history::{
    AllTimeQuery, CommitOutcome, History, HistoryError, HistoryPage, HistoryQuery, HistoryRow, Ownership,
    PartitionProgress, Remembered, VerdictFilter,
};
pub use resume::Resumed;
pub use storable::{ID_BYTES_MAX, INDEXED_BYTES_MAX, NotStorable, storable};
