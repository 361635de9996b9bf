//! The history: what happened, stored once, and how far each partition has come. The authority for everything else.
//!
//! Two implementations pass one suite: [`postgres::PostgresHistory`] and [`sqlite::SqliteHistory`].

mod history;

pub use history::{
    AllTimeQuery, CommitOutcome, Generation, History, HistoryError, HistoryPage, HistoryQuery, HistoryRow, Ownership,
    PartitionProgress, Remembered, VerdictFilter,
};
