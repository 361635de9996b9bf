//! The cache: values in this process's memory (L1), over a store that all replicas share, over loaders.
//!
//! ```text
//! Cache::get ─▶ L1 ─▶ one read per key, however many ask ─▶ CacheStore ─▶ Loader
//!                ▲                                             │
//!                └── what changed, and since when nothing did ─┘   (Cache::run)
//! ```
//!
//! A hit of L1 is at most [`CacheOptions::staleness_max`] old, whoever changed the key and whatever breaks. What one
//! replica's caller has written, that replica's callers read. Knows neither Protobuf nor gRPC.

mod admin;
mod answer;
mod breaker;
mod cache;
mod coherence;
mod error;
mod flight;
mod l1;
mod lag;
mod load;
mod measure;
mod namespaces;
mod options;
mod policy;
mod queue;
mod ranks;
mod read;
mod run;
mod through;
mod watch;
mod write;

pub use admin::Usage;
pub use answer::{Answer, Ask, Forward, Layer, Outcome, QueuedState, WriteDone, Written};
pub use cache::Cache;
pub use error::CacheError;
pub use headwater_cache_store::{CacheStore, Condition, Etag, Refusal, etag_of};
pub use load::{LoadError, Loaded, Loader};
pub use namespaces::{DEFAULT, Namespace};
pub use options::{CacheOptions, Declared};
pub use policy::{Capacity, Eviction, NamespaceInfo, Overwrite, Policy, PolicyError, PolicyPatch, WriteMode, is_name};
pub use run::Tell;
pub use watch::{Watch, WatchEvent};
pub use write::{OpAsk, WriteAsk};
