//! Any events, counted as brute force over the events themselves counts them.

use std::collections::{BTreeMap, BTreeSet};

use headwater_domain::{
    Column, ColumnType, Event, LiveBatch, StatKind, StatSpec, StoredEvent, StreamSchema, Value, Verdict, Window,
    operations,
};
use headwater_live::{ApplyOutcome, Figure, ReadRequest};
use proptest::{
    prelude::{Just, Strategy, prop_oneof},
    sample::select,
    test_runner::{Config, TestRunner},
};

use crate::{
    contract::{AMOUNTS, PAGES, SESSIONS, TOTAL, USERS, figure, generation, now_ms, read, request},
    store::{DAY_MS, HOUR_MS, MINUTE_MS, Store, WINDOW_MAX_MS},
};

const CASES: u32 = 20;
const EVENTS_MAX: usize = 150;
const PARTITIONS: i32 = 3;
const STATS: [(usize, StatKind); 5] = [USERS, PAGES, SESSIONS, AMOUNTS, TOTAL];

#[derive(Clone, Debug)]
struct Sample {
    partition: i32,
    /// How long before now it happened; negative for events ahead.
    age_ms: i64,
    user: &'static str,
    page: &'static str,
    session: &'static str,
    amount: i64,
    is_flagged: bool,
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let edges = [MINUTE_MS, 5 * MINUTE_MS, HOUR_MS, DAY_MS, DAY_MS + MINUTE_MS];
    let age_ms = prop_oneof![
        0..2 * MINUTE_MS,
        0..2 * HOUR_MS,
        0..DAY_MS + 2 * HOUR_MS,
        -5 * MINUTE_MS..0,
        (select(edges.to_vec()), -2..=2_i64).prop_map(|(edge, off)| edge + off),
    ];
    let users = vec!["", "ann", "bob", "\u{1f980}", "a:b", "{x}"];
    let pages = vec!["/", "/cart", "/a b", "\0", ""];
    let amount = prop_oneof![-100..100_i64, Just(0), -(1_i64 << 53) + 1..1_i64 << 53];
    let sample = (
        0..PARTITIONS,
        age_ms,
        select(users),
        select(pages),
        select(vec!["", "s1", "s2", "s3"]),
        amount,
        proptest::bool::weighted(0.1),
    );
    let sample = sample.prop_map(|(partition, age_ms, user, page, session, amount, is_flagged)| Sample {
        partition,
        age_ms,
        user,
        page,
        session,
        amount,
        is_flagged,
    });
    proptest::collection::vec(sample, 0..EVENTS_MAX)
}

fn schema() -> StreamSchema {
    let columns = [
        ("event_id", ColumnType::Text),
        ("timestamp", ColumnType::Time),
        ("user_id", ColumnType::Text),
        ("page_url", ColumnType::Text),
        ("session_id", ColumnType::Text),
        ("amount", ColumnType::I64),
    ];
    let column = |(number, (name, kind)): (u32, (&str, ColumnType))| Column { name: name.to_owned(), number, kind };
    let stat =
        |(index, kind): (usize, StatKind)| StatSpec { name: format!("stat_{index}"), title: String::new(), kind };
    StreamSchema {
        name: "events".into(),
        table: "events".into(),
        message: "test.v1.Event".into(),
        columns: (1..).zip(columns).map(column).collect(),
        id: 0,
        key: 2,
        time: 1,
        indexes: vec![],
        stats: STATS.into_iter().map(stat).collect(),
        rules: vec![],
    }
}

fn stored(offset: i64, sample: &Sample, now: i64) -> StoredEvent {
    let values = vec![
        Value::Text(format!("{}-{offset}", sample.partition)),
        Value::Time((now - sample.age_ms) * 1000 + 999),
        Value::Text(sample.user.into()),
        Value::Text(sample.page.into()),
        Value::Text(sample.session.into()),
        Value::I64(sample.amount),
    ];
    let verdict = match sample.is_flagged {
        true => Verdict::Flagged { rule: "bot".into(), version: 1, count: 11 },
        false => Verdict::Counted,
    };
    StoredEvent { offset, appended_ms: now, event: Event { values, unknown: vec![] }, verdict }
}

