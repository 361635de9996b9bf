//! Taking partitions and committing batches.

use headwater_domain::{Duplicate, Reason, Value};
use headwater_history::{CommitOutcome, HistoryError, HistoryQuery, PartitionProgress, Remembered, Resumed};

use crate::events::{AT, DAY_US, ID, NOON_US, SECOND_US, USER, batch, clicks, counted, event, letter, shared, views};
use crate::world::World;

pub(crate) async fn a_partition_is_taken_with_a_greater_epoch_each_time(world: &World) {
    let schema = clicks();
    world.history.prepare(&shared(&schema)).await.unwrap();
    let first = world.history.take(&schema, 0, "one").await.unwrap();
    assert_eq!((first.epoch, first.next, first.last, first.newest_us), (1, None, None, None));
    assert_eq!(world.history.progress(&schema).await.unwrap(), []);

    let mut stored = views(0, 40..43);
    stored.swap(0, 2);
    for (offset, row) in (40..).zip(&mut stored) {
        row.offset = offset;
    }
    world.committed(&schema, &batch(0, 1, 40, 43, stored)).await;
    let second = world.again().take(&schema, 0, "two").await.unwrap();
    assert_eq!((second.epoch, second.next), (2, Some(43)));
    assert_eq!(second.last, Some(Remembered { offset: 42, appended_ms: NOON_US / 1000 + 43, checksum: u32::MAX - 43 }));
    assert_eq!(second.newest_us, Some(NOON_US + 42 * SECOND_US));
    assert_eq!(world.history.take(&schema, 7, "one").await.unwrap().epoch, 1);
    let last_appended_ms = NOON_US / 1000 + 43;
    let progress = PartitionProgress { partition: 0, start: 40, next: 43, last_appended_ms, epoch: 2, log_shift: 0 };
    assert_eq!(world.history.progress(&schema).await.unwrap(), [progress]);
}

pub(crate) async fn a_stopped_partition_goes_on_where_it_is_told(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let refused = world.history.resume(&schema, 5, 0).await;
    assert!(matches!(&refused, Err(HistoryError::Refused(text)) if text.contains("nothing stops it")), "{refused:?}");
    world.committed(&schema, &batch(0, 1, 0, 5, views(0, 0..5))).await;

    // The log lost 5 to 7: they stay a gap.
    let resumed = world.history.resume(&schema, 0, 8).await.unwrap();
    assert_eq!(resumed, Resumed { next: 8, log_shift: 0, skipped: 3 });
    let late = batch(0, 1, 5, 6, views(0, 5..6));
    assert_eq!(world.history.commit(&schema, &late).await, Ok(CommitOutcome::Fenced { epoch: 2, next: Some(8) }));
    let owner = world.history.take(&schema, 0, "next").await.unwrap();
    assert_eq!((owner.epoch, owner.next, owner.last, owner.log_shift), (3, Some(8), None, 0));
    world.committed(&schema, &batch(0, 3, 8, 10, views(0, 8..10))).await;

    // The log begins anew: its offset 0 is 10 here.
    let resumed = world.history.resume(&schema, 0, 0).await.unwrap();
    assert_eq!(resumed, Resumed { next: 10, log_shift: 10, skipped: 0 });
    let owner = world.history.take(&schema, 0, "next").await.unwrap();
    assert_eq!((owner.epoch, owner.next, owner.last, owner.log_shift), (5, Some(10), None, 10));
    world.committed(&schema, &batch(0, 5, 10, 12, views(0, 10..12))).await;
    assert_eq!(world.history.progress(&schema).await.unwrap()[0].log_shift, 10);
    let batches = world.history.batches(&schema, 0, None, 10).await.unwrap();
    let ranges: Vec<_> = batches.iter().map(|batch| (batch.first, batch.next, batch.stored.len())).collect();
    assert_eq!(ranges, [(0, 5, 5), (5, 8, 0), (8, 10, 2), (10, 12, 2)]);
}

