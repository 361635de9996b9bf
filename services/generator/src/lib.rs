//! Made-up page events and transactions, and their publishing at a steady rate.
//!
//! [`Source`] makes events: the same seed makes the same ones, but for the moment that they begin at. [`run`] publishes
//! them on schedule, whatever the answers, and measures; [`run_live`] keeps something alive until it is told to stop.
//! Outside of tests this is the only place that knows the shipped streams by name.

mod accounts;
mod id;
mod live;
mod meter;
mod options;
mod pacer;
mod report;
mod run;
mod source;
mod visitors;
mod zipf;

pub use id::event_id;
pub use live::{LiveOptions, run_live};
pub use options::{OptionsError, SourceOptions, SourceStream};
pub use report::{Latency, Report};
pub use run::{Progress, RunOptions, run};
pub use source::{Kind, Made, Source};
