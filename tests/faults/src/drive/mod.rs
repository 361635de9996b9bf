//! The driver: starts everything, sends, breaks, measures, and lets the checker judge.

mod faults;
mod gauge;
mod load;
mod plan;
mod probe;
mod process;
mod report;
mod run;
mod sender;
mod stack;
mod traffic;

use std::time::{SystemTime, UNIX_EPOCH};

pub use plan::{Fault, Plan};
pub use run::{Options, run};

/// Milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
