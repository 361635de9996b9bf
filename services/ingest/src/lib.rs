//! The ingest service: takes events in, checks each against its contract, and says of each what became of it.
//!
//! Nothing is called accepted that the event log has not acknowledged.

mod answer;
mod metrics;
mod publish;
mod route;
mod service;
mod stream;

pub use route::{MadeTopic, RouteError, make_topic};
pub use service::{Ingest, IngestOptions};
