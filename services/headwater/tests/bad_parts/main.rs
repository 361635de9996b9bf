//! `headwater serve` on real parts that are in a bad state: each is told, with what to do, and nothing is lost or doubled.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod log;
mod postgres;
mod redis;
