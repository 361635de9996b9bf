//! Live statistics: what was counted, ready to be read.
//!
//! Two implementations pass one suite: [`redis::RedisLive`] and [`memory::MemoryLive`].

mod live;

pub use live::{ApplyOutcome, Figure, Figures, GenerationKey, LiveError, LiveStatistics, ReadRequest};
