//! Integers of 64 bits.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use headwater_cache_store::{Done, Op, Refusal, Space};
use tokio::time::sleep;

use crate::world::{LAYOUTS, LONG_MS, World, add, done, refusal, write};

pub(crate) async fn integers_are_added(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        let sums = [(5, 5), (0, 5), (-7, -2), (2, 0), (i64::MAX, i64::MAX), (i64::MIN, -1), (-i64::MAX, i64::MIN)];
        for (index, (delta, sum)) in sums.into_iter().enumerate() {
            let expected = Done { existed: index > 0, number: Some(sum), ..Done::default() };
            assert_eq!(done(world.write(&space, "a", add(delta)).await), expected, "{}: {layout:?}", world.name);
            // It is kept as decimal digits.
            assert_eq!(world.value(&space, "a").await.unwrap(), sum.to_string(), "{}: {layout:?}", world.name);
        }
        // Past what a double holds, each step of one counts.
        world.put(&space, "b", "9007199254740992").await;
        for sum in 9_007_199_254_740_993..9_007_199_254_740_996 {
            assert_eq!(done(world.write(&space, "b", add(1)).await).number, Some(sum), "{}: {layout:?}", world.name);
        }
        // What an absent key has before.
        let from = |initial, delta| Op::Add { delta, initial, ttl_ms: None, new_ttl_ms: None };
        assert_eq!(done(world.write(&space, "c", from(100, -1)).await).number, Some(99), "{}", world.name);
        assert_eq!(done(world.write(&space, "c", from(100, -1)).await).number, Some(98), "{}", world.name);
        assert_eq!(done(world.write(&space, "d", from(i64::MIN, i64::MAX)).await).number, Some(-1), "{}", world.name);
        assert_eq!(done(world.write(&space, "e", from(i64::MAX, 0)).await).number, Some(i64::MAX), "{}", world.name);
    }
}

pub(crate) async fn sums_pass_no_64_bits(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        let cases = [
            (i64::MAX, 1),
            (i64::MAX, i64::MAX),
            (1, i64::MAX),
            (i64::MIN, -1),
            (i64::MIN, i64::MIN),
            (-1, i64::MIN),
            (-2, -i64::MAX),
        ];
        for (before, delta) in cases {
            let case = format!("{}: {layout:?}: {before} + {delta}", world.name);
            world.put(&space, "a", &before.to_string()).await;
            assert_eq!(refusal(world.write(&space, "a", add(delta)).await), Refusal::Overflow, "{case}");
            assert_eq!(world.value(&space, "a").await.unwrap(), before.to_string(), "{case}");
            let absent = Op::Add { delta, initial: before, ttl_ms: None, new_ttl_ms: None };
            assert_eq!(refusal(world.write(&space, "absent", absent).await), Refusal::Overflow, "{case}");
            assert_eq!(world.get(&space, "absent").await, None, "{case}");
        }
    }
}

pub(crate) async fn only_integers_are_added_to(world: &World) {
    let long = "1".repeat(1_000_000);
    let many_zeros = format!("{}1", "0".repeat(100));
    let texts = [
        "",
        " 1",
        "1 ",
        "+1",
        "01",
        "-01",
        "-0",
        "00",
        "1.0",
        "1e3",
        "0x10",
        "-",
        "--1",
        "one",
        "1\n",
        "\u{661}",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "99999999999999999999",
        "1\0",
        &many_zeros,
        &long,
    ];
    for layout in LAYOUTS {
        let space = world.space(layout);
        for text in texts {
            let case = || format!("{}: {layout:?}: {:?}", world.name, &text[..text.len().min(30)]);
            world.put(&space, "a", text).await;
            assert_eq!(refusal(world.write(&space, "a", add(1)).await), Refusal::NotANumber, "{}", case());
            assert_eq!(refusal(world.write(&space, "a", add(0)).await), Refusal::NotANumber, "{}", case());
            assert!(world.value(&space, "a").await.unwrap() == text, "{}", case());
        }
        for (text, sum) in [("0", 1), ("-1", 0), ("9223372036854775806", i64::MAX), ("-9223372036854775808", -i64::MAX)]
        {
            world.put(&space, "a", text).await;
            assert_eq!(done(world.write(&space, "a", add(1)).await).number, Some(sum), "{}: {text}", world.name);
        }
    }
}

pub(crate) async fn what_is_added_keeps_or_gets_its_time(world: &World) {
    let near = |told: Option<i64>, ttl_ms: i64| told.is_some_and(|told| (ttl_ms - 60_000..=ttl_ms).contains(&told));
    for layout in LAYOUTS {
        for kept_stale_ms in [0, LONG_MS] {
            let space = Space { kept_stale_ms, ..world.space(layout) };
            let add = async |key: &str, ttl_ms, new_ttl_ms| {
                let op = Op::Add { delta: 1, initial: 0, ttl_ms, new_ttl_ms };
                let done = done(world.write(&space, key, op).await);
                let told = world.get(&space, key).await.unwrap().ttl_ms;
                let case = format!("{}: {layout:?}: {done:?}, {told:?}", world.name);
                assert_eq!(told.is_some(), done.ttl_ms.is_some(), "{case}");
                assert!(told.is_none_or(|told| near(done.ttl_ms, told + 30_000)), "{case}");
                (done.ttl_ms, case)
            };
            // None of a key that was absent is for ever, and of one that was there is its time.
            let (ttl_ms, case) = add("a", None, None).await;
            assert_eq!(ttl_ms, None, "{case}");
            let (ttl_ms, case) = add("a", None, Some(1_000_000)).await;
            assert_eq!(ttl_ms, None, "{case}");
            let (ttl_ms, case) = add("a", Some(2_000_000), Some(1_000_000)).await;
            assert_eq!(ttl_ms, Some(2_000_000), "{case}");
            sleep(Duration::from_millis(3)).await;
            let (ttl_ms, case) = add("a", None, Some(1_000_000)).await;
            assert!(near(ttl_ms, 2_000_000) && ttl_ms != Some(2_000_000), "{case}");
            let (ttl_ms, case) = add("b", None, Some(1_000_000)).await;
            assert_eq!(ttl_ms, Some(1_000_000), "{case}");
            let (ttl_ms, case) = add("b", Some(500_000), None).await;
            assert_eq!(ttl_ms, Some(500_000), "{case}");
        }
    }
}

pub(crate) async fn nothing_is_lost_when_many_add(world: &World) {
    for layout in LAYOUTS {
        let space = Arc::new(world.space(layout));
        let tasks = (0..8).map(|n| {
            let (store, space) = (world.replica(n), Arc::clone(&space));
            tokio::spawn(async move {
                let writes = [write("a", add(1)), write("b", add(-1)), write("a", add(1))];
                for _ in 0..25 {
                    for result in store.write(&space, &writes).await {
                        done(result.unwrap());
                    }
                }
            })
        });
        join_all(tasks).await.into_iter().for_each(Result::unwrap);
        assert_eq!(world.value(&space, "a").await.unwrap(), "400", "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "b").await.unwrap(), "-200", "{}: {layout:?}", world.name);
    }
}
