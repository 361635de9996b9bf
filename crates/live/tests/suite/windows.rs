//! What a window holds, what is forgotten, and what is not asked here.

use headwater_domain::{Operation, Window};
use headwater_live::{ApplyOutcome, Figure, ReadRequest};

use crate::{
    contract::{
        AMOUNTS, PAGES, SESSIONS, TOTAL, USERS, added, applied, apply, batch, figure, generation, now_in_minute_ms,
        now_ms, read, refused, request, seen, units, window,
    },
    store::{DAY_MS, HOUR_MS, MINUTE_MS, Store, WINDOW_MAX_MS},
};

const LENGTHS_MS: [i64; 5] = [1_000, MINUTE_MS, 5 * MINUTE_MS, HOUR_MS, DAY_MS];

pub(crate) async fn a_distinct_counts_from_the_edge_of_its_window_on(store: &Store) {
    let now = now_ms();
    for shards in [1, 16] {
        let mut operations = Vec::new();
        for length_ms in LENGTHS_MS {
            for (name, time_ms) in
                [("out", now - length_ms - 1), ("edge", now - length_ms), ("in", now - length_ms + 1)]
            {
                operations.push(seen(USERS, "", &format!("{name}-{length_ms}"), time_ms));
                operations.push(seen(SESSIONS, name, &format!("{length_ms}"), time_ms));
            }
        }
        let generation = applied(store, shards, operations).await;
        for (shorter, length_ms) in LENGTHS_MS.into_iter().enumerate() {
            let shorter = shorter as i64;
            let users = figure(store, &generation, &request(USERS, window(length_ms), now), "").await;
            assert_eq!(users, Figure::Units(3 * shorter + 2), "{length_ms}");
            let sessions = read(store, &generation, &request(SESSIONS, window(length_ms), now)).await;
            let mut expected = vec![("edge", shorter + 1), ("in", shorter + 1)];
            expected.extend((shorter > 0).then_some(("out", shorter)));
            assert_eq!(units(&sessions), expected, "{length_ms}");
            assert_eq!(sessions.key_count, expected.len() as u64);
            let out = figure(store, &generation, &request(SESSIONS, window(length_ms), now), "out").await;
            assert_eq!(out, Figure::Units(shorter));
        }
    }
}

pub(crate) async fn a_late_event_does_not_make_a_member_older(store: &Store) {
    let now = now_ms();
    let generation = generation(4);
    let at = |time_ms: i64| vec![seen(USERS, "", "user", time_ms), seen(SESSIONS, "user", "session", time_ms)];
    for (n, time_ms) in (0..).zip([now - 2 * MINUTE_MS, now, now - HOUR_MS]) {
        let batch = batch(0, n, n + 1, at(time_ms));
        assert_eq!(apply(store, &generation, &batch).await, ApplyOutcome::Applied);
    }
    // Twice in one batch, the later first.
    let twice = batch(0, 3, 4, [at(now + 1), at(now - HOUR_MS)].concat());
    assert_eq!(apply(store, &generation, &twice).await, ApplyOutcome::Applied);
    for (as_of_ms, count) in [(now + 1_001, 1), (now + 1_002, 0)] {
        for (stat, key) in [(USERS, ""), (SESSIONS, "user")] {
            let request = request(stat, window(1_000), as_of_ms);
            assert_eq!(figure(store, &generation, &request, key).await, Figure::Units(count), "{as_of_ms}");
        }
    }
}

pub(crate) async fn an_event_ahead_counts_at_once(store: &Store) {
    let now = now_ms();
    let ahead = now + 5 * MINUTE_MS;
    let mut operations = vec![seen(USERS, "", "user", ahead), seen(SESSIONS, "user", "session", ahead)];
    operations.extend(added(PAGES, "/", ahead, 1));
    let generation = applied(store, 4, operations).await;
    for length_ms in LENGTHS_MS {
        for (stat, key) in [(USERS, ""), (SESSIONS, "user"), (PAGES, "/")] {
            let request = request(stat, window(length_ms), now);
            assert_eq!(figure(store, &generation, &request, key).await, Figure::Units(1), "{length_ms}");
        }
    }
}

pub(crate) async fn a_sum_counts_whole_minutes_and_the_running_one(store: &Store) {
    let now = now_in_minute_ms();
    let minute = now - now.rem_euclid(MINUTE_MS);
    for shards in [1, 16] {
        let mut operations = Vec::new();
        // Far apart, so that a wrong bucket shows.
        let times = [minute - MINUTE_MS - 1, minute - MINUTE_MS, minute - 1, minute, now, now + 1, minute + MINUTE_MS];
        for (n, time_ms) in (0..).zip(times) {
            operations.extend(added(TOTAL, "", time_ms, 10_i64.pow(n)));
            operations.extend(added(PAGES, &format!("/{n}"), time_ms, 1));
        }
        let generation = applied(store, shards, operations).await;
        for (length_ms, as_of_ms, sum) in [
            (1_000, now, 1_111_110),
            (MINUTE_MS, now, 1_111_110),
            (MINUTE_MS, minute, 1_111_110),
            (MINUTE_MS, minute - 1, 1_111_111),
            (MINUTE_MS + 1, now, 1_111_111),
            (2 * MINUTE_MS, now, 1_111_111),
            (MINUTE_MS, minute + MINUTE_MS, 1_111_000),
            (MINUTE_MS, minute + 2 * MINUTE_MS, 1_000_000),
            (MINUTE_MS, minute + 3 * MINUTE_MS, 0),
            (HOUR_MS, now, 1_111_111),
            (DAY_MS, now, 1_111_111),
        ] {
            let total = request(TOTAL, window(length_ms), as_of_ms);
            assert_eq!(figure(store, &generation, &total, "").await, Figure::Units(sum), "{length_ms} {as_of_ms}");
            let pages = read(store, &generation, &request(PAGES, window(length_ms), as_of_ms)).await;
            let ones = sum.to_string().bytes().filter(|digit| *digit == b'1').count();
            assert_eq!((pages.entries.len(), pages.key_count), (ones, ones as u64), "{length_ms} {as_of_ms}");
        }
    }
}

