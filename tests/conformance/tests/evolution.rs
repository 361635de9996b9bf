//! The transaction's contract gains a field while old and new programs run; what would break it is refused three times.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use headwater_conformance::contract;
use headwater_testkit::{POSTGRES, require, tools_dir, unique};
use serde_json::{Value as Json, json};
use support::newer::{Newer, copy};
use support::platform::{EVENT, Platform, named, serve};
use support::{Language, Topic, counts, evolution, shipped};

/// How long the platform may take to see at its start that it cannot go on.
const START_MAX: Duration = Duration::from_secs(20);
/// Transactions that a new producer of each language sends.
const NEWER_EACH: usize = 60;
const BREAKING: [&str; 2] = ["other_type", "reused_number"];

/// Transactions that have the newer field, as a file for a producer.
fn file_of_newer(folder: &Path, language: Language) -> PathBuf {
    let path = folder.join(format!("{}.ndjson", language.name()));
    let line = |number: usize| {
        let id = format!("{}-{number}", unique(language.name()));
        let now = prost_types::Timestamp::from(SystemTime::now()).to_string();
        let account = format!("ACC-{:04}", number % 25);
        let transaction = json!({"transaction_id": id, "account_number": account, "transaction_datetime": now,
            "amount": number as f64 / 4.0, "currency": "EUR"});
        format!("{transaction}\n")
    };
    fs::write(&path, (0..NEWER_EACH).map(line).collect::<String>()).unwrap();
    path
}

#[test]
fn old_and_new_programs_run_together() {
    let newer = Newer::build();
    let topic = Topic::make("evolution");
    let platform = Platform::start(&topic, &shipped());
    for old in Language::ALL {
        old.produce(&topic, &["--count", "100"]);
    }
    topic.register(&contract(Some(&evolution("newer"))).unwrap());
    let folder = tempfile::tempdir().unwrap();
    for language in Language::ALL {
        let file = file_of_newer(folder.path(), language);
        let produced = newer.produce(language, &topic, &["-i", file.to_str().unwrap()]);
        assert_eq!((&produced["sent"], &produced["refused"]), (&json!(NEWER_EACH), &json!(0)), "{}", language.name());
    }
    // Old ones that start now find the newer text.
    for old in Language::ALL {
        old.produce(&topic, &["--count", "50"]);
    }
    let read = topic.read();
    let (all, of_newer) = (450 + 3 * NEWER_EACH as u64, 3 * NEWER_EACH as u64);
    assert_eq!(read.transactions, all);
    let count = all.to_string();
    let until = ["--count", &count, "--idle-exit", "20"];
    let holds = |who: &str, summary: &Json, newer_fields: u64| {
        assert_eq!(
            (&summary["counted"], &summary["newer_fields"]),
            (&json!(all), &json!(newer_fields)),
            "{who}: {summary}"
        );
        let sums: BTreeMap<String, Json> = serde_json::from_value(summary["sums"].clone()).unwrap();
        assert_eq!(sums, read.sums, "{who}");
        println!("{who}: {}", counts(summary));
    };
    for language in Language::ALL {
        // To the old ones the field is one that they do not know, to the new ones it is not.
        std::thread::scope(|scope| {
            let (newer, topic, until, holds) = (&newer, &topic, &until, &holds);
            scope.spawn(move || holds(language.name(), &language.consume(topic, "old", until), of_newer));
            let name = format!("newer {}", language.name());
            scope.spawn(move || holds(&name, &newer.consume(language, topic, until), 0));
        });
    }
    // A platform of the old contract that was there all the time, and one that starts with the newer.
    assert_eq!(platform.sums(&read.sums), read.sums, "the platform");
    assert_eq!(Platform::start(&topic, &evolution("newer")).sums(&read.sums), read.sums, "the newer platform");
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
fn the_registry_itself_answers_with_a_conflict() {
    let topic = Topic::make("conflict");
    let versions = format!("{}/subjects/{}-value/versions", topic.registry, topic.name);
    let http = reqwest::Client::new();
    let status = |from: &str, to: &str| {
        topic.runtime.block_on(async {
            let latest: Json = http.get(format!("{versions}/latest")).send().await.unwrap().json().await.unwrap();
            let text = latest["schema"].as_str().unwrap();
            assert!(text.contains(from), "{text}");
            let body = json!({"schemaType": "PROTOBUF", "schema": text.replace(from, to),
                "references": latest["references"].as_array().cloned().unwrap_or_default()});
            let answer = http.post(&versions).header("content-type", "application/vnd.schemaregistry.v1+json");
            answer.body(body.to_string()).send().await.unwrap().status().as_u16()
        })
    };
    let field = "string transaction_reference = 3";
    assert_eq!(status(field, "int64 transaction_reference = 3"), 409);
    assert_eq!(status(field, "repeated int64 labels = 3"), 409);
    assert_eq!(status(field, &format!("string currency = 6; {field}")), 200);
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
