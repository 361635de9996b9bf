//! A batch is applied once, and what was lost is found.

use headwater_domain::{LiveBatch, Operation};
use headwater_live::{ApplyOutcome, Figure, GenerationKey};

use crate::{
    contract::{
        AMOUNTS, PAGES, SESSIONS, TOTAL, USERS, added, apply, batch, everything, figure, generation, now_ms, offsets,
        read, request, seen, units, window,
    },
    store::{MINUTE_MS, Store},
};

/// Ten page events of ten users from this number on.
fn events(from: i64, time_ms: i64) -> Vec<Operation> {
    let event = |n: i64| {
        let user = format!("user-{n}");
        let mut event = vec![seen(USERS, "", &user, time_ms), seen(SESSIONS, &user, "session", time_ms)];
        event.extend(added(PAGES, &format!("/page/{}", n % 3), time_ms, 1));
        event.extend(added(AMOUNTS, &user, time_ms, n));
        event.extend(added(TOTAL, "", time_ms, n));
        event
    };
    (from..from + 10).flat_map(event).collect()
}

fn events_batch(partition: i32, first: i64, time_ms: i64) -> LiveBatch {
    batch(partition, first, first + 10, events(first, time_ms))
}

async fn three_batches(store: &Store, generation: &GenerationKey, time_ms: i64) {
    for first in [0, 10, 20] {
        assert_eq!(apply(store, generation, &events_batch(0, first, time_ms)).await, ApplyOutcome::Applied);
    }
}

pub(crate) async fn a_redelivery_changes_nothing(store: &Store) {
    let now = now_ms();
    for shards in [1, 16] {
        let generation = generation(shards);
        three_batches(store, &generation, now).await;
        let before = everything(store, &generation, now).await;
        assert_eq!(figure(store, &generation, &request(TOTAL, None, now), "").await, Figure::Units((0..30).sum()));
        assert_eq!(figure(store, &generation, &request(USERS, window(MINUTE_MS), now), "").await, Figure::Units(30));
        for first in [20, 0, 10, 0] {
            assert_eq!(apply(store, &generation, &events_batch(0, first, now)).await, ApplyOutcome::Applied);
        }
        // Another cut through the same records that ends before the offset.
        let cut = batch(0, 5, 25, events(5, now));
        assert_eq!(apply(store, &generation, &cut).await, ApplyOutcome::Applied);
        assert_eq!(everything(store, &generation, now).await, before);
        assert_eq!(offsets(store, &generation).await, [(0, 30)].into());
    }
}

pub(crate) async fn a_gap_changes_nothing(store: &Store) {
    let now = now_ms();
    for shards in [1, 16] {
        let generation = generation(shards);
        assert_eq!(apply(store, &generation, &events_batch(0, 10, now)).await, ApplyOutcome::Gap { next: None });
        assert_eq!(offsets(store, &generation).await, [].into());
        assert_eq!(figure(store, &generation, &request(TOTAL, None, now), "").await, Figure::Units(0));

        // The start need not be at 0: it is where the log begins.
        let start = LiveBatch { is_start: true, ..events_batch(0, 100, now) };
        assert_eq!(apply(store, &generation, &start).await, ApplyOutcome::Applied);
        let before = everything(store, &generation, now).await;
        for first in [111, 120, 1_000_000] {
            let next = Some(110);
            assert_eq!(apply(store, &generation, &events_batch(0, first, now)).await, ApplyOutcome::Gap { next });
        }
        // A start that is elsewhere is a gap too.
        let start = LiveBatch { is_start: true, ..events_batch(0, 200, now) };
        assert_eq!(apply(store, &generation, &start).await, ApplyOutcome::Gap { next: Some(110) });
        assert_eq!(everything(store, &generation, now).await, before);
    }
}

pub(crate) async fn an_overlap_is_a_gap(store: &Store) {
    let now = now_ms();
    for shards in [1, 16] {
        let generation = generation(shards);
        three_batches(store, &generation, now).await;
        let before = everything(store, &generation, now).await;
        for (first, next) in [(25, 35), (0, 31), (29, 31)] {
            let overlap = batch(0, first, next, events(first, now));
            assert_eq!(apply(store, &generation, &overlap).await, ApplyOutcome::Gap { next: Some(30) });
        }
        assert_eq!(everything(store, &generation, now).await, before);
    }
}

pub(crate) async fn what_was_emptied_is_a_gap_until_the_start_comes_again(store: &Store) {
    let now = now_ms();
    for shards in [1, 16] {
        let generation = generation(shards);
        three_batches(store, &generation, now).await;
        let before = everything(store, &generation, now).await;
        store.lose_everything();
        let fourth = events_batch(0, 30, now);
        assert_eq!(apply(store, &generation, &fourth).await, ApplyOutcome::Gap { next: None });
        let lost = read(store, &generation, &request(PAGES, window(MINUTE_MS), now)).await;
        assert_eq!((lost.entries, lost.key_count, lost.applied), (vec![], 0, [].into()));
        three_batches(store, &generation, now).await;
        assert_eq!(everything(store, &generation, now).await, before);
        assert_eq!(apply(store, &generation, &fourth).await, ApplyOutcome::Applied);
    }
}

pub(crate) async fn what_was_rolled_back_is_a_gap_until_the_rest_comes_again(store: &Store) {
    let now = now_ms();
    for shards in [1, 16] {
        let generation = generation(shards);
        assert_eq!(apply(store, &generation, &events_batch(0, 0, now)).await, ApplyOutcome::Applied);
        let remembered = store.remember();
        three_batches(store, &generation, now).await;
        let before = everything(store, &generation, now).await;
        store.go_back(remembered);
        let fourth = events_batch(0, 30, now);
        assert_eq!(apply(store, &generation, &fourth).await, ApplyOutcome::Gap { next: Some(10) });
        assert_eq!(offsets(store, &generation).await, [(0, 10)].into());
        three_batches(store, &generation, now).await;
        assert_eq!(everything(store, &generation, now).await, before);
    }
}

