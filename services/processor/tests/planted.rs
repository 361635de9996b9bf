#![allow(clippy::unwrap_used, reason = "tests")]
//! The simulation is tested: of each planted bug it must say, within so many seeds, what it does wrong.
//!
//! `cargo nextest run -p headwater-processor --features planted-bugs --test planted`

#[path = "simulation/brokers.rs"]
mod brokers;
#[path = "simulation/check.rs"]
mod check;
#[path = "simulation/database.rs"]
mod database;
#[path = "simulation/history.rs"]
mod history;
#[path = "simulation/live.rs"]
mod live;
#[path = "simulation/log.rs"]
mod log;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/traffic.rs"]
mod traffic;
#[path = "simulation/world.rs"]
mod world;

use std::sync::Arc;

use headwater_contracts::Contracts;
use headwater_planted::{Bug, plant};

use crate::run::simulate;

/// Seeds within which a bug is found in all the ways that it shows.
const SEEDS_MAX: u64 = 200;

/// What is said of each bug: every one of these.
const fn signs(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::OffsetBeforeRows => &["the log was given the hint", "should have"],
        Bug::CountersWithoutGuard => &["where it is"],
        Bug::NoDeduplication => &["is stored 2 times"],
        Bug::NoFencing => &["was given offset"],
        Bug::VerdictRecomputedOnReplay => &["where it is"],
        // By services/ingest/tests/planted.rs.
        Bug::AcknowledgementBeforeBroker => &[],
        // By tests/coherence/tests/planted.rs.
        Bug::NoticeIgnored | Bug::EntryDespiteChange | Bug::VouchedUnheard | Bug::FillWithoutLease => &[],
    }
}

fn is_caught(bug: Bug) {
    let contracts = Arc::new(Contracts::shipped().unwrap());
    let mut missing = signs(bug).to_vec();
    plant(Some(bug));
    for seed in 0..SEEDS_MAX {
        let Err(problems) = simulate(seed, &contracts) else { continue };
        missing.retain(|sign| {
            let line = problems.lines().find(|line| line.contains(sign));
            if let Some(line) = line {
                let shown: String = line.chars().take(200).collect();
                println!("{}: caught by seed {seed}, of {SEEDS_MAX}: {shown}", bug.name());
            }
            line.is_none()
        });
        if missing.is_empty() {
            return;
        }
    }
    panic!("{}: in {SEEDS_MAX} seeds nobody said {missing:?}", bug.name());
}

#[test]
fn offset_before_rows_is_caught() {
    is_caught(Bug::OffsetBeforeRows);
}

#[test]
fn counters_without_guard_are_caught() {
    is_caught(Bug::CountersWithoutGuard);
}

#[test]
fn no_deduplication_is_caught() {
    is_caught(Bug::NoDeduplication);
}

#[test]
fn no_fencing_is_caught() {
    is_caught(Bug::NoFencing);
}

#[test]
fn verdict_recomputed_on_replay_is_caught() {
    is_caught(Bug::VerdictRecomputedOnReplay);
}