pub(crate) async fn what_cannot_be_answered_is_refused(store: &Store) {
    let now = now_ms();
    let generation = applied(store, 2, vec![seen(USERS, "", "user", now)]).await;
    for stat in [USERS, SESSIONS] {
        let detail = refused(store, &generation, &request(stat, None, now)).await;
        assert!(detail.contains("all time"), "{detail}");
    }
    let longer = Some(Window::new(WINDOW_MAX_MS + 1, 10 * WINDOW_MAX_MS).unwrap());
    for stat in [USERS, TOTAL] {
        let detail = refused(store, &generation, &request(stat, longer, now)).await;
        assert!(detail.contains("86400 s"), "{detail}");
    }
    for stat in [USERS, TOTAL] {
        let with_key = ReadRequest { key: Some("x".into()), ..request(stat, window(MINUTE_MS), now) };
        let detail = refused(store, &generation, &with_key).await;
        assert!(detail.contains("no keys"), "{detail}");
    }
}

fn day_of_events(from_ms: i64, members: i64) -> Vec<Operation> {
    let event = |n: i64| {
        let time_ms = from_ms + n * DAY_MS / members;
        let mut event = vec![
            seen(USERS, "", &format!("user-{time_ms}"), time_ms),
            seen(SESSIONS, &format!("user-{}", n % 7), &format!("session-{time_ms}"), time_ms),
            seen(SESSIONS, &format!("user-{time_ms}"), "session", time_ms),
        ];
        event.extend(added(PAGES, &format!("/{}", n % 5), time_ms, 1));
        event.extend(added(AMOUNTS, &format!("{}", n % 5), time_ms, n));
        event
    };
    (0..members).flat_map(event).collect()
}

pub(crate) async fn trimming_keeps_what_windows_reach_and_nothing_else(store: &Store) {
    let now = now_ms();
    for shards in [1, 4] {
        let generation = applied(store, shards, day_of_events(now - DAY_MS, 6_000)).await;
        let stats = [USERS, PAGES, SESSIONS, AMOUNTS, TOTAL];
        let all = async |as_of_ms: i64| {
            let mut all = Vec::new();
            for stat in stats {
                for length_ms in LENGTHS_MS {
                    all.push(read(store, &generation, &request(stat, window(length_ms), as_of_ms)).await);
                }
            }
            all
        };
        let before = all(now).await;
        store.live().trim(&generation, now).await.unwrap();
        assert_eq!(all(now).await, before);
        // Half a day later, read by a clock that is an hour behind.
        let later = now + DAY_MS / 2;
        let before = all(later - HOUR_MS + 1).await;
        assert!(units(&before[4]).iter().any(|(_, count)| *count > 0));
        store.live().trim(&generation, later).await.unwrap();
        assert_eq!(all(later - HOUR_MS + 1).await, before);
        // To the millisecond.
        let edge = later - HOUR_MS - DAY_MS;
        let at_edge = [edge - 1, edge, edge + 1].map(|time_ms| seen(USERS, "", &format!("edge-{time_ms}"), time_ms));
        assert_eq!(apply(store, &generation, &batch(0, 10, 11, at_edge.to_vec())).await, ApplyOutcome::Applied);
        let at_edge = figure(store, &generation, &request(USERS, window(DAY_MS), later - HOUR_MS), "").await;
        let held = store.held();
        store.live().trim(&generation, later).await.unwrap();
        assert_eq!(store.held(), held - 1);
        let after = figure(store, &generation, &request(USERS, window(DAY_MS), later - HOUR_MS), "").await;
        assert_eq!(after, at_edge);
        // Two days later nothing is reached; all time and offsets stay.
        let held = store.held();
        store.live().trim(&generation, now + 2 * DAY_MS).await.unwrap();
        assert!(store.held() < held);
        for figures in all(now).await {
            assert_eq!(figures.key_count, 0, "{figures:?}");
            assert_eq!(figures.applied, [(0, 11)].into());
        }
        let pages = read(store, &generation, &request(PAGES, None, now)).await;
        assert_eq!(units(&pages), [("/0", 1200), ("/1", 1200), ("/2", 1200), ("/3", 1200), ("/4", 1200)]);
        store.live().remove(&generation).await.unwrap();
    }
}

pub(crate) async fn trimming_keeps_memory_flat(store: &Store) {
    let now = now_ms();
    let generation = generation(2);
    let mut held = Vec::new();
    for day in 0..6 {
        let from = now + day * DAY_MS;
        let batch = batch(0, day * 10, day * 10 + 10, day_of_events(from, 300));
        assert_eq!(apply(store, &generation, &batch).await, ApplyOutcome::Applied);
        store.live().trim(&generation, from + DAY_MS).await.unwrap();
        held.push(store.held());
    }
    // From the second day on, each day takes the room of the one before it.
    let (least, most) = (held[1..].iter().min().unwrap(), held[1..].iter().max().unwrap());
    assert!(most - least <= most / 50, "{held:?}");
    assert_eq!(figure(store, &generation, &request(PAGES, None, now), "/0").await, Figure::Units(360));
}
