//! Histories of the cache through several replicas, and a checker that is a program of its own.
//!
//! `headwater-coherence-check FILE` reads what clients asked and were answered ([`history`]), and says whether that keeps
//! what the cache promises ([`check`]): one order of everything that the store answered, an age that no answer of a
//! replica's memory passes, a client's own writes seen by it, and nothing that comes back once it was deleted.

pub mod check;
pub mod drive;
pub mod history;
