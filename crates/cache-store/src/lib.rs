//! The second layer of the cache: one store that all replicas share.
//!
//! [`CacheStore`] is what the cache needs of it. Redis, by itself or as a Cluster, is the store of production; memory is
//! that of `headwater dev`, for one process. What a key's value is in Redis is the value's own bytes, so that other clients
//! of Redis may read and write it; that it changed is told ([`Notice`]) whoever did it.

mod entry;
pub mod memory;
pub mod redis;
mod space;
mod store;
mod write;

pub use entry::{Entry, Etag, Got, LeaseAsk, etag_of};
pub use space::{Layout, Space};
pub use store::{Applied, CacheStore, Expected, Held, Holder, Notice, Saved, StoreError, StoreInfo, StoredNamespace};
pub use write::{Condition, Done, EnqueueError, Op, Outcome, QueuedWrite, Refusal, Write};
