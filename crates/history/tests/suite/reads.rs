//! Replays, counts, pages, generations and forgetting.

use headwater_domain::{RecordedBatch, RuleCounts, SpanAsk, StoredEvent, Value, judge, span_start_us};
use headwater_history::{AllTimeQuery, HistoryError, HistoryQuery, VerdictFilter};

use crate::events::{DAY_US, ID, KIND, NOON_US, SECOND_US, USER, batch, clicks, counted, event, flagged, views};
use crate::world::World;

pub(crate) async fn replay_equals_what_was_committed(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    world.history.take(&schema, 1, "test").await.unwrap();
    let mut sent = Vec::new();
    for (first, next) in [(10, 13), (13, 14), (14, 20), (20, 21)] {
        let mut stored = views(0, first..next);
        // A record between was no event, and one event is three days late.
        if first == 14 {
            stored.remove(2);
            stored[0].event.values[schema.time] = Value::Time(NOON_US - 3 * DAY_US);
        }
        world.committed(&schema, &batch(0, 1, first, next, stored.clone())).await;
        world.committed(&schema, &batch(1, 1, first, next, views(1, first..next))).await;
        sent.push(RecordedBatch { partition: 0, first, next, is_start: first == 10, stored });
    }
    let history = world.again();
    assert_eq!(history.batches(&schema, 0, None, 100).await.unwrap(), sent);
    assert_eq!(history.batches(&schema, 0, Some(13), 2).await.unwrap(), sent[1..3]);
    assert_eq!(history.batches(&schema, 0, Some(11), 1).await.unwrap(), sent[1..2]);
    assert_eq!(history.batches(&schema, 0, Some(21), 5).await.unwrap(), []);
    assert_eq!(history.batches(&schema, 0, None, 0).await.unwrap(), []);
    assert_eq!(history.batches(&schema, 2, None, 5).await.unwrap(), []);
}

pub(crate) async fn spans_are_counted_as_the_rules_see_them(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    world.history.take(&schema, 1, "test").await.unwrap();
    assert_eq!(world.history.span_counts(&schema, 0, &[]).await.unwrap(), Vec::<u64>::new());
    // Before 1970 too, and users whose name is not set.
    let mut stored: Vec<StoredEvent> = Vec::new();
    for base_us in [NOON_US, -70_000_000_000_000] {
        for n in 0..60_i64 {
            let (user, kind) = (["a", "b", ""][n as usize % 3], ["view", "click"][n as usize / 7 % 2]);
            let offset = i64::try_from(stored.len()).unwrap();
            let mut event = event(&format!("s{offset}"), base_us + n * 300_000, user, kind);
            if n % 11 == 0 {
                event.values[USER] = Value::Null;
            }
            stored.push(if n % 5 == 0 { flagged(offset, event) } else { counted(offset, event) });
        }
    }
    let next = i64::try_from(stored.len()).unwrap();
    world.committed(&schema, &batch(0, 1, 0, next, stored.clone())).await;
    let other = batch(1, 1, 0, 30, views(1, 0..30));
    world.committed(&schema, &other).await;

    // The asks are the platform's own, and the figures are what its own counting of the same events says.
    let counts = RuleCounts::new(Some(i64::MAX - 1), 1000);
    let mut asks = counts.unknown(&schema, stored.iter().map(|row| &row.event));
    asks.push(SpanAsk { rule: 0, key: "nobody".to_owned(), start_us: NOON_US });
    asks.push(SpanAsk { rule: 0, key: "a".to_owned(), start_us: NOON_US - 50 * DAY_US });
    asks.push(SpanAsk { rule: 1, key: "'; --".to_owned(), start_us: span_start_us(NOON_US, 7) });
    asks.reverse();
    let expected: Vec<u64> = asks
        .iter()
        .map(|ask| {
            let rule = &schema.rules[ask.rule];
            let is_in = |row: &&StoredEvent| {
                span_start_us(schema.time_us_of(&row.event), rule.every_s) == ask.start_us
                    && row.event.values[USER].key_text() == ask.key
                    && rule.filter.as_ref().is_none_or(|filter| filter.matches(&row.event))
            };
            stored.iter().filter(is_in).count() as u64
        })
        .collect();
    assert!(expected.iter().filter(|count| **count > 0).count() > 60, "the asks find nothing");
    assert_eq!(world.history.span_counts(&schema, 0, &asks).await.unwrap(), expected);

    // And they carry a rule on where it was: the next view of "a" is counted after those that are stored.
    let mut counts = RuleCounts::new(Some(schema.time_us_of(&stored[59].event)), 1000);
    let late = event("late", NOON_US + 500_000, "a", "view");
    for ask in counts.unknown(&schema, std::iter::once(&late)) {
        let count = world.history.span_counts(&schema, 0, std::slice::from_ref(&ask)).await.unwrap()[0];
        counts.learn(ask, count);
    }
    assert_ne!(judge(&schema, &mut counts, &late), headwater_domain::Verdict::Counted);
}

