//! The transaction's contract gains a field while old and new programs run; what would break it is refused three times.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use headwater_conformance::contract;
use headwater_testkit::{POSTGRES, require, tools_dir};
use serde_json::{Value as Json, json};
use support::platform::{EVENT, named, serve};
use support::{Language, Topic, evolution};

/// How long the platform may take to see at its start that it cannot go on.
const START_MAX: Duration = Duration::from_secs(20);
const BREAKING: [&str; 2] = ["other_type", "reused_number"];

#[test]
fn old_and_new_programs_run_together() {
    let topic = Topic::make("evolution");
    for old in Language::ALL {
        old.produce(&topic, &["--count", "100"]);
    }
    let newer = evolution("newer");
    topic.register(&contract(Some(&newer)).unwrap());
    let newer = newer.to_str().unwrap();
    Language::Rust.produce(&topic, &["--count", "100", "--seed", "9", "--contracts", newer]);
    // Old ones that start now find the newer text.
    for old in Language::ALL {
        old.produce(&topic, &["--count", "50"]);
    }
    let read = topic.read();
    assert_eq!(read.transactions, 550);
    let until = ["--count", "550", "--idle-exit", "20"];
    let holds = |who: &str, summary: &Json, newer_fields: u64| {
        println!("{who}: {summary}");
        assert_eq!((&summary["counted"], &summary["newer_fields"]), (&json!(550), &json!(newer_fields)), "{who}");
        let sums: BTreeMap<String, Json> = serde_json::from_value(summary["sums"].clone()).unwrap();
        assert_eq!(sums, read.sums, "{who}");
    };
    for old in Language::ALL {
        holds(old.name(), &old.consume(&topic, "old", &until), 100);
    }
    let more = [&until[..], &["--contracts", newer]].concat();
    holds("newer rust", &Language::Rust.consume(&topic, "new", &more), 0);
}

#[test]
fn buf_refuses_what_breaks_the_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let breaks = |change: &str| {
        let folder = tempfile::tempdir().unwrap();
        copy(&root.join("proto"), &folder.path().join("proto"));
        copy(&root.join("third_party/proto"), &folder.path().join("third_party/proto"));
        fs::copy(root.join("buf.yaml"), folder.path().join("buf.yaml")).unwrap();
        fs::copy(evolution(change).join(EVENT), folder.path().join("proto").join(EVENT)).unwrap();
        let output = Command::new(tools_dir().join("bin/buf"))
            .args(["breaking", "--against"])
            .arg(&root)
            .current_dir(folder.path())
            .output()
            .expect("buf: `tools/setup` installs it");
        (output.status.success(), [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat())
    };
    assert_eq!(breaks("newer"), (true, String::new()));
    for change in BREAKING {
        let (holds, said) = breaks(change);
        assert!(!holds && said.contains("\"3\""), "{change}: {said}");
    }
}

#[test]
fn the_registry_refuses_what_breaks_the_contract() {
    let topic = Topic::make("breaking");
    for change in BREAKING {
        let error = topic.try_register(&contract(Some(&evolution(change))).unwrap()).unwrap_err();
        assert!(error.contains("incompatible") && error.contains(&topic.name), "{change}: {error}");
    }
    topic.register(&contract(Some(&evolution("newer"))).unwrap());
}

#[test]
fn the_platform_does_not_start_with_a_contract_that_breaks() {
    let topic = Topic::make("start");
    for change in BREAKING {
        let contracts = named(&evolution(change), &topic.name);
        let mut child = serve("ingest", contracts.path(), &require(POSTGRES))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that does start fails the test, and does not hang it.
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > START_MAX {
                child.kill().unwrap();
            }
            sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert_eq!(output.status.code(), Some(1), "{change}: {said}");
        assert!(said.contains("incompatible") && said.contains(&topic.name), "{change}: {said}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
