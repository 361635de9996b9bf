//! The cache over a store that can be delayed, cut off and away, on a paused clock.
#![allow(clippy::unwrap_used, reason = "tests")]

mod coherence;
mod loads;
mod namespaces;
mod queue;
mod ranks;
mod stale;
mod watches;
mod world;