pub(crate) async fn a_batch_is_stored_once(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let first = batch(0, 1, 5, 8, views(0, 5..8));
    for _ in 0..3 {
        world.committed(&schema, &first).await;
    }
    world.committed(&schema, &batch(0, 1, 8, 9, views(0, 8..9))).await;
    let recorded = world.history.batches(&schema, 0, None, 10).await.unwrap();
    assert_eq!(recorded.len(), 2);
    assert_eq!(recorded[0].stored, first.stored);
    // What came before the last batch cannot be committed again.
    assert_eq!(world.history.commit(&schema, &first).await, Ok(CommitOutcome::Fenced { epoch: 1, next: Some(9) }));
    // Nor can another batch that merely ends at the same offset.
    let other = batch(0, 1, 7, 9, views(0, 7..9));
    assert_eq!(world.history.commit(&schema, &other).await, Ok(CommitOutcome::Fenced { epoch: 1, next: Some(9) }));
}

pub(crate) async fn only_the_owner_at_its_offset_commits(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    world.committed(&schema, &batch(0, 1, 0, 2, views(0, 0..2))).await;
    let gap = batch(0, 1, 3, 4, views(0, 3..4));
    assert_eq!(world.history.commit(&schema, &gap).await, Ok(CommitOutcome::Fenced { epoch: 1, next: Some(2) }));

    let other = world.again();
    assert_eq!(other.take(&schema, 0, "other").await.unwrap().epoch, 2);
    let fenced = CommitOutcome::Fenced { epoch: 2, next: Some(2) };
    let late = batch(0, 1, 2, 4, views(0, 2..4));
    assert_eq!(world.history.commit(&schema, &late).await, Ok(fenced.clone()));
    assert_eq!(world.history.commit(&schema, &late).await, Ok(fenced));
    let mine = batch(0, 2, 2, 4, views(0, 2..4));
    assert_eq!(other.commit(&schema, &mine).await, Ok(CommitOutcome::Committed));
    // The former owner takes it back, in the process that still remembers its own old epoch.
    assert_eq!(world.history.take(&schema, 0, "test").await.unwrap().epoch, 3);
    assert_eq!(
        other.commit(&schema, &batch(0, 2, 4, 5, views(0, 4..5))).await,
        Ok(CommitOutcome::Fenced { epoch: 3, next: Some(4) })
    );
    world.committed(&schema, &batch(0, 3, 4, 5, views(0, 4..5))).await;
    // Nobody ever took this one.
    assert_eq!(
        other.commit(&schema, &batch(9, 1, 0, 1, views(9, 0..1))).await,
        Ok(CommitOutcome::Fenced { epoch: 0, next: None })
    );
    assert_eq!(world.number("SELECT count(*) FROM test_clicks").await, 5);
}

pub(crate) async fn an_event_that_is_stored_is_a_duplicate(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let old_us = NOON_US - 900 * DAY_US;
    let mut stored = views(0, 0..5);
    stored.push(counted(5, event("old", old_us, "u", "view")));
    world.committed(&schema, &batch(0, 1, 0, 6, stored)).await;

    world.history.take(&schema, 1, "test").await.unwrap();
    let again = [
        counted(20, event("new", NOON_US, "u", "view")),
        counted(21, event("e0-3", NOON_US + 3 * SECOND_US, "somebody else", "click")),
        counted(22, event("e0-3", NOON_US + 3 * SECOND_US + 1, "u", "view")),
        counted(23, event("old", old_us, "u", "view")),
    ];
    let duplicate = |offset, id: &str, time_us, of_offset| Duplicate {
        offset,
        id: id.to_owned(),
        time_us,
        of_partition: 0,
        of_offset,
    };
    let found = vec![duplicate(21, "e0-3", NOON_US + 3 * SECOND_US, 3), duplicate(23, "old", old_us, 5)];
    let whole = batch(1, 1, 20, 24, again.to_vec());
    assert_eq!(world.history.commit(&schema, &whole).await, Ok(CommitOutcome::Duplicates(found.clone())));
    assert_eq!(world.history.progress(&schema).await.unwrap().len(), 1, "nothing is stored");

    let mut rest = batch(1, 1, 20, 24, vec![again[0].clone(), again[2].clone()]);
    rest.duplicates = found;
    world.committed(&schema, &rest).await;
    world.committed(&schema, &rest).await;
    assert_eq!(world.number("SELECT count(*) FROM duplicates WHERE of_partition = 0 AND of_offset IN (3, 5)").await, 2);
    assert_eq!(world.number("SELECT count(*) FROM test_clicks").await, 8);
    assert_eq!(world.history.batches(&schema, 1, None, 9).await.unwrap()[0].stored, rest.stored);
}

