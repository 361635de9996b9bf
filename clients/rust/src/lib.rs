//! The Rust client of Headwater: publishes events and reads what was counted.
//!
//! [`Client`] makes the calls; [`Client::publish_stream`] gives a sender and its acknowledgements, which outlive a broken
//! connection. Every wait has a bound, every retry a budget, and every failure says the platform's reason ([`Error`]).

mod client;
mod connect;
mod error;
mod event_id;
mod publisher;
mod reflection;
mod retry;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;

pub use client::{Client, record};
pub use connect::ConnectOptions;
pub use error::{Error, Refusal, Violation};
pub use event_id::derive_event_id;
pub use headwater_contracts::v1;
pub use publisher::{Ack, PublishAcks, PublishOptions, PublishSender, Unsent};
pub use retry::RetryPolicy;
pub use subscription::{RebuildsSubscription, StatsSubscription, Subscription};
