//! Consumers of several languages are one group and share one file of sums, while transactions go on coming. Each is killed
//! once with SIGKILL in the middle of it: no record is lost, and none counts twice.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use headwater_domain::format_units;
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use support::{Language, Topic, counts};

/// What is there at the start, so that the first members are in the middle of it.
const BACKLOG: &str = "4000";
/// How many come in a second.
const RATE: u32 = 250;
/// Lines that a member has said before it is killed.
const LINES: usize = 25;

/// What the file holds.
struct State {
    records: i64,
    sums: BTreeMap<String, Json>,
    /// The next offsets of all partitions, added up.
    next: i64,
}

#[test]
fn members_of_several_languages_share_a_state_and_survive_kills() {
    let topic = Topic::make("state");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sums.sqlite3");
    let group = format!("{}-shared", topic.name);
    let start =
        |language: Language| language.member(&topic, &group, folder.path(), &["--state", file.to_str().unwrap()]);

    Language::Rust.produce(&topic, &["--count", BACKLOG]);
    let mut producer = Language::Python.producer(&topic, folder.path(), RATE);
    let mut members = Language::ALL.map(start);
    let mut killed = Vec::new();
    for (place, language) in Language::ALL.into_iter().enumerate() {
        members[place].until("counts", |member| member.counted() >= LINES);
        let victim = std::mem::replace(&mut members[place], start(language)).kill();
        killed.push((language, victim.counted(), State::read(&file).records));
    }
    // Those that came back count, too, and only then is there an end.
    for member in &mut members {
        member.until("counts again", |member| member.counted() >= LINES);
    }
    assert!(producer.runs(), "there was nothing to count in the end");
    let sent = producer.stop();

    let read = topic.read();
    println!("{} transactions, {sent}", read.transactions);
    for (language, lines, records) in killed {
        println!("{} was killed after {lines} lines, with {records} records in the file", language.name());
        assert!(lines > 0 && lines < read.transactions as usize && records < read.transactions as i64);
    }
    // Where every partition's end is reached nothing can be added any more: more than was read would be there now.
    members[0].until("the end of every partition", |_| State::read(&file).next >= read.end);
    for (language, member) in Language::ALL.into_iter().zip(members) {
        let summary = member.stop();
        assert_eq!(summary["skipped"], json!({}), "{}: {summary}", language.name());
        let sums: BTreeMap<String, Json> = serde_json::from_value(summary["sums"].clone()).unwrap();
        assert_eq!(sums, read.sums, "{}", language.name());
        println!("{}: {}", language.name(), counts(&summary));
    }
    let state = State::read(&file);
    assert_eq!((state.records, state.next), (read.transactions as i64, read.end));
    assert_eq!(state.sums, read.sums);
}

#[test]
fn a_group_that_was_counted_with_another_file_is_refused_by_every_language() {
    let topic = Topic::make("other-state");
    Language::Rust.produce(&topic, &["--count", "100"]);
    let folder = tempfile::tempdir().unwrap();
    for first in Language::ALL {
        let group = format!("{}-{}", topic.name, first.name());
        let file = |name: &str| folder.path().join(format!("{}-{name}.sqlite3", first.name()));
        let options = |file: &Path| ["--state", file.to_str().unwrap(), "--count", "100"].map(str::to_owned);
        let consume = |language: Language, file: &Path| {
            let options = options(file);
            language.ends(&topic, &group, &options.each_ref().map(String::as_str))
        };
        let (code, said) = consume(first, &file("first"));
        assert_eq!(code, Some(0), "{}: {said}", first.name());
        std::thread::scope(|scope| {
            for second in Language::ALL {
                let (consume, file) = (&consume, file(second.name()));
                scope.spawn(move || {
                    let (code, said) = consume(second, &file);
                    assert_eq!(code, Some(3), "{} after {}: {said}", second.name(), first.name());
                    let told = said.contains("another state") && said.contains("state:");
                    assert!(told, "{} after {}: {said}", second.name(), first.name());
                });
            }
        });
    }
}

#[test]
fn an_offset_outside_the_log_is_told_by_every_language() {
    let topic = Topic::make("outside");
    Language::Rust.produce(&topic, &["--count", "100"]);
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for language in Language::ALL {
            let (topic, folder) = (&topic, folder.path());
            scope.spawn(move || {
                let file = folder.join(language.name());
                let group = format!("{}-{}", topic.name, language.name());
                let options = ["--state", file.to_str().unwrap(), "--count", "100"];
                let (code, said) = language.ends(topic, &group, &options);
                assert_eq!(code, Some(0), "{}: {said}", language.name());
                Connection::open(&file).unwrap().execute("UPDATE offsets SET next = next + 1000", ()).unwrap();
                let (code, said) = language.ends(topic, &group, &options);
                assert_eq!(code, Some(3), "{}: {said}", language.name());
                assert!(said.contains("outside the log"), "{}: {said}", language.name());
                assert_eq!(State::read(&file).records, 100);
            });
        }
    });
}

impl State {
    fn read(file: &Path) -> Self {
        let db = Connection::open(file).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        let mut query = db.prepare("SELECT account, units, count FROM sums").unwrap();
        let rows = query.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        let rows: Vec<(String, String, i64)> = rows.collect::<Result<_, _>>().unwrap();
        let sum = |(account, units, _): &(String, String, i64)| {
            (account.clone(), json!(format_units(units.parse().unwrap(), 2)))
        };
        Self {
            records: rows.iter().map(|row| row.2).sum(),
            sums: rows.iter().map(sum).collect(),
            next: db.query_row("SELECT coalesce(sum(next), 0) FROM offsets", (), |row| row.get(0)).unwrap(),
        }
    }
}