/// The figures that the events have, found the slow way.
fn brute_force(samples: &[Sample], stat: (usize, StatKind), window: Option<Window>, now: i64, as_of: i64) -> Expected {
    let mut members: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut sums: Expected = BTreeMap::new();
    for sample in samples.iter().filter(|sample| !sample.is_flagged) {
        let time_ms = now - sample.age_ms;
        let text = |column: usize| [sample.user, sample.page, sample.session][column - 2];
        let key = stat.1.by().map_or("", text);
        match stat.1 {
            StatKind::Distinct { field, .. } => {
                if window.is_none_or(|window| time_ms >= window.start_ms(as_of)) {
                    members.entry(key).or_default().insert(text(field));
                }
            }
            StatKind::Top { .. } | StatKind::Sum { .. } => {
                if window.is_none_or(|window| time_ms >= window.minute_start_ms(as_of)) {
                    let amount = if matches!(stat.1, StatKind::Top { .. }) { 1 } else { sample.amount };
                    *sums.entry(key.to_owned()).or_default() += amount;
                }
            }
        }
    }
    sums.extend(members.into_iter().map(|(key, members)| (key.to_owned(), members.len() as i64)));
    sums
}

type Expected = BTreeMap<String, i64>;

async fn counts_as_brute_force(store: &Store, shards: u32, samples: &[Sample], batch_max: usize) {
    let now = now_ms();
    let schema = schema();
    let generation = generation(shards);
    for partition in 0..PARTITIONS {
        let of_partition: Vec<_> = samples.iter().filter(|sample| sample.partition == partition).collect();
        let events: Vec<_> = (0..).zip(of_partition).map(|(offset, sample)| stored(offset, sample, now)).collect();
        for chunk in events.chunks(batch_max) {
            let (first, next) = (chunk[0].offset, chunk[0].offset + chunk.len() as i64);
            let operations = operations(&schema, chunk, WINDOW_MAX_MS);
            let batch = LiveBatch { partition, first, next, is_start: first == 0, operations };
            for _ in 0..1 + first % 2 {
                assert_eq!(store.live().apply(&generation, &batch).await, Ok(ApplyOutcome::Applied));
            }
        }
    }
    for stat in STATS {
        let lengths = [Some(MINUTE_MS), Some(5 * MINUTE_MS), Some(HOUR_MS), Some(DAY_MS), None];
        for (length_ms, ahead_ms) in
            lengths.into_iter().flat_map(|length| [0, 90_000, -8 * MINUTE_MS].map(|ms| (length, ms)))
        {
            let is_distinct = matches!(stat.1, StatKind::Distinct { .. });
            // The history answers the one; and what had passed the longest window at its arrival is not in the other.
            if (is_distinct && length_ms.is_none()) || (length_ms == Some(DAY_MS) && ahead_ms < 0) {
                continue;
            }
            let as_of = now + ahead_ms;
            let window = length_ms.map(|length_ms| Window::new(length_ms, WINDOW_MAX_MS).unwrap());
            let ask = request(stat, window, as_of);
            let expected = brute_force(samples, stat, window, now, as_of);
            let figures = read(store, &generation, &ask).await;
            assert_eq!(figures.key_count, expected.len() as u64, "{stat:?} {length_ms:?} {ahead_ms}");
            if stat.1.by().is_none() {
                let sum = expected.get("").copied().unwrap_or(0);
                assert_eq!(figures.entries, [(String::new(), Figure::Units(sum))], "{stat:?} {length_ms:?} {ahead_ms}");
                continue;
            }
            let mut ordered: Vec<_> = expected.iter().map(|(key, sum)| (key.clone(), *sum)).collect();
            ordered.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            let ordered: Vec<_> = ordered.into_iter().map(|(key, sum)| (key, Figure::Units(sum))).collect();
            assert_eq!(figures.entries, ordered, "{stat:?} {length_ms:?} {ahead_ms}");
            let page = read(store, &generation, &ReadRequest { skip: 1, limit: 2, ..ask.clone() }).await;
            assert_eq!(page.entries, ordered.iter().skip(1).take(2).cloned().collect::<Vec<_>>());
            for key in expected.keys() {
                assert_eq!(
                    figure(store, &generation, &ask, key).await,
                    Figure::Units(expected[key]),
                    "{stat:?} {key:?}"
                );
            }
        }
    }
    store.live().remove(&generation).await.unwrap();
}

fn runs(store: &Store, shards: u32) {
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let runtime = tokio::runtime::Handle::current();
    let input = (samples(), 1..40_usize);
    let result = runner.run(&input, |(samples, batch_max)| {
        runtime.block_on(counts_as_brute_force(store, shards, &samples, batch_max));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

pub(crate) async fn one_shard_counts_as_brute_force_does(store: &Store) {
    tokio::task::block_in_place(|| runs(store, 1));
}

pub(crate) async fn sixteen_shards_count_as_brute_force_does(store: &Store) {
    tokio::task::block_in_place(|| runs(store, 16));
}
