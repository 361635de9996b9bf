//! What only a store in Redis can show: bad parts, other clients, a Cluster that changes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod direct;
mod world;
