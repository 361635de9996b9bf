//! The short run: every kind of fault at least once, on servers and processes of its own, with the checker's judgement.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

/// Always the same plan, so that the test does not change from day to day; `make faults` chooses another each time.
const SEED: &str = "20261121";

#[test]
fn nothing_is_lost_or_doubled_whatever_is_killed() {
    let faults = Path::new(env!("CARGO_BIN_EXE_headwater-faults"));
    // Of another package: cargo builds it for the tests of the whole workspace, and not for those of this package alone.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let built =
        Command::new(cargo).args(["build", "--quiet", "--bin", "headwater"]).current_dir(root).status().unwrap();
    assert!(built.success(), "headwater was not built");
    let status = Command::new(faults).args(["run", "--plan", "short", "--seed", SEED]).status().unwrap();
    assert!(status.success(), "what does not hold is said above ({status})");
}
