//! The programs of every language take the same flags, and want the same.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use support::Language;

const PRODUCER: &str = "headwater-produce-transactions";
const CONSUMER: &str = "headwater-consume-transactions";
/// A newer contract is read at run time in Rust alone; the others are generated anew.
const RUST_ALONE: &str = "--contracts";

fn run(language: Language, program: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(language.program(program)).args(more).stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.code(), said)
}

/// The long flags that a help text lists: each is the first or second word of its line.
fn flags(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split_whitespace().take(4));
    let flags = words.filter(|word| word.starts_with("--")).map(|word| word.trim_end_matches(',').to_owned());
    flags.filter(|flag| flag != RUST_ALONE).collect()
}

#[test]
fn every_language_takes_the_same_flags() {
    for program in [PRODUCER, CONSUMER] {
        let [rust, python, scala] = Language::ALL.map(|language| {
            let (code, help) = run(language, program, &["--help"]);
            assert_eq!(code, Some(0), "{}: {help}", language.name());
            flags(&help)
        });
        assert!(rust.len() > 10, "{rust:?}");
        assert_eq!(rust, python, "{program} of Rust and Python");
        assert_eq!(rust, scala, "{program} of Rust and Scala");
    }
}

#[test]
fn what_is_missing_is_named_at_once() {
    let common = ["--broker", "--schema-registry", "--topic"];
    for (program, wanted) in [(PRODUCER, common.to_vec()), (CONSUMER, [&common[..], &["--group"]].concat())] {
        for language in Language::ALL {
            let (code, said) = run(language, program, &[]);
            assert_eq!(code, Some(2), "{}: {said}", language.name());
            for flag in &wanted {
                assert!(said.contains(flag), "{}: {flag}: {said}", language.name());
            }
        }
    }
}
