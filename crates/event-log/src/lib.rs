//! The event log and the schema registry: what Headwater asks of Kafka and of a Confluent-compatible registry,
//! and the embedded implementations of both.
//!
//! | trait | production | embedded |
//! |---|---|---|
//! | [`EventLog`] | [`kafka::KafkaLog`] | [`sqlite::SqliteLog`] |
//! | [`SchemaRegistry`] | [`registry::ConfluentRegistry`] | [`registry::SqliteRegistry`] |
//!
//! Both implementations of a trait pass one suite: `tests/log_suite.rs` and `tests/registry_suite.rs`.

mod assignment;
pub mod frame;
pub mod kafka;
mod log;
pub mod registry;
mod schema;
pub mod sqlite;

pub use log::{
    EventLog, EventLogError, GroupMember, LogRecord, MemberEvent, NewRecord, PartitionReader, Position, TopicPartition,
    TopicSpec, Watermarks,
};
pub use schema::{ProtoSchema, Registered, RegisteredSchema, RegistryError, SchemaReference, SchemaRegistry};