pub(crate) async fn spans_far_apart_are_counted(world: &World) {
    let mut schema = clicks();
    schema.indexes = vec![USER];
    world.ready(&schema).await;
    // More stretches than are read one by one, some of them over days.
    let starts: Vec<i64> = (0..40).map(|n: i64| NOON_US - n * n * n * SECOND_US * 10).collect();
    let mut stored = Vec::new();
    for start in &starts {
        for n in 0..3 {
            let offset = i64::try_from(stored.len()).unwrap();
            stored.push(counted(offset, event(&format!("f{offset}"), start + n * 400_000, "u", "view")));
        }
    }
    let next = i64::try_from(stored.len()).unwrap();
    world.committed(&schema, &batch(0, 1, 0, next, stored)).await;
    let asks: Vec<SpanAsk> =
        starts.iter().map(|start_us| SpanAsk { rule: 0, key: "u".to_owned(), start_us: *start_us }).collect();
    assert_eq!(world.history.span_counts(&schema, 0, &asks).await.unwrap(), vec![3; 40]);
}

/// Ids of a query's pages, joined.
async fn ids(world: &World, schema: &headwater_domain::StreamSchema, mut query: HistoryQuery) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let page = world.history.query(schema, &query).await.unwrap();
        assert!(page.rows.len() <= query.limit);
        found.extend(page.rows.iter().map(|row| schema.id_of(&row.row.event).to_owned()));
        let Some(last) = page.rows.last().filter(|_| page.more) else { return found };
        query.after = Some((schema.time_us_of(&last.row.event), schema.id_of(&last.row.event).to_owned()));
    }
}

pub(crate) async fn pages_are_by_time_and_id(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    // Equal times, ids whose order differs by collation, several days, and one event of long ago.
    let mut events = vec![(NOON_US - 4000 * DAY_US, "ancient".to_owned())];
    for (n, id) in ["a", "B", "c", "D", "é", "z", "Z", "_", "1"].into_iter().enumerate() {
        events.push((NOON_US, id.to_owned()));
        events.push((NOON_US + i64::try_from(n).unwrap() * DAY_US / 2, format!("{id}2")));
    }
    let stored = (0..).zip(&events).map(|(offset, (at, id))| counted(offset, event(id, *at, "u", "view"))).collect();
    world.committed(&schema, &batch(0, 1, 0, i64::try_from(events.len()).unwrap(), stored)).await;
    events.sort();
    let all: Vec<String> = events.iter().map(|(_, id)| id.clone()).collect();
    for limit in [1, 2, 5, 100] {
        let query = HistoryQuery { start_us: i64::MIN, limit, ..HistoryQuery::default() };
        assert_eq!(ids(world, &schema, query).await, all, "pages of {limit}");
    }
    let part = |start_us, end_us| HistoryQuery { start_us, end_us, limit: 3, ..HistoryQuery::default() };
    let between = |from: i64, to: i64| -> Vec<String> {
        events.iter().filter(|(at, _)| from <= *at && *at < to).map(|(_, id)| id.clone()).collect()
    };
    let end = NOON_US + DAY_US;
    assert_eq!(ids(world, &schema, part(NOON_US, Some(end))).await, between(NOON_US, end));
    assert_eq!(ids(world, &schema, part(NOON_US + 1, None)).await, between(NOON_US + 1, i64::MAX));
    assert_eq!(ids(world, &schema, part(end, Some(end))).await, Vec::<String>::new());
    let none = HistoryQuery { start_us: i64::MIN, ..HistoryQuery::default() };
    assert!(world.history.query(&schema, &none).await.unwrap().rows.is_empty());
}

