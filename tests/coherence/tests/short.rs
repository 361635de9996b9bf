//! The short runs: real processes on a Redis of their own, with the checker's judgement.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

/// Always the same, so that the test does not change from day to day; `make coherence` chooses another each time.
const SEED: &str = "20261121";

fn holds(plan: &str, seconds: &str) {
    let coherence = Path::new(env!("CARGO_BIN_EXE_headwater-coherence"));
    // Of another package: cargo builds it for the tests of the whole workspace, and not for those of this package alone.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let built =
        Command::new(cargo).args(["build", "--quiet", "--bin", "headwater"]).current_dir(root).status().unwrap();
    assert!(built.success(), "headwater was not built");
    let run = ["run", "--plan", plan, "--seed", SEED, "--seconds", seconds];
    let status = Command::new(coherence).args(run).status().unwrap();
    assert!(status.success(), "what does not hold is said above ({status})");
}

#[test]
fn answers_keep_the_promises_while_links_and_replicas_break() {
    holds("links", "8");
}

#[test]
fn answers_keep_the_bound_after_a_failover() {
    holds("failover", "6");
}
