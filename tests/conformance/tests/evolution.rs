//! The transaction's contract gains a field while old and new programs run; what would break it is refused three times.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use headwater_conformance::contract;
use headwater_testkit::{KAFKA, POSTGRES, REDIS, REGISTRY, require, tools_dir, unique};
use serde_json::{Value as Json, json};
use support::{Language, Topic, evolution};

/// How long the platform may take to see at its start that it cannot go on, in seconds.
const START_MAX_S: &str = "20";
const BREAKING: [&str; 2] = ["other_type", "reused_number"];
const EVENT: &str = "headwater/event/v1/transaction.proto";

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
    let headwater = Path::new(env!("CARGO_BIN_EXE_headwater-consume-transactions")).with_file_name("headwater");
    assert!(headwater.exists(), "{} is not there: run `cargo build -p headwater`", headwater.display());
    for change in BREAKING {
        let contracts = named(change, &topic.name);
        // With an end, so that a platform that does start fails the test and does not hang it.
        let output = Command::new("timeout")
            .args(["-s", "KILL", START_MAX_S])
            .arg(&headwater)
            .args(["serve", "--role", "ingest", "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"])
            .args(["--contracts".as_ref(), contracts.path().as_os_str()])
            .args(["--kafka-brokers", &require(KAFKA), "--registry-url", &require(REGISTRY)])
            .args(["--redis-url", &require(REDIS), "--postgres-url", &require(POSTGRES)])
            .args(["--kafka-group", &unique("start"), "--redis-prefix", &unique("start")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert_eq!(output.status.code(), Some(1), "{change}: {said}");
        assert!(said.contains("incompatible") && said.contains(&topic.name), "{change}: {said}");
    }
}

/// The changed contract, with the topic as the stream's name: the platform's topic has that of the stream.
fn named(change: &str, topic: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(evolution(change).join(EVENT)).unwrap();
    let path = folder.path().join(EVENT);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text.replace("name: \"transactions\"", &format!("name: \"{topic}\""))).unwrap();
    folder
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
