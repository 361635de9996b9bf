//! Order, pages, signs, the ends of 64 bits, and keys of every kind.

use headwater_domain::Operation;
use headwater_live::{ApplyOutcome, Figure, Figures, ReadRequest};

use crate::{
    contract::{
        AMOUNTS, PAGES, SESSIONS, TOTAL, USERS, added, applied, apply, batch, figure, generation, now_ms, read,
        request, seen, units, window,
    },
    store::{DAY_MS, HOUR_MS, MINUTE_MS, Store},
};

pub(crate) async fn pages_follow_each_other(store: &Store) {
    let now = now_ms();
    for shards in [1, 16] {
        // Figures 0 to 24, three keys with each but 0, which is nothing to a distinct.
        let mut operations = Vec::new();
        for n in 1..75_i64 {
            let key = format!("key-{n:02}");
            operations.extend(added(PAGES, &key, now, n / 3));
            operations.extend((0..n / 3).map(|m| seen(SESSIONS, &key, &format!("session-{m}"), now)));
        }
        let generation = applied(store, shards, operations).await;
        for (stat, window, keys) in [
            (PAGES, window(MINUTE_MS), 74),
            (PAGES, window(DAY_MS), 74),
            (PAGES, None, 74),
            (SESSIONS, window(MINUTE_MS), 72),
        ] {
            let all = read(store, &generation, &request(stat, window, now)).await;
            assert_eq!((all.entries.len(), all.key_count), (keys, keys as u64));
            assert_eq!(units(&all)[..4], [("key-72", 24), ("key-73", 24), ("key-74", 24), ("key-69", 23)]);
            for (skip, limit) in
                [(0, 0), (0, 1), (1, 1), (0, 10), (5, 7), (70, 10), (74, 1), (1000, 10), (3, usize::MAX)]
            {
                let page = ReadRequest { skip, limit, ..request(stat, window, now) };
                let page = read(store, &generation, &page).await;
                let expected: Vec<_> = all.entries.iter().skip(skip).take(limit).cloned().collect();
                assert_eq!((page.entries, page.key_count), (expected, keys as u64), "{stat:?} {skip} {limit}");
            }
        }
    }
}

pub(crate) async fn equal_figures_are_ordered_by_key(store: &Store) {
    let now = now_ms();
    let keys = ["b", "a", "", "B", "aa", "\u{e4}", "\u{10348}", "~", "10", "9"];
    let mut sorted = keys;
    sorted.sort_unstable();
    for shards in [1, 16] {
        let operations = keys.iter().flat_map(|key| {
            let mut operations = added(PAGES, key, now, 7);
            operations.push(seen(SESSIONS, key, "session", now));
            operations
        });
        let generation = applied(store, shards, operations.collect()).await;
        for (stat, window) in [(PAGES, None), (PAGES, window(HOUR_MS)), (SESSIONS, window(HOUR_MS))] {
            for limit in [3, 10] {
                let request = ReadRequest { limit, ..request(stat, window, now) };
                let figures = read(store, &generation, &request).await;
                let order: Vec<&str> = figures.entries.iter().map(|(key, _)| key.as_str()).collect();
                assert_eq!(order, sorted[..limit]);
            }
        }
    }
}

pub(crate) async fn sums_are_negative_and_zero(store: &Store) {
    let now = now_ms();
    for shards in [1, 16] {
        let amounts = [("plus", 12), ("zero", 7), ("minus", -9), ("zero", -7), ("minus", -1), ("nought", 0)];
        let operations = amounts.iter().flat_map(|(key, amount)| added(AMOUNTS, key, now, *amount));
        let generation = applied(store, shards, operations.collect()).await;
        for window in [window(MINUTE_MS), window(DAY_MS), None] {
            let figures = read(store, &generation, &request(AMOUNTS, window, now)).await;
            // What adds up to 0 is a figure.
            assert_eq!(units(&figures), [("plus", 12), ("nought", 0), ("zero", 0), ("minus", -10)]);
            assert_eq!(figures.key_count, 4);
            let zero = ReadRequest { key: Some("zero".into()), ..request(AMOUNTS, window, now) };
            let zero = read(store, &generation, &zero).await;
            assert_eq!((units(&zero), zero.key_count), (vec![("zero", 0)], 1));
            let absent = ReadRequest { key: Some("absent".into()), ..request(AMOUNTS, window, now) };
            let absent = read(store, &generation, &absent).await;
            assert_eq!((units(&absent), absent.key_count), (vec![("absent", 0)], 0));
        }
    }
}