pub(crate) async fn an_event_twice_in_a_batch_is_refused(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let same = |offset| counted(offset, event("same", NOON_US, "u", "view"));
    let error = world.history.commit(&schema, &batch(0, 1, 0, 2, vec![same(0), same(1)])).await.unwrap_err();
    assert!(matches!(&error, HistoryError::Refused(text) if text.contains("twice")), "{error}");
    world.committed(&schema, &batch(0, 1, 0, 1, vec![same(0)])).await;
}

pub(crate) async fn dead_letters_are_kept_whole(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let mut dead = batch(0, 1, 0, 8, views(0, 7..8));
    let every_byte: Vec<u8> = (0..=255).collect();
    dead.dead = vec![
        letter(0, None, None),
        letter(1, Some(vec![]), Some(vec![])),
        letter(2, Some(every_byte.clone()), Some(every_byte)),
        letter(3, None, Some(vec![3; 5 << 20])),
        letter(4, None, Some(vec![4; 5 << 20])),
        letter(5, Some(b"k".to_vec()), None),
    ];
    dead.dead[5].detail = "quotes \0 and \u{1F30A}".to_owned();
    dead.dead[5].reason = Reason::BadFrame;
    world.committed(&schema, &dead).await;
    world.committed(&schema, &dead).await;

    let kept = world.dead_letters(&schema.name).await;
    assert_eq!(kept.len(), 6);
    for (kept, sent) in kept.iter().zip(&dead.dead) {
        assert_eq!((kept.0, kept.1, kept.2.as_str()), (0, sent.offset, sent.reason.name()));
        assert_eq!((&kept.5, &kept.6), (&sent.key, &sent.value), "offset {}", sent.offset);
    }
    assert_eq!((kept[0].3.as_str(), kept[0].4.as_str()), ("user", "must not be empty"));
    assert_eq!(kept[5].4, "quotes \u{fffd} and \u{1F30A}");
}

pub(crate) async fn a_batch_without_events_moves_the_offset(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let mut only_dead = batch(0, 1, 0, 1, vec![]);
    only_dead.dead = vec![letter(0, None, Some(vec![1]))];
    world.committed(&schema, &only_dead).await;
    world.committed(&schema, &batch(0, 1, 1, 5, vec![])).await;
    let recorded = world.history.batches(&schema, 0, None, 9).await.unwrap();
    assert_eq!(
        recorded.iter().map(|b| (b.first, b.next, b.is_start)).collect::<Vec<_>>(),
        [(0, 1, true), (1, 5, false)]
    );
    assert_eq!(world.history.take(&schema, 0, "test").await.unwrap().newest_us, None);
    let empty = world.history.commit(&schema, &batch(0, 2, 5, 5, vec![])).await.unwrap_err();
    assert!(matches!(empty, HistoryError::Refused(_)), "{empty}");
}

pub(crate) async fn partitions_and_streams_are_apart(world: &World) {
    let one = clicks();
    let mut other = clicks();
    (other.name, other.table) = ("test-others".to_owned(), "test_others".to_owned());
    world.ready(&one).await;
    world.history.prepare(&shared(&other)).await.unwrap();
    for (schema, partition, offsets) in [(&one, 1, 5..7), (&other, 0, 0..1), (&one, 0, 5..8)] {
        if (schema.name.as_str(), partition) != (one.name.as_str(), 0) {
            assert_eq!(world.history.take(schema, partition, "test").await.unwrap().epoch, 1);
        }
        let stored = views(partition, offsets.clone());
        world.committed(schema, &batch(partition, 1, offsets.start, offsets.end, stored)).await;
    }
    let next = |of: Vec<PartitionProgress>| of.iter().map(|p| (p.partition, p.next)).collect::<Vec<_>>();
    assert_eq!(next(world.history.progress(&one).await.unwrap()), [(0, 8), (1, 7)]);
    assert_eq!(next(world.history.progress(&other).await.unwrap()), [(0, 1)]);
    let rows = world.history.query(&one, &HistoryQuery { limit: 100, ..HistoryQuery::default() }).await.unwrap().rows;
    assert_eq!(rows.len(), 5);
    assert_eq!(rows.iter().filter(|row| row.partition == 1).count(), 2);
}