pub(crate) async fn a_batch_without_operations_is_applied(store: &Store) {
    let generation = generation(16);
    assert_eq!(apply(store, &generation, &batch(3, 0, 7, vec![])).await, ApplyOutcome::Applied);
    assert_eq!(apply(store, &generation, &batch(3, 7, 9, vec![])).await, ApplyOutcome::Applied);
    assert_eq!(offsets(store, &generation).await, [(3, 9)].into());
}

pub(crate) async fn partitions_have_offsets_of_their_own(store: &Store) {
    let now = now_ms();
    let generation = generation(4);
    three_batches(store, &generation, now).await;
    assert_eq!(apply(store, &generation, &events_batch(1, 10, now)).await, ApplyOutcome::Gap { next: None });
    assert_eq!(apply(store, &generation, &events_batch(1, 0, now)).await, ApplyOutcome::Applied);
    assert_eq!(offsets(store, &generation).await, [(0, 30), (1, 10)].into());
    let total = read(store, &generation, &request(TOTAL, None, now)).await;
    assert_eq!(units(&total), [("", (0..30).sum::<i64>() + (0..10).sum::<i64>())]);
    assert_eq!(total.applied, [(0, 30), (1, 10)].into());
}

pub(crate) async fn partitions_can_be_applied_at_once(store: &Store) {
    const PARTITIONS: i32 = 8;
    const BATCHES: i64 = 12;
    let now = now_ms();
    let generation = generation(4);
    let generation = &generation;
    let partitions = (0..PARTITIONS).map(|partition| async move {
        for first in (0..BATCHES).map(|n| n * 10) {
            let batch = events_batch(partition, first, now);
            assert_eq!(apply(store, generation, &batch).await, ApplyOutcome::Applied);
            assert_eq!(apply(store, generation, &batch).await, ApplyOutcome::Applied);
        }
    });
    futures::future::join_all(partitions).await;
    let each: i64 = (0..BATCHES * 10).sum();
    let total = figure(store, generation, &request(TOTAL, None, now), "").await;
    assert_eq!(total, Figure::Units(each * i64::from(PARTITIONS)));
    let users = figure(store, generation, &request(USERS, window(MINUTE_MS), now), "").await;
    assert_eq!(users, Figure::Units(BATCHES * 10));
    let all: Vec<i32> = offsets(store, generation).await.into_keys().collect();
    assert_eq!(all, (0..PARTITIONS).collect::<Vec<_>>());
}

pub(crate) async fn generations_do_not_touch(store: &Store) {
    let now = now_ms();
    let first = generation(2);
    let others = [
        GenerationKey { generation: 2, ..first.clone() },
        GenerationKey { generation: 11, ..first.clone() },
        GenerationKey { stream: format!("{}1", first.stream), ..first.clone() },
    ];
    three_batches(store, &first, now).await;
    for other in &others {
        assert_eq!(offsets(store, other).await, [].into());
        assert_eq!(apply(store, other, &events_batch(0, 0, now)).await, ApplyOutcome::Applied);
    }
    let before = everything(store, &others[0], now).await;
    store.live().remove(&first).await.unwrap();
    assert_eq!(offsets(store, &first).await, [].into());
    for other in &others {
        assert_eq!(offsets(store, other).await, [(0, 10)].into());
        assert_eq!(everything(store, other, now).await, before);
    }
}

pub(crate) async fn removing_leaves_nothing(store: &Store) {
    let now = now_ms();
    for shards in [1, 16] {
        let held = store.held();
        let generation = generation(shards);
        three_batches(store, &generation, now).await;
        // More than one step forgets, in members of one key and in keys.
        let mut many: Vec<_> = (0..5_000).map(|n| seen(USERS, "", &format!("user-{n}"), now)).collect();
        many.extend((0..5_000).map(|n| seen(SESSIONS, &format!("user-{n}"), "session", now)));
        assert_eq!(apply(store, &generation, &batch(0, 30, 40, many)).await, ApplyOutcome::Applied);
        assert!(store.held() > held);
        store.live().remove(&generation).await.unwrap();
        assert_eq!(store.held(), held);
        store.live().remove(&generation).await.unwrap();
        // The same generation can be built again.
        three_batches(store, &generation, now).await;
        assert_eq!(figure(store, &generation, &request(TOTAL, None, now), "").await, Figure::Units((0..30).sum()));
        store.live().remove(&generation).await.unwrap();
    }
}

pub(crate) async fn nothing_is_known_of_what_was_never_applied(store: &Store) {
    let now = now_ms();
    let held = store.held();
    let generation = generation(16);
    assert_eq!(offsets(store, &generation).await, [].into());
    for stat in [USERS, TOTAL] {
        let figures = read(store, &generation, &request(stat, window(MINUTE_MS), now)).await;
        assert_eq!((units(&figures), figures.key_count), (vec![("", 0)], 0));
    }
    for stat in [PAGES, SESSIONS, AMOUNTS] {
        let figures = read(store, &generation, &request(stat, window(MINUTE_MS), now)).await;
        assert_eq!((units(&figures), figures.key_count), (vec![], 0));
        assert_eq!(figure(store, &generation, &request(stat, window(MINUTE_MS), now), "x").await, Figure::Units(0));
    }
    store.live().trim(&generation, now).await.unwrap();
    store.live().remove(&generation).await.unwrap();
    store.live().check().await.unwrap();
    assert_eq!(store.held(), held);
}
