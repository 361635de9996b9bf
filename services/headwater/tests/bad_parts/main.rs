//! `headwater serve` on real parts that are in a bad state: each is told, with what to do, and nothing is lost or doubled.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod at_once;
mod clock;
mod contract;
mod log;
mod poison;
mod postgres;
mod redis;
