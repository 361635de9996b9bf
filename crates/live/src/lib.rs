//! Live statistics: what was counted, ready to be read.
//!
//! Two implementations pass one suite: [`redis::RedisLive`] and [`memory::MemoryLive`].

mod answer;
mod ask;
mod live;
pub mod memory;
pub mod redis;
mod split;

pub use live::{ApplyOutcome, Figure, Figures, GenerationKey, LiveError, LiveStatistics, ReadRequest};
