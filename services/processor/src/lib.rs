//! The processor: from records of the log to rows of the history and live statistics.
//!
//! ```text
//! log ─▶ decode ─▶ dedupe ─▶ judge ─▶ history (one transaction a batch) ─▶ live statistics
//!           └─ dead letters ───────────────┘
//! ```
//! A partition is worked on by one task, which owns its epoch; a second task of the partition keeps live statistics at
//! what the history has. The history is the authority: what live statistics miss is replayed from it.

mod assignment;
mod batch;
mod decode;
mod follow;
mod generations;
mod metrics;
mod options;
mod partition;
mod schema_ids;
mod spread;
mod stopped;
mod upkeep;
mod waiting;

pub use assignment::Processor;
pub use options::{Conditions, Outside, ProcessorOptions};