pub(crate) async fn queries_filter(world: &World) {
    let mut schema = clicks();
    for indexes in [vec![], vec![USER]] {
        schema.indexes = indexes;
        world.history.prepare(&[std::sync::Arc::new(schema.clone())]).await.unwrap();
        if world.history.progress(&schema).await.unwrap().is_empty() {
            world.ready(&schema).await;
            let mut stored = Vec::new();
            for offset in 0..40_i64 {
                let user = ["a", "b", "", "d"][offset as usize % 4];
                let row = event(&format!("q{offset:02}"), NOON_US + offset * 3600 * SECOND_US, user, "view");
                stored.push(if offset % 8 < 3 { flagged(offset, row) } else { counted(offset, row) });
            }
            stored[2].event.values[USER] = Value::Null;
            world.committed(&schema, &batch(0, 1, 0, 40, stored)).await;
        }
        let base = HistoryQuery { start_us: NOON_US, limit: 4, ..HistoryQuery::default() };
        let numbers = |of: Vec<String>| of.iter().map(|id| id[1..].parse::<i64>().unwrap()).collect::<Vec<_>>();
        for (remainder, key) in [(0, "a"), (1, "b"), (2, ""), (3, "d")] {
            let found = ids(world, &schema, HistoryQuery { key: Some(key.to_owned()), ..base.clone() }).await;
            assert_eq!(numbers(found), (0..40).filter(|n| n % 4 == remainder).collect::<Vec<_>>(), "key '{key}'");
        }
        let flagged = HistoryQuery { verdict: VerdictFilter::Flagged, ..base.clone() };
        assert_eq!(numbers(ids(world, &schema, flagged).await), (0..40).filter(|n| n % 8 < 3).collect::<Vec<_>>());
        let counted = HistoryQuery { verdict: VerdictFilter::Counted, key: Some("a".to_owned()), ..base.clone() };
        assert_eq!(numbers(ids(world, &schema, counted).await), [4, 12, 20, 28, 36]);
        let one = HistoryQuery { id: Some("q17".to_owned()), ..base.clone() };
        assert_eq!(ids(world, &schema, one.clone()).await, ["q17"]);
        let not_his = HistoryQuery { key: Some("a".to_owned()), ..one };
        assert_eq!(ids(world, &schema, not_his).await, Vec::<String>::new());
    }
    // A key that is not text is found by its text.
    schema.key = 5;
    let by_number = HistoryQuery { start_us: i64::MIN, key: Some("7".to_owned()), limit: 9, ..HistoryQuery::default() };
    assert_eq!(ids(world, &schema, by_number).await, Vec::<String>::new());
}

pub(crate) async fn distinct_over_all_time(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let ask = AllTimeQuery { field: ID, by: None, key: None, skip: 0, limit: 100 };
    assert_eq!(world.history.all_time_distinct(&schema, &ask).await.unwrap(), (vec![(String::new(), 0)], 1));
    let by_user = AllTimeQuery { field: KIND, by: Some(USER), ..ask.clone() };
    assert_eq!(world.history.all_time_distinct(&schema, &by_user).await.unwrap(), (vec![], 0));

    let mut stored = Vec::new();
    for (user, kinds) in [("a", 3), ("B", 5), ("c", 3), ("", 1), ("é", 3), ("Z", 3)] {
        for n in 0..kinds * 2 {
            let offset = i64::try_from(stored.len()).unwrap();
            let at_us = NOON_US - offset * DAY_US;
            stored.push(counted(offset, event(&format!("d{offset}"), at_us, user, &format!("k{}", n % kinds))));
        }
    }
    let next = i64::try_from(stored.len()).unwrap();
    stored.push(flagged(next, event("flagged", NOON_US, "bot", "k9")));
    stored.push(counted(next + 1, event("no user", NOON_US, "-", "k0")));
    stored[next as usize + 1].event.values[USER] = Value::Null;
    world.committed(&schema, &batch(0, 1, 0, next + 2, stored)).await;

    let figures = |of: &[(&str, u64)]| of.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect::<Vec<_>>();
    let all = figures(&[("B", 5), ("Z", 3), ("a", 3), ("c", 3), ("é", 3), ("", 1)]);
    assert_eq!(world.history.all_time_distinct(&schema, &by_user).await.unwrap(), (all.clone(), 6));
    let page = AllTimeQuery { skip: 1, limit: 2, ..by_user.clone() };
    assert_eq!(world.history.all_time_distinct(&schema, &page).await.unwrap(), (all[1..3].to_vec(), 6));
    let past = AllTimeQuery { skip: 9, ..by_user.clone() };
    assert_eq!(world.history.all_time_distinct(&schema, &past).await.unwrap(), (vec![], 6));
    for (key, expected) in [("c", figures(&[("c", 3)])), ("", figures(&[("", 1)])), ("nobody", vec![]), ("bot", vec![])]
    {
        let one = AllTimeQuery { key: Some(key.to_owned()), ..by_user.clone() };
        let keys = expected.len() as u64;
        assert_eq!(world.history.all_time_distinct(&schema, &one).await.unwrap(), (expected, keys), "{key}");
    }
    let users = AllTimeQuery { field: USER, ..ask };
    assert_eq!(world.history.all_time_distinct(&schema, &users).await.unwrap(), (figures(&[("", 6)]), 1));
}

