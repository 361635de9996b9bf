//! What a person does with a running platform: publish a file, read statistics, use the cache, make load.
//!
//! Each command is an `Args` and a `run` that gives the exit code. They speak with the platform through its public API only.

pub(crate) mod cache;
mod columns;
mod connection;
mod console;
pub(crate) mod explain;
pub(crate) mod generate;
mod interrupt;
mod proto_json;
pub(crate) mod publish;
pub(crate) mod quantities;
pub(crate) mod rebuild;
pub(crate) mod stats;
pub(crate) mod verdict;
