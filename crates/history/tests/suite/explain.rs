//! What became of the records with an event's id.

use headwater_domain::{BatchCommit, DeadLetter, Duplicate, Reason, StreamSchema, Verdict};
use headwater_history::{ExplainPage, ExplainPlace, ExplainQuery, Explained, Fate};

use crate::events::{DAY_US, NOON_US, USER, batch, clicks, counted, event, flagged, letter, shared};
use crate::world::World;

fn duplicate(offset: i64, id: &str, time_us: i64, of: (i32, i64)) -> Duplicate {
    Duplicate { offset, id: id.to_owned(), time_us, of_partition: of.0, of_offset: of.1 }
}

fn dead(offset: i64, id: Option<&str>) -> DeadLetter {
    DeadLetter { id: id.map(str::to_owned), ..letter(offset, None, Some(vec![1])) }
}

/// A page of all there is.
async fn explain(world: &World, schema: &StreamSchema, id: &str) -> ExplainPage {
    let query = ExplainQuery { id: id.to_owned(), after: None, limit: 1000 };
    world.history.explain(schema, &query).await.unwrap()
}

fn places(records: &[Explained]) -> Vec<(i32, i64)> {
    records.iter().map(|record| (record.partition, record.offset)).collect()
}

/// Two partitions with events, duplicates and dead letters, most of them of the id "x".
async fn filled(world: &World) -> StreamSchema {
    let schema = clicks();
    world.ready(&schema).await;
    world.history.take(&schema, 1, "test").await.unwrap();
    let first = BatchCommit {
        duplicates: vec![duplicate(2, "x", NOON_US + 7, (0, 1)), duplicate(3, "y", NOON_US, (0, 0))],
        dead: vec![dead(4, Some("x")), dead(5, None), dead(6, Some("y"))],
        ..batch(
            0,
            1,
            0,
            7,
            vec![counted(0, event("y", NOON_US, "u", "view")), flagged(1, event("x", NOON_US + 7, "", "v"))],
        )
    };
    let mut nobody = event("x", NOON_US - 3 * DAY_US, "", "v");
    nobody.values[USER] = headwater_domain::Value::Null;
    let second = BatchCommit {
        duplicates: vec![duplicate(8, "x", NOON_US - 3 * DAY_US, (1, 0))],
        dead: vec![dead(9, Some("x"))],
        ..batch(0, 1, 7, 10, vec![counted(7, event("x", NOON_US + DAY_US, "é'", "view"))])
    };
    let other = BatchCommit {
        duplicates: vec![duplicate(1, "x", NOON_US + 7, (0, 1))],
        dead: vec![dead(2, Some("x"))],
        ..batch(1, 1, 0, 3, vec![counted(0, nobody)])
    };
    for committed in [first, second, other] {
        world.committed(&schema, &committed).await;
    }
    schema
}

