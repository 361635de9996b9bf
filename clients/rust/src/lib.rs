//! The Rust client of Headwater: publishes events, reads what was counted, and uses the cache.
//!
//! [`Client`] makes the calls; [`Client::publish_stream`] gives a sender and its acknowledgements, which outlive a broken
//! connection; [`Client::cache`] gives a namespace of the cache. Every wait has a bound, every retry a budget, and every failure says the platform's reason ([`Error`]).

pub mod cache;
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