pub(crate) async fn sums_are_exact_to_64_bits(store: &Store) {
    const GREAT: i64 = 1 << 62;
    let now = now_ms();
    for shards in [1, 16] {
        let generation = generation(shards);
        // Keys whose sums are one double and four integers.
        let great =
            [("a", GREAT), ("b", GREAT + 3), ("c", GREAT + 1), ("d", GREAT + 2), ("e", -GREAT), ("f", -GREAT - 1)];
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (key, amount) in great {
            first.extend(added(AMOUNTS, key, now, amount));
            second.extend(added(AMOUNTS, key, now, -1));
        }
        // Small parts that add up beyond what a double holds.
        for key in ["a", "b"] {
            second.extend((0..9).flat_map(|n| added(AMOUNTS, key, now - n * HOUR_MS, 99_999_999_999_999)));
        }
        assert_eq!(apply(store, &generation, &batch(0, 0, 1, first)).await, ApplyOutcome::Applied);
        assert_eq!(apply(store, &generation, &batch(0, 1, 2, second)).await, ApplyOutcome::Applied);
        let more = 9 * 99_999_999_999_999;
        let expected = [
            ("b", GREAT + 2 + more),
            ("a", GREAT - 1 + more),
            ("d", GREAT + 1),
            ("c", GREAT),
            ("e", -GREAT - 1),
            ("f", -GREAT - 2),
        ];
        for window in [window(DAY_MS), None] {
            let figures = read(store, &generation, &request(AMOUNTS, window, now)).await;
            assert_eq!(units(&figures), expected);
            for limit in 1..6 {
                let request = ReadRequest { limit, ..request(AMOUNTS, window, now) };
                let figures = read(store, &generation, &request).await;
                assert_eq!(units(&figures), expected[..limit]);
                assert_eq!(figures.key_count, 6);
            }
        }
    }
}

fn first_of(figures: &Figures) -> (&str, Figure) {
    (&figures.entries[0].0, figures.entries[0].1)
}

pub(crate) async fn an_overflow_is_told_and_stays(store: &Store) {
    let now = now_ms();
    let hour_ago = now - HOUR_MS;
    for shards in [1, 16] {
        let generation = generation(shards);
        let over = |amount: i64| added(AMOUNTS, "over", now, amount);
        let around = [added(AMOUNTS, "fine", now, 5), added(AMOUNTS, "over", hour_ago, 8), added(TOTAL, "", now, 3)];
        let first = [over(i64::MAX - 1), around.concat()].concat();
        assert_eq!(apply(store, &generation, &batch(0, 0, 1, first)).await, ApplyOutcome::Applied);
        let sum = figure(store, &generation, &request(AMOUNTS, window(MINUTE_MS), now), "over").await;
        assert_eq!(sum, Figure::Units(i64::MAX - 1));

        // In the middle of a batch whose other amounts count; and what comes later does not mend it.
        let before = added(AMOUNTS, "before", now, 1);
        let after = added(AMOUNTS, "zz-after", now, 2);
        let second = [before, over(10), after].concat();
        assert_eq!(apply(store, &generation, &batch(0, 1, 2, second)).await, ApplyOutcome::Applied);
        for (first, amount) in [(2, -100), (3, i64::MIN + 1), (4, 100)] {
            let again = batch(0, first, first + 1, over(amount));
            assert_eq!(apply(store, &generation, &again).await, ApplyOutcome::Applied);
        }
        for window in [window(MINUTE_MS), window(DAY_MS), None] {
            let figures = read(store, &generation, &request(AMOUNTS, window, now)).await;
            assert_eq!(first_of(&figures), ("over", Figure::Overflowed));
            let rest: Vec<_> = figures.entries[1..].iter().map(|(key, figure)| (key.as_str(), *figure)).collect();
            let expected = [("fine", 5), ("zz-after", 2), ("before", 1)].map(|(key, sum)| (key, Figure::Units(sum)));
            assert_eq!(rest, expected);
            let top = read(store, &generation, &ReadRequest { limit: 1, ..request(AMOUNTS, window, now) }).await;
            assert_eq!((first_of(&top), top.key_count), (("over", Figure::Overflowed), 4));
            let one = figure(store, &generation, &request(AMOUNTS, window, now), "over").await;
            assert_eq!(one, Figure::Overflowed);
            assert_eq!(figure(store, &generation, &request(TOTAL, window, now), "").await, Figure::Units(3));
        }
        // A window that does not touch that hour has its own figure.
        let later = request(AMOUNTS, window(MINUTE_MS), now + 10 * MINUTE_MS);
        assert_eq!(figure(store, &generation, &later, "over").await, Figure::Units(0));
    }
}

pub(crate) async fn a_window_can_overflow_when_none_of_its_buckets_does(store: &Store) {
    let now = now_ms();
    for (amount, shards) in [(i64::MAX - 1, 1), (i64::MIN + 1, 1), (i64::MAX - 1, 16)] {
        // Two hours apart, so that no bucket holds both.
        let mut operations =
            [added(AMOUNTS, "key", now - 2 * HOUR_MS, amount), added(AMOUNTS, "key", now, amount)].concat();
        operations.retain(|operation| matches!(operation, Operation::Add { bucket: Some(_), .. }));
        operations.push(Operation::Add { stat: AMOUNTS.0, key: "key".into(), bucket: None, amount: -1 });
        let generation = applied(store, shards, operations).await;
        let ask = |length_ms| request(AMOUNTS, window(length_ms), now);
        assert_eq!(figure(store, &generation, &ask(MINUTE_MS), "key").await, Figure::Units(amount));
        assert_eq!(figure(store, &generation, &ask(5 * HOUR_MS), "key").await, Figure::Overflowed);
        let all = read(store, &generation, &ask(5 * HOUR_MS)).await;
        assert_eq!(first_of(&all), ("key", Figure::Overflowed));
        assert_eq!(figure(store, &generation, &request(AMOUNTS, None, now), "key").await, Figure::Units(-1));
    }
}