pub(crate) async fn an_id_is_explained(world: &World) {
    let before_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let schema = filled(world).await;
    let page = explain(world, &schema, "x").await;
    assert!(!page.more);
    // Stored ones by time, then duplicates and dead letters by partition and offset.
    assert_eq!(places(&page.records), [(1, 0), (0, 1), (0, 7), (0, 2), (0, 8), (1, 1), (0, 4), (0, 9), (1, 2)]);
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for record in &page.records {
        // The database may be on another machine, whose clock is not ours to the second.
        let committed_ms = record.committed_ms.unwrap();
        assert!((before_ms - 60_000..=now_ms + 60_000).contains(&committed_ms), "{record:?}");
    }
    let fates: Vec<&Fate> = page.records.iter().map(|record| &record.fate).collect();
    let stored = |time_us, offset, key: &str, verdict| Fate::Stored {
        time_us,
        appended_ms: NOON_US / 1000 + offset,
        key: key.to_owned(),
        verdict,
    };
    let verdict = Verdict::Flagged { rule: "views".to_owned(), version: 3, count: 11 };
    assert_eq!(*fates[0], stored(NOON_US - 3 * DAY_US, 0, "", Verdict::Counted));
    assert_eq!(*fates[1], stored(NOON_US + 7, 1, "", verdict));
    assert_eq!(*fates[2], stored(NOON_US + DAY_US, 7, "é'", Verdict::Counted));
    assert_eq!(*fates[3], Fate::Duplicate(duplicate(2, "x", NOON_US + 7, (0, 1))));
    assert_eq!(*fates[5], Fate::Duplicate(duplicate(1, "x", NOON_US + 7, (0, 1))));
    let why = Fate::Dead {
        appended_ms: NOON_US / 1000,
        reason: Some(Reason::InvalidField),
        field: "user".to_owned(),
        detail: "must not be empty".to_owned(),
    };
    assert_eq!(*fates[7], why);

    assert_eq!(places(&explain(world, &schema, "y").await.records), [(0, 0), (0, 3), (0, 6)]);
    for nothing in ["", "X", "x ", "'; --", &"x".repeat(2000)] {
        assert_eq!(explain(world, &schema, nothing).await, ExplainPage::default(), "{nothing}");
    }
    let other = StreamSchema { name: "other".to_owned(), table: "other".to_owned(), ..schema };
    world.history.prepare(&shared(&other)).await.unwrap();
    assert_eq!(explain(world, &other, "x").await, ExplainPage::default(), "another stream");
}

pub(crate) async fn explanations_come_in_pages(world: &World) {
    let schema = filled(world).await;
    let all = explain(world, &schema, "x").await.records;
    for limit in 1..=all.len() + 1 {
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let query = ExplainQuery { id: "x".to_owned(), after, limit };
            let page = world.history.explain(&schema, &query).await.unwrap();
            assert!(page.records.len() <= limit);
            pages += 1;
            found.extend(page.records);
            if !page.more {
                break;
            }
            after = found.last().map(Explained::place);
        }
        assert_eq!(found, all, "pages of {limit}");
        assert_eq!(pages, all.len().div_ceil(limit));
    }
    let none = ExplainQuery { id: "x".to_owned(), ..ExplainQuery::default() };
    assert_eq!(world.history.explain(&schema, &none).await.unwrap(), ExplainPage::default());
    let after = Some(ExplainPlace::Dead { partition: i32::MAX, offset: i64::MAX });
    let past = ExplainQuery { id: "x".to_owned(), after, limit: 9 };
    assert_eq!(world.history.explain(&schema, &past).await.unwrap(), ExplainPage::default());
}

pub(crate) async fn a_dead_letter_is_found_by_an_id_that_an_event_could_have(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let longest = "x".repeat(1024);
    // One over the bound of an index, one that Postgres takes in no text, and none.
    let ids = [longest.clone(), "x".repeat(100_000), "a\0b".to_owned(), String::new()];
    let letters = (0..).zip(&ids).map(|(offset, id)| dead(offset, Some(id)));
    world.committed(&schema, &BatchCommit { dead: letters.collect(), ..batch(0, 1, 0, 4, vec![]) }).await;
    assert_eq!(world.dead_letters(&schema.name).await.len(), 4);
    assert_eq!(places(&explain(world, &schema, &longest).await.records), [(0, 0)]);
    assert_eq!(explain(world, &schema, &ids[1]).await, ExplainPage::default());
    assert_eq!(explain(world, &schema, "").await, ExplainPage::default());
}

pub(crate) async fn what_is_pruned_is_not_explained_any_more(world: &World) {
    const FUTURE_MS: i64 = 4_000_000_000_000;
    let schema = filled(world).await;
    world.history.prune(&schema, FUTURE_MS, None).await.unwrap();
    let page = explain(world, &schema, "x").await;
    assert_eq!(places(&page.records), [(1, 0), (0, 1), (0, 7), (0, 4), (0, 9), (1, 2)], "no duplicate is known");
    // Of the first batch nobody knows when it was committed; the newest of each partition is kept.
    let known = page.records.iter().map(|record| record.committed_ms.is_some());
    assert_eq!(known.collect::<Vec<_>>(), [true, false, true, false, true, true]);
}
