//! The program: what it reads, prints and ends with.

use std::process::{Command, Output};

use headwater_coherence::history::Layer::{L1, L2};
use headwater_coherence::history::Recorder;

use crate::story::Story;

fn judged(story: &Story) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    let recorder = Recorder::create(file.path()).unwrap();
    for line in &story.0 {
        recorder.add(line).unwrap();
    }
    recorder.finish().unwrap();
    Command::new(env!("CARGO_BIN_EXE_headwater-coherence-check")).arg(file.path()).output().unwrap()
}

fn enough() -> Story {
    Story::new()
        .set("a@1", (0, 1), "x")
        .get("b@2", (2, 3), L2, Some("x"))
        .get("b@2", (4, 5), L1, Some("x"))
        .delete("a@1", (6, 7))
}

#[test]
fn its_end_says_what_a_history_is_worth() {
    let good = judged(&enough());
    let text = String::from_utf8(good.stdout).unwrap();
    assert_eq!(good.status.code(), Some(0), "{text}");
    assert!(text.contains("4 operations of 2 clients on 1 keys") && text.ends_with("everything holds\n"), "{text}");
    assert!(text.contains("1 get: l1 hit") && text.contains("1 get: l2 hit"), "{text}");

    let bad = judged(&enough().get("b@2", (900, 901), L1, Some("x")));
    let text = String::from_utf8(bad.stdout).unwrap();
    assert_eq!(bad.status.code(), Some(1), "{text}");
    assert!(text.contains("Staleness: 1 violations") && text.contains("b through 2: get: x from l1"), "{text}");

    let empty = judged(&Story::new());
    assert_eq!(empty.status.code(), Some(2), "an empty history is not a good one");

    let none = Command::new(env!("CARGO_BIN_EXE_headwater-coherence-check")).arg("/nowhere").output().unwrap();
    assert_eq!(none.status.code(), Some(3));
}
