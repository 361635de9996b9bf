#![allow(clippy::unwrap_used, reason = "tests")]
//! The ingest service over a log that refuses, loses and is slow, by a seed: what is called accepted, the log had
//! acknowledged before, at that place and with those bytes.

mod log;
mod run;

use std::sync::Arc;

use headwater_contracts::Contracts;

use crate::log::Hits;
use crate::run::simulate;

const SEEDS: u64 = 500;

const FAULTS: [&str; 8] = [
    "call refused",
    "caller gone",
    "kept, answer lost",
    "lost",
    "queue full",
    "result missing",
    "told to try again",
    "too large",
];

#[test]
fn what_is_accepted_was_acknowledged() {
    let contracts = Arc::new(Contracts::shipped().unwrap());
    let mut all = Hits::new();
    for seed in 0..SEEDS {
        let hits = simulate(seed, &contracts).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        for (fault, count) in hits {
            *all.entry(fault).or_default() += count;
        }
    }
    println!("{SEEDS} seeds, faults hit: {all:#?}");
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), FAULTS);
}