/// Adding up within a batch stops at the ends of 64 bits: an amount that is one of them says nothing.
pub(crate) async fn a_batch_that_was_cut_off_overflows(store: &Store) {
    let now = now_ms();
    for amount in [i64::MAX, i64::MIN] {
        let generation = generation(2);
        let first = added(AMOUNTS, "new", now, amount);
        assert_eq!(apply(store, &generation, &batch(0, 0, 1, first)).await, ApplyOutcome::Applied);
        let second = [added(AMOUNTS, "old", now, 5), added(AMOUNTS, "old", now, amount)].concat();
        assert_eq!(apply(store, &generation, &batch(0, 1, 2, second)).await, ApplyOutcome::Applied);
        for window in [window(MINUTE_MS), None] {
            let figures = read(store, &generation, &request(AMOUNTS, window, now)).await;
            let expected = [("new".to_owned(), Figure::Overflowed), ("old".to_owned(), Figure::Overflowed)];
            assert_eq!(figures.entries, expected);
        }
    }
}

pub(crate) async fn keys_can_be_any_text(store: &Store) {
    let keys = [
        "",
        " ",
        "a b",
        "a:b",
        "a:b:c",
        "{a}",
        "}{",
        "\0",
        "a\0b",
        "\r\n",
        "\"'\\",
        "\u{10348}\u{1f980}",
        "%s%d",
        "!",
        "+inf",
        "-1",
        "0x10",
        "nan",
        "seen",
        "sum",
        "rank:1",
        "*",
        "[a-z]?",
    ];
    let now = now_ms();
    for shards in [1, 16] {
        let mut operations = Vec::new();
        for (n, key) in (1..).zip(keys) {
            operations.push(seen(USERS, "", key, now));
            operations.extend(keys.iter().take(n).map(|member| seen(SESSIONS, key, member, now)));
            operations.extend(added(PAGES, key, now, n as i64));
            operations.extend(added(AMOUNTS, key, now, -(n as i64)));
        }
        let held = store.held();
        let generation = applied(store, shards, operations).await;
        let users = figure(store, &generation, &request(USERS, window(MINUTE_MS), now), "").await;
        assert_eq!(users, Figure::Units(keys.len() as i64));
        let ascending: Vec<_> = keys.iter().copied().zip(1..).collect();
        let descending: Vec<_> = ascending.iter().rev().copied().collect();
        let negative: Vec<_> = ascending.iter().map(|(key, n)| (*key, -n)).collect();
        for (stat, window, expected) in [
            (SESSIONS, window(MINUTE_MS), &descending),
            (PAGES, window(MINUTE_MS), &descending),
            (PAGES, None, &descending),
            (AMOUNTS, window(DAY_MS), &negative),
            (AMOUNTS, None, &negative),
        ] {
            let figures = read(store, &generation, &request(stat, window, now)).await;
            assert_eq!(&units(&figures), expected, "{stat:?} on {shards}");
            for (key, n) in expected {
                let one = figure(store, &generation, &request(stat, window, now), key).await;
                assert_eq!(one, Figure::Units(*n), "{key:?}");
            }
        }
        store.live().trim(&generation, now).await.unwrap();
        store.live().remove(&generation).await.unwrap();
        assert_eq!(store.held(), held);
    }
}

pub(crate) async fn large_batches_are_applied_whole(store: &Store) {
    const MEMBERS: i64 = 20_000;
    let now = now_ms();
    let mut operations = Vec::new();
    for n in 0..MEMBERS {
        let key = format!("key-{n:05}");
        operations.push(seen(USERS, "", &key, now));
        operations.push(seen(SESSIONS, "one", &key, now));
        operations.push(seen(SESSIONS, &key, "session", now));
        operations.extend(added(AMOUNTS, &key, now, n));
    }
    let generation = applied(store, 1, operations).await;
    let users = figure(store, &generation, &request(USERS, window(MINUTE_MS), now), "").await;
    assert_eq!(users, Figure::Units(MEMBERS));
    let sessions = read(store, &generation, &request(SESSIONS, window(MINUTE_MS), now)).await;
    assert_eq!(units(&sessions)[..2], [("one", MEMBERS), ("key-00000", 1)]);
    assert_eq!(sessions.key_count, MEMBERS as u64 + 1);
    for window in [window(MINUTE_MS), None] {
        let amounts = read(store, &generation, &request(AMOUNTS, window, now)).await;
        assert_eq!(amounts.entries.len() as i64, MEMBERS);
        assert_eq!(amounts.entries[0], ("key-19999".into(), Figure::Units(MEMBERS - 1)));
    }
    store.live().remove(&generation).await.unwrap();
}