pub(crate) async fn nothing_unstorable_enters(world: &World) {
    let mut schema = clicks();
    schema.indexes = vec![USER];
    world.ready(&schema).await;
    let with = |index: usize, value: Value| {
        let mut bad = event("id", NOON_US, "u", "view");
        bad.values[index] = value;
        bad
    };
    let long = "x".repeat(1025);
    for (bad, what) in [
        (with(3, Value::Text("a\0b".to_owned())), "Kind: holds"),
        (with(10, Value::Json(r#"{"a":"\u0000"}"#.to_owned())), "tags: holds"),
        (with(AT, Value::Null), "at: says when"),
        (with(ID, Value::Null), "event_id: identifies"),
        (with(ID, Value::Text(long.clone())), "event_id: the id is longer"),
        (with(USER, Value::Text(long.clone())), "user: is searched by"),
        (with(9, Value::Time(i64::MAX)), "seen: lies outside"),
    ] {
        let refused = headwater_history::storable(&schema, &bad).unwrap_err();
        assert!(refused.to_string().starts_with(what), "{refused} for {what}");
        let stored = vec![counted(0, event("good", NOON_US, "u", "view")), counted(1, bad)];
        let error = world.history.commit(&schema, &batch(0, 1, 0, 2, stored)).await.unwrap_err();
        let HistoryError::Refused(text) = &error else { panic!("{error:?}") };
        assert!(text.contains("offset 1") && text.contains(what), "{text}");
    }
    // The longest that are allowed do enter, whatever they are made of.
    let longest: String = (0..1024_u32).filter_map(|n| char::from_u32(33 + (n * 7919) % 94)).collect();
    let good = counted(0, event(&longest, NOON_US, &longest, &long));
    assert_eq!(headwater_history::storable(&schema, &good.event), Ok(()));
    for (first, next, stored) in
        [(0, 2, vec![counted(9, good.event.clone())]), (0, 9, vec![good.clone(), good.clone()])]
    {
        let error = world.history.commit(&schema, &batch(0, 1, first, next, stored)).await.unwrap_err();
        assert!(matches!(error, HistoryError::Refused(_)), "{error}");
    }
    world.committed(&schema, &batch(0, 1, 0, 1, vec![good])).await;
}

pub(crate) async fn two_owners_race_and_every_event_is_stored_once(world: &World) {
    const OFFSETS: i64 = 60;
    let schema = clicks();
    world.history.prepare(&shared(&schema)).await.unwrap();
    let mut owners = tokio::task::JoinSet::new();
    for name in ["one", "two", "three"] {
        let (history, schema) = (world.again(), schema.clone());
        owners.spawn(async move {
            let mut takes = 0;
            'owner: loop {
                let Ok(owned) = history.take(&schema, 0, name).await else { continue };
                takes += 1;
                let mut first = owned.next.unwrap_or(0);
                for _ in 0..5 {
                    if first == OFFSETS {
                        break 'owner takes;
                    }
                    let next = (first + 1 + (first * 7 + owned.epoch) % 3).min(OFFSETS);
                    let mine = batch(0, owned.epoch, first, next, views(0, first..next));
                    match history.commit(&schema, &mine).await {
                        Ok(CommitOutcome::Committed) => first = next,
                        Ok(CommitOutcome::Fenced { epoch, .. }) => {
                            assert!(epoch > owned.epoch);
                            continue 'owner;
                        }
                        Ok(CommitOutcome::Duplicates(found)) => panic!("{found:?}"),
                        Err(HistoryError::Unavailable(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    let takes: Vec<i32> = tokio::time::timeout(std::time::Duration::from_secs(60), owners.join_all()).await.unwrap();
    assert!(takes.iter().sum::<i32>() > 3, "nobody was ever fenced: {takes:?}");
    let recorded = world.history.batches(&schema, 0, None, 1000).await.unwrap();
    let stored: Vec<_> = recorded.iter().flat_map(|batch| batch.stored.clone()).collect();
    assert_eq!(stored, views(0, 0..OFFSETS));
    assert!(recorded.windows(2).all(|pair| pair[0].next == pair[1].first));
}