pub(crate) async fn old_batches_and_days_are_forgotten(world: &World) {
    const FUTURE_MS: i64 = 4_000_000_000_000;
    let schema = clicks();
    world.ready(&schema).await;
    world.history.take(&schema, 1, "test").await.unwrap();
    for day in 0..5_i64 {
        let stored = (0..3).map(|n| {
            let at_us = NOON_US + (day - 4) * DAY_US + n * SECOND_US;
            counted(day * 10 + n, event(&format!("p{day}-{n}"), at_us, "u", "view"))
        });
        let mut recorded = batch(0, 1, day * 10, day * 10 + 10, stored.collect());
        recorded.duplicates = vec![headwater_domain::Duplicate {
            offset: day * 10 + 9,
            id: "x".to_owned(),
            time_us: NOON_US,
            of_partition: 1,
            of_offset: 0,
        }];
        world.committed(&schema, &recorded).await;
    }
    world.committed(&schema, &batch(1, 1, 0, 1, vec![])).await;
    let midday = NOON_US - 2 * DAY_US + SECOND_US;
    // Nothing is old, and what a batch could replay stays.
    assert_eq!(world.history.prune(&schema, 0, None).await.unwrap(), 0);
    assert_eq!(world.history.prune(&schema, 0, Some(midday)).await.unwrap(), 0);
    assert_eq!(world.history.batches(&schema, 0, None, 9).await.unwrap().len(), 5);

    // Four batches and five duplicates go, the newest batch of each partition stays; two whole days go.
    assert_eq!(world.history.prune(&schema, FUTURE_MS, None).await.unwrap(), 9);
    // What the batches would have replayed is still there as rows.
    let rows = world.history.rows(&schema, 0, 0, 40, 100).await.unwrap();
    let offsets: Vec<i64> = rows.iter().map(|row| row.offset).collect();
    assert_eq!((rows.len(), offsets.is_sorted()), (12, true), "{offsets:?}");
    let next = world.history.rows(&schema, 0, offsets[4] + 1, 40, 3).await.unwrap();
    assert_eq!(next.iter().map(|row| row.offset).collect::<Vec<_>>(), offsets[5..8]);
    assert_eq!(world.history.dropped_before_us(&schema).await.unwrap(), None);
    assert_eq!(world.history.prune(&schema, FUTURE_MS, Some(midday)).await.unwrap(), 6);
    let dropped_us = world.history.dropped_before_us(&schema).await.unwrap().unwrap();
    assert!((midday - DAY_US..=midday).contains(&dropped_us), "{dropped_us}");
    assert_eq!(world.history.prune(&schema, FUTURE_MS, Some(midday)).await.unwrap(), 0);
    let kept = world.history.batches(&schema, 0, None, 9).await.unwrap();
    assert_eq!(kept.iter().map(|batch| (batch.first, batch.stored.len())).collect::<Vec<_>>(), [(40, 3)]);
    assert_eq!(world.history.batches(&schema, 1, None, 9).await.unwrap().len(), 1);
    let query = HistoryQuery { start_us: i64::MIN, limit: 100, ..HistoryQuery::default() };
    let left = ids(world, &schema, query).await;
    assert_eq!(left.len(), 9);
    assert_eq!(left[0], "p2-0");

    // A batch whose events are partly gone is not passed off as whole, and old events can still come.
    assert_eq!(world.history.prune(&schema, FUTURE_MS, Some(NOON_US + DAY_US)).await.unwrap(), 9);
    let error = world.history.batches(&schema, 0, None, 9).await.unwrap_err();
    assert!(matches!(&error, HistoryError::Refused(text) if text.contains("of the 3 events")), "{error}");
    let late = counted(50, event("late", NOON_US - 4 * DAY_US, "u", "view"));
    world.committed(&schema, &batch(0, 1, 50, 51, vec![late])).await;
    assert_eq!(world.history.batches(&schema, 0, Some(50), 9).await.unwrap().len(), 1);
}

pub(crate) async fn before_prepare_the_history_is_unavailable(world: &World) {
    let schema = clicks();
    world.history.check().await.unwrap();
    for error in [
        world.history.take(&schema, 0, "test").await.unwrap_err(),
        world.history.progress(&schema).await.unwrap_err(),
        world.history.generations(&schema).await.unwrap_err(),
    ] {
        assert!(matches!(error, HistoryError::Unavailable(_)), "{error}");
    }
}
