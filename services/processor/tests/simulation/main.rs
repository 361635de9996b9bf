#![allow(clippy::unwrap_used, reason = "tests")]
//! Real processors over simulated outside systems, on a paused clock and by a seed: whatever is killed, paused, moved,
//! doubled, lost on the way back, emptied or rolled back, every record ends in one place and every figure is right.
//!
//! `HEADWATER_TEST_SEEDS=N` runs seeds 0 to N, `HEADWATER_TEST_SEED=N` only that one.

mod check;
mod database;
mod history;
mod live;
mod log;
mod run;
mod traffic;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_contracts::Contracts;

use crate::run::simulate;
use crate::world::Hits;

/// Seeds of a run where nothing else is said.
const SEEDS: u64 = 500;

/// Calls of outside systems that a crash or an outage is placed before and after.
const CALLS: [&str; 9] =
    ["ensure_topic", "append", "watermarks", "schema", "take", "commit", "span_counts", "apply", "applied"];

/// Everything else that happens.
const EVENTS: [&str; 20] = [
    "batches: away",
    "batches: answer lost",
    "commit: broken off within",
    "commit: crash within",
    "commit: found done",
    "commit: fenced",
    "commit: duplicates",
    "rebalance: partitions moved",
    "group: left",
    "process: paused",
    "process: started",
    "live: rolled back",
    "live: emptied",
    "history: batches pruned",
    "apply: gap",
    "log: hint",
    "log: record doubled",
    "sender: sent again",
    "sender: sent again to another partition",
    "sender: garbage",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

fn must_run(seed: u64, contracts: &Arc<Contracts>) -> (Hits, u64) {
    simulate(seed, contracts).unwrap_or_else(|problem| {
        panic!(
            "seed {seed}: {problem}\nto run it again: HEADWATER_TEST_SEED={seed} cargo test -p headwater-processor --test \
             simulation -- every_record"
        )
    })
}

#[test]
fn every_record_is_in_one_place_and_every_figure_is_right() {
    let contracts = Arc::new(Contracts::shipped().unwrap());
    if let Some(seed) = number("HEADWATER_TEST_SEED") {
        let (hits, trace) = must_run(seed, &contracts);
        println!("seed {seed}: trace {trace:016x}, {hits:#?}");
        return;
    }
    let seeds = number("HEADWATER_TEST_SEEDS").unwrap_or(SEEDS);
    let mut all: Hits = BTreeMap::new();
    for seed in 0..seeds {
        let (hits, _) = must_run(seed, &contracts);
        assert!(hits.values().sum::<u64>() >= 2, "seed {seed} had no faults");
        for (fault, count) in hits {
            *all.entry(fault).or_default() += count;
        }
    }
    println!("{seeds} seeds, faults hit: {all:#?}");
    if seeds < SEEDS {
        return;
    }
    let kinds = ["away", "answer lost", "crash before", "crash after"];
    let placed = CALLS.iter().flat_map(|call| kinds.iter().map(move |kind| format!("{call}: {kind}")));
    let missing: Vec<String> = placed.chain(EVENTS.map(str::to_owned)).filter(|name| !all.contains_key(name)).collect();
    assert!(missing.is_empty(), "never hit: {missing:?}");
}

#[test]
fn a_seed_is_always_the_same_run() {
    let contracts = Arc::new(Contracts::shipped().unwrap());
    for seed in 1000..1005 {
        let (first, again) = (must_run(seed, &contracts), must_run(seed, &contracts));
        assert_eq!(first, again, "seed {seed}");
    }
}
