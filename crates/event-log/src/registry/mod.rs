//! Schema registries: any that speaks Confluent's API, and an embedded one.

mod compatibility;
mod confluent;
mod sqlite;

pub use confluent::{Authorization, ConfluentOptions, ConfluentRegistry};
pub use sqlite::SqliteRegistry;
