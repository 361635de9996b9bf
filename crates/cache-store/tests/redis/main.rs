//! What only a store in Redis can show: bad parts, other clients, a Cluster that changes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bad;
mod cluster;
mod direct;
mod links;
mod settings;
mod world;
