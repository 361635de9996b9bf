#![allow(clippy::unwrap_used, reason = "tests")]
//! The simulation is tested: of the bug that is planted in ingest it must say, within so many seeds, what it does wrong.
//!
//! `cargo nextest run -p headwater-ingest --features planted-bugs --test planted`

#[path = "acknowledgements/log.rs"]
mod log;
#[path = "acknowledgements/run.rs"]
mod run;

use std::sync::Arc;

use headwater_contracts::Contracts;
use headwater_planted::{Bug, plant};

use crate::run::simulate;

const SEEDS_MAX: u64 = 20;

#[test]
fn acknowledgement_before_the_brokers_is_caught() {
    let bug = Bug::AcknowledgementBeforeBroker;
    let contracts = Arc::new(Contracts::shipped().unwrap());
    plant(Some(bug));
    let problem = (0..SEEDS_MAX).find_map(|seed| Some((seed, simulate(seed, &contracts).err()?)));
    let (seed, problem) = problem.unwrap_or_else(|| panic!("{}: not found in {SEEDS_MAX} seeds", bug.name()));
    println!("{}: caught by seed {seed}, of {SEEDS_MAX}: {problem}", bug.name());
    assert!(problem.contains("which the log had not acknowledged"), "{problem}");
}
