//! Every producer with every consumer, through real Kafka and a real registry: 1,000 transactions of 20 accounts over 4
//! partitions, one foreign record, and one of a newer schema.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use support::{Language, PARTITIONS, Topic, counts};

const TRANSACTIONS: u64 = 1000;
const ACCOUNTS: usize = 20;

/// Produces, adds the foreign record and the newer one, and lets every language consume.
fn row(producer: Language) {
    let topic = Topic::make(&format!("matrix-{}", producer.name()));
    let produced = producer.produce(&topic, &["--count", "1000", "--customers", "20", "--seed", "6"]);
    assert_eq!((produced["sent"].as_u64(), produced["refused"].as_u64()), (Some(TRANSACTIONS), Some(0)), "{produced}");
    topic.append_foreign("ACC-0001", b"{\"not\": \"a frame\"}");
    topic.append_newer("ACC-0002", 1.25);

    let read = topic.read();
    assert_eq!(read.transactions, TRANSACTIONS + 1);
    assert_eq!(read.sums.len(), ACCOUNTS);
    assert!(read.partitions > 1, "all keys on one partition of {PARTITIONS}");
    // At the same time: most of the wait is a runtime's start.
    std::thread::scope(|scope| {
        let cells = Language::ALL.map(|consumer| {
            let topic = &topic;
            (consumer, scope.spawn(move || consumer.consume(topic, "all", &["--count", "1002", "--idle-exit", "20"])))
        });
        for (consumer, cell) in cells {
            let summary = cell.join().unwrap();
            assert_eq!(summary["records"], json!(1002), "{}: {summary}", consumer.name());
            assert_eq!(summary["counted"], json!(1001), "{}: {summary}", consumer.name());
            assert_eq!(summary["skipped"], json!({"BAD_FRAME": 1}), "{}: {summary}", consumer.name());
            assert_eq!(summary["newer_fields"], json!(1), "{}: {summary}", consumer.name());
            let sums: BTreeMap<String, Json> = serde_json::from_value(summary["sums"].clone()).unwrap();
            assert_eq!(sums, read.sums, "{}", consumer.name());
            println!("{} to {}: {}", producer.name(), consumer.name(), counts(&summary));
        }
    });
}

#[test]
fn rust_produces_for_every_language() {
    row(Language::Rust);
}

#[test]
fn python_produces_for_every_language() {
    row(Language::Python);
}

#[test]
fn scala_produces_for_every_language() {
    row(Language::Scala);
}
