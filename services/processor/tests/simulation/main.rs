#![allow(clippy::unwrap_used, reason = "tests")]
//! Real processors and the real embedded history and live statistics, on a paused clock and by a seed: whatever is killed,
//! paused, moved, doubled, lost on the way back, broken off, emptied, rolled back, removed, made anew or built anew, every
//! record ends in one place, every figure is right, and what cannot go on says so.
//!
//! `HEADWATER_TEST_SEEDS=N` runs N seeds, `HEADWATER_TEST_SEEDS=M..N` those from M on and before N, and
//! `HEADWATER_TEST_SEED=N` only that one.

mod brokers;
mod check;
mod database;
mod history;
mod live;
mod log;
mod run;
mod traffic;
mod world;

use std::env;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use headwater_contracts::Contracts;
use parking_lot::Mutex;

use crate::run::simulate;
use crate::world::{Fault, Hits};

/// Seeds of a run where nothing else is said.
const SEEDS: u64 = 10_000;
/// Faults that each seed has at least.
const FAULTS_MIN: u64 = 2;

/// Calls of outside systems that a crash or an outage is placed before and after.
const CALLS: [&str; 20] = [
    "append",
    "applied",
    "apply",
    "batches",
    "commit",
    "ensure_topic",
    "generation",
    "generations",
    "join",
    "live check",
    "may_be_anew",
    "partitions",
    "prepare",
    "progress",
    "rows",
    "schema",
    "span_counts",
    "switch_generation",
    "take",
    "watermarks",
];
const AT_CALLS: [&str; 4] = ["away", "answer lost", "crash before", "crash after"];

/// Everything else that happens.
const EVENTS: [Fault; 34] = [
    ("apply", "gap"),
    ("apply", "on some shards"),
    ("commit", "broken off within"),
    ("commit", "crash within"),
    ("commit", "duplicates"),
    ("commit", "fenced"),
    ("commit", "found done"),
    ("group", "left"),
    ("history", "batches pruned"),
    ("live", "emptied"),
    ("live", "rolled back"),
    ("live", "some shards rolled back"),
    ("log", "hint"),
    ("log", "partition added"),
    ("log", "record doubled"),
    ("log", "records removed before they were read"),
    ("log", "stored records removed"),
    ("log", "topic made anew"),
    ("log", "topic made anew while it is read"),
    ("process", "RECORDS_REMOVED"),
    ("process", "TOPIC_REPLACED"),
    ("process", "killed"),
    ("process", "paused"),
    ("process", "started"),
    ("process", "stopped partition resumed"),
    ("rebalance", "partitions moved"),
    ("rebuild", "another is running"),
    ("rebuild", "cancelled"),
    ("rebuild", "done"),
    ("rebuild", "started"),
    ("sender", "garbage"),
    ("sender", "sent again"),
    ("sender", "sent again to another partition"),
    ("start", "assignment changed"),
];

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// The seeds of this run.
fn seeds() -> Range<u64> {
    let Ok(text) = env::var("HEADWATER_TEST_SEEDS") else { return 0..SEEDS };
    let (first, end) = text.split_once("..").unwrap_or(("0", &text));
    match (first.parse(), end.parse()) {
        (Ok(first), Ok(end)) => first..end,
        _ => panic!("HEADWATER_TEST_SEEDS is N or M..N, not {text:?}"),
    }
}

/// Runs a seed, or says what is wrong and how to run it again.
fn run(seed: u64, contracts: &Arc<Contracts>) -> Result<(Hits, u64), String> {
    let again = format!(
        "to run it again: HEADWATER_TEST_SEED={seed} cargo test -p headwater-processor --test simulation -- every_record"
    );
    let run = catch_unwind(AssertUnwindSafe(|| simulate(seed, contracts)));
    let (hits, trace) = run
        .unwrap_or_else(|_| Err("it panicked".into()))
        .map_err(|problem| format!("seed {seed}: {problem}\n{again}"))?;
    match hits.values().sum::<u64>() {
        FAULTS_MIN.. => Ok((hits, trace)),
        few => Err(format!("seed {seed} had {few} faults\n{again}")),
    }
}

/// Runs seeds on every processor: how often each fault was hit, or the first problem.
fn run_all(seeds: &Range<u64>, contracts: &Arc<Contracts>) -> Result<Hits, String> {
    let (next, problem, all) = (AtomicU64::new(seeds.start), Mutex::new(None), Mutex::new(Hits::new()));
    let work = || {
        let mut own = Hits::new();
        while problem.lock().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match run(seed, contracts) {
                Ok((hits, _)) => hits.into_iter().for_each(|(fault, count)| *own.entry(fault).or_default() += count),
                Err(found) => drop(problem.lock().get_or_insert(found)),
            }
        }
        let mut all = all.lock();
        own.into_iter().for_each(|(fault, count)| *all.entry(fault).or_default() += count);
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    problem.into_inner().map_or(Ok(all.into_inner()), Err)
}

#[test]
fn every_record_is_in_one_place_and_every_figure_is_right() {
    let contracts = Arc::new(Contracts::shipped().unwrap());
    if let Some(seed) = number("HEADWATER_TEST_SEED") {
        let (hits, trace) = run(seed, &contracts).unwrap_or_else(|problem| panic!("{problem}"));
        println!("seed {seed}: trace {trace:016x}");
        print(&hits);
        return;
    }
    let (seeds, began) = (seeds(), Instant::now());
    let hits = run_all(&seeds, &contracts).unwrap_or_else(|problem| panic!("{problem}"));
    println!("seeds {seeds:?} in {} s, and how often each fault was hit:", began.elapsed().as_secs());
    print(&hits);
    if seeds.end - seeds.start < SEEDS {
        return;
    }
    let placed = CALLS.iter().flat_map(|call| AT_CALLS.iter().map(move |what| (*call, *what)));
    let missing: Vec<Fault> = placed.chain(EVENTS).filter(|fault| !hits.contains_key(fault)).collect();
    assert!(missing.is_empty(), "never hit: {missing:?}");
}

fn print(hits: &Hits) {
    for ((at, what), count) in hits {
        println!("{count:>10} {at}: {what}");
    }
}

#[test]
fn a_seed_is_always_the_same_run() {
    let contracts = Arc::new(Contracts::shipped().unwrap());
    for seed in seeds().step_by(100) {
        assert_eq!(run(seed, &contracts), run(seed, &contracts), "seed {seed}");
    }
}
