//! The same sums wherever they are counted: by the platform, by a group of one language, by a group of several, by one alone.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;

use headwater_domain::format_units;
use serde_json::{Value as Json, json};
use support::platform::Platform;
use support::{Language, PARTITIONS, Topic, counts, shipped, until};

/// Lines of a file that is published through the platform itself.
const PUBLISHED: usize = 60;

fn sums(summary: &Json) -> BTreeMap<String, Json> {
    serde_json::from_value(summary["sums"].clone()).unwrap()
}

#[test]
fn the_platform_counts_what_consumers_of_every_language_count() {
    let topic = Topic::make("aggregates");
    let platform = Platform::start(&topic, &shipped());
    for producer in Language::ALL {
        producer.produce(&topic, &["--count", "400"]);
    }
    topic.append_foreign("ACC-0001", b"no frame");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("transactions.ndjson");
    let now = prost_types::Timestamp::from(std::time::SystemTime::now());
    let line = |number: usize| {
        let account = format!("ACC-{:04}", number % 30);
        let amount = number as f64 / 4.0 - 7.0;
        format!("{}\n", json!({"account_number": account, "transaction_datetime": now.to_string(), "amount": amount}))
    };
    fs::write(&file, (0..PUBLISHED).map(line).collect::<String>()).unwrap();
    platform.publish(&file);

    let read = topic.read();
    assert_eq!((read.transactions, read.partitions), (1200 + PUBLISHED as u64, PARTITIONS as usize));
    assert_eq!(platform.sums(&read.sums), read.sums);
    std::thread::scope(|scope| {
        let groups = Language::ALL.map(|consumer| {
            let topic = &topic;
            (consumer, scope.spawn(move || consumer.consume(topic, "all", &["--count", "1261", "--idle-exit", "20"])))
        });
        for (consumer, group) in groups {
            let summary = group.join().unwrap();
            assert_eq!((&summary["counted"], &summary["skipped"]), (&json!(1260), &json!({"BAD_FRAME": 1})));
            assert_eq!(sums(&summary), read.sums, "{}", consumer.name());
            println!("{}: {}", consumer.name(), counts(&summary));
        }
    });
    // And nothing more has come meanwhile.
    assert_eq!(platform.sums(&read.sums), read.sums);
    println!("platform: account_total of {} accounts, as the topic's", read.sums.len());
}

#[test]
fn a_group_of_several_languages_counts_what_one_alone_counts() {
    const RECORDS: usize = 1500;
    let topic = Topic::make("together");
    let folder = tempfile::tempdir().unwrap();
    let group = format!("{}-together", topic.name);
    let members = Language::ALL.map(|language| (language, language.member(&topic, &group, folder.path(), &[])));
    // Before the first record: without a file of sums one is counted where it was read.
    topic.until_stable(&group, members.len());
    Language::Rust.produce(&topic, &["--count", &RECORDS.to_string()]);
    let read = topic.read();
    assert_eq!(read.partitions, PARTITIONS as usize);
    let counted = || members.iter().map(|(_, member)| member.counted()).sum::<usize>();
    until("all is counted", || (counted() >= RECORDS).then_some(()));
    let mut together = BTreeMap::<String, i64>::new();
    let mut counted = 0;
    for (language, member) in members {
        let summary = member.stop();
        println!("{}: {} counted", language.name(), summary["counted"]);
        let own = summary["counted"].as_u64().unwrap();
        assert!(own > 0, "{} had nothing to count", language.name());
        counted += own;
        for (account, sum) in sums(&summary) {
            let cents: i64 = sum.as_str().unwrap().replace('.', "").parse().unwrap();
            *together.entry(account).or_default() += cents;
        }
    }
    assert_eq!(counted, RECORDS as u64);
    let together: BTreeMap<String, Json> =
        together.into_iter().map(|(account, cents)| (account, json!(format_units(cents, 2)))).collect();
    assert_eq!(together, read.sums);
    let alone = Language::Scala.consume(&topic, "alone", &["--count", &RECORDS.to_string(), "--idle-exit", "20"]);
    assert_eq!(sums(&alone), together);
}
