//! The cache itself is judged: histories of three replicas in this process, broken by seed, on a paused clock.
//!
//! `HEADWATER_TEST_SEEDS=10000` tries more. A seed that fails is printed with its findings.
#![allow(clippy::unwrap_used, reason = "tests")]

mod link;
#[path = "../checker/plant.rs"]
mod plant;
mod replicas;
mod simulation;

use std::collections::BTreeMap;

use headwater_coherence::check::{Limits, Rule, check};
use headwater_coherence::history::Layer;
use plant::plant_and_catch;
use simulation::simulate;

const SEEDS: u64 = 60;

#[test]
fn the_cache_keeps_its_promises_whatever_breaks() {
    let seeds = std::env::var("HEADWATER_TEST_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let first = std::env::var("HEADWATER_TEST_FIRST_SEED").map_or(0, |seed| seed.parse().unwrap());
    let (mut kinds, mut events) = (BTreeMap::<String, usize>::new(), BTreeMap::new());
    let mut oldest_us = 0;
    let mut bad = 0;
    for seed in first..first + seeds {
        let found = check(&simulate(seed), &Limits::default()).unwrap();
        if !found.is_clean() {
            println!("seed {seed}:\n{found}");
            bad += 1;
        }
        for (kind, count) in &found.seen.kinds {
            *kinds.entry(kind.clone()).or_default() += count;
        }
        for (event, count) in &found.seen.events {
            *events.entry(*event).or_insert(0) += count;
        }
        oldest_us = oldest_us.max(found.oldest_us.0);
    }
    println!("{seeds} seeds: {kinds:#?}\n{events:?}\noldest answer of a memory: {oldest_us} us");
    assert_eq!(bad, 0, "so many of {seeds} seeds do not hold");
    // What was never tried is not shown to hold.
    for kind in
        ["get: l1 hit", "get no_cache: l2 hit", "get lease: l2 miss", "get: loader hit", "set-if: done", "delete: done"]
    {
        assert!(kinds.get(kind).is_some_and(|count| *count > 100), "there is too little of {kind}");
    }
    assert_eq!(events.len(), 5, "not everything was broken: {events:?}");
    assert!(oldest_us > 150_000, "the bound was not even tried");
}

#[test]
fn one_wrong_answer_in_a_history_of_the_cache_is_found() {
    const BOUND_US: u64 = 250_000;
    let mut planted = [0; 4];
    for seed in 0..3 {
        let good = simulate(seed);
        planted[0] += plant_and_catch(&good, Rule::Staleness, Layer::L1, false, BOUND_US);
        planted[1] += plant_and_catch(&good, Rule::OneOrder, Layer::L2, false, 0);
        planted[2] += plant_and_catch(&good, Rule::Resurrection, Layer::L1, true, BOUND_US);
        planted[3] += plant_and_catch(&good, Rule::Resurrection, Layer::L2, true, 0);
    }
    assert!(planted.iter().all(|count| *count > 3), "there were too few occasions: {planted:?}");
}
