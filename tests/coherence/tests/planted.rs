#![allow(clippy::unwrap_used, reason = "tests")]
//! The checker is tested on the cache: of each bug that is planted there it must say, within so many seeds, what it does
//! wrong.
//!
//! `cargo nextest run -p headwater-coherence --features planted-bugs --test planted`

#[path = "engine/link.rs"]
mod link;
#[path = "engine/replicas.rs"]
mod replicas;
#[path = "engine/simulation.rs"]
mod simulation;

use headwater_coherence::check::{Limits, Rule, check};
use headwater_planted::{Bug, plant};
use simulation::simulate;

/// Seeds within which a bug is found in all the ways that it shows.
const SEEDS_MAX: u64 = 100;

fn is_caught(bug: Bug, signs: &[Rule]) {
    plant(Some(bug));
    let mut missing = signs.to_vec();
    for seed in 0..SEEDS_MAX {
        let found = check(&simulate(seed), &Limits::default()).unwrap();
        missing.retain(|sign| {
            let Some((count, shown)) = found.violations.get(sign) else { return true };
            println!("{}: caught by seed {seed}, of {SEEDS_MAX}: {sign:?}, {count} times: {}", bug.name(), shown[0]);
            false
        });
        if missing.is_empty() {
            return;
        }
    }
    panic!("{}: in {SEEDS_MAX} seeds nobody said {missing:?}", bug.name());
}

#[test]
fn a_notice_that_is_ignored_is_caught() {
    is_caught(Bug::NoticeIgnored, &[Rule::Staleness, Rule::Resurrection]);
}

#[test]
fn a_value_that_enters_though_its_key_changed_is_caught() {
    is_caught(Bug::EntryDespiteChange, &[Rule::Staleness, Rule::OwnWrites]);
}

#[test]
fn a_memory_that_answers_unheard_is_caught() {
    is_caught(Bug::VouchedUnheard, &[Rule::Staleness]);
}

#[test]
fn a_fill_without_its_lease_is_caught() {
    is_caught(Bug::FillWithoutLease, &[Rule::Resurrection]);
}
