//! How long values stay.

use std::time::Duration;

use headwater_cache_store::{Condition, Done, Entry, Layout, Op, Refusal, Space};
use tokio::time::{Instant, sleep};

use crate::world::{LAYOUTS, LONG_MS, World, add, ask, done, put_if, refusal};

/// By how much the store's clock and the test's may differ in what they call a millisecond.
const SLACK_MS: i64 = 2;

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap()
}

fn stale(space: Space) -> Space {
    Space { kept_stale_ms: LONG_MS, ..space }
}

/// Puts a value that becomes stale, and waits until it is.
pub(crate) async fn put_stale(world: &World, space: &Space, key: &str, value: &str) {
    world.put_for(space, key, value, 1).await;
    world.until("a value becomes stale", async || !world.get(space, key).await.unwrap().is_fresh()).await;
}

pub(crate) async fn a_value_expires(world: &World) {
    const TTL_MS: u64 = 60;
    for layout in LAYOUTS {
        let space = world.space(layout);
        let asked = Instant::now();
        assert_eq!(world.put_for(&space, "a", "1", TTL_MS).await.ttl_ms, Some(60), "{}", world.name);
        world.put_for(&space, "b", "1", LONG_MS).await;
        world.put(&space, "c", "1").await;
        world.until("a value expires", async || world.value(&space, "a").await.is_none()).await;
        assert!(ms(asked.elapsed()) + SLACK_MS >= 60, "{}: {layout:?}: {:?}", world.name, asked.elapsed());
        // Where nothing is kept stale, it is gone.
        world.until("an expired value is gone", async || world.get(&space, "a").await.is_none()).await;
        assert_eq!(world.among(&space, &["a", "b", "c"]).await, ["b", "c"], "{}: {layout:?}", world.name);
        assert_eq!(world.get(&space, "c").await.unwrap().ttl_ms, None, "{}", world.name);
    }
}

/// Asserts that what is told of a key's time is right: it was written between the two moments, for so long.
async fn assert_ttl(world: &World, space: &Space, key: &str, written: (Instant, Instant), ttl_ms: u64) {
    let (asked, answered) = written;
    let before = answered.elapsed();
    let entry = world.get(space, key).await.unwrap();
    let after = asked.elapsed();
    let (told, ttl_ms) = (entry.ttl_ms.unwrap(), i64::try_from(ttl_ms).unwrap());
    let range = ttl_ms - ms(after) - SLACK_MS..=ttl_ms - ms(before) + SLACK_MS;
    assert!(range.contains(&told), "{}: {:?}: {told} is not in {range:?}", world.name, space.layout);
}

pub(crate) async fn a_time_to_live_is_told_to_the_millisecond(world: &World) {
    for layout in LAYOUTS {
        for space in [world.space(layout), stale(world.space(layout))] {
            let asked = Instant::now();
            world.put_for(&space, "a", "1", 500).await;
            let written = (asked, Instant::now());
            for _ in 0..3 {
                sleep(Duration::from_millis(7)).await;
                assert_ttl(world, &space, "a", written, 500).await;
            }
            let asked = Instant::now();
            let year_ms = 31_536_000_000;
            assert_eq!(world.put_for(&space, "a", "1", year_ms).await.ttl_ms, Some(31_536_000_000), "{}", world.name);
            assert_ttl(world, &space, "a", (asked, Instant::now()), year_ms).await;
        }
    }
}

pub(crate) async fn a_write_sets_the_time_and_touch_changes_it(world: &World) {
    for layout in LAYOUTS {
        for space in [world.space(layout), stale(world.space(layout))] {
            let touch = async |ttl_ms| done(world.write(&space, "a", Op::Touch { ttl_ms }).await);
            assert_eq!(touch(Some(5)).await, Done::default(), "{}: nothing is there to touch", world.name);
            assert_eq!(world.get(&space, "a").await, None, "{}", world.name);

            world.put(&space, "a", "1").await;
            let asked = Instant::now();
            let expected = Done { existed: true, ttl_ms: Some(20_000), ..Done::default() };
            assert_eq!(touch(Some(20_000)).await, expected, "{}: {layout:?}", world.name);
            assert_ttl(world, &space, "a", (asked, Instant::now()), 20_000).await;
            assert_eq!(touch(None).await, Done { existed: true, ..Done::default() }, "{}: {layout:?}", world.name);
            assert_eq!(world.get(&space, "a").await, Some(Entry { value: "1".into(), ttl_ms: None }), "{}", world.name);

            // A write sets the time, whatever it was.
            world.put_for(&space, "a", "2", 1_000).await;
            world.put(&space, "a", "3").await;
            assert_eq!(world.get(&space, "a").await, Some(Entry { value: "3".into(), ttl_ms: None }), "{}", world.name);
            touch(Some(1)).await;
            world.until("what was touched expires", async || world.value(&space, "a").await.is_none()).await;
        }
    }
}

pub(crate) async fn a_stale_value_is_told_and_then_gone(world: &World) {
    for layout in LAYOUTS {
        let space = Space { kept_stale_ms: 150, ..world.space(layout) };
        let asked = Instant::now();
        assert_eq!(world.put_for(&space, "a", "1", 50).await.ttl_ms, Some(50), "{}", world.name);
        let written = (asked, Instant::now());
        let mut was_stale = false;
        while let Some(entry) = world.get(&space, "a").await {
            let ttl_ms = entry.ttl_ms.unwrap();
            assert!((-150 - SLACK_MS..=50).contains(&ttl_ms), "{}: {layout:?}: {ttl_ms}", world.name);
            assert_eq!(entry.value, "1", "{}", world.name);
            // What a batch tells is the same.
            if let [Some(entry)] = &world.batch(&space, &["a".into()]).await[..] {
                assert!(entry.ttl_ms.unwrap() <= ttl_ms, "{}: {layout:?}", world.name);
            }
            was_stale |= !entry.is_fresh();
            assert!(written.1.elapsed() < Duration::from_secs(5), "{}: {layout:?}: it stays", world.name);
            sleep(Duration::from_millis(3)).await;
        }
        assert!(was_stale, "{}: {layout:?}", world.name);
        assert!(ms(asked.elapsed()) + SLACK_MS >= 200, "{}: {layout:?}: {:?}", world.name, asked.elapsed());
    }
}

pub(crate) async fn what_is_stale_counts_as_absent(world: &World) {
    for layout in LAYOUTS {
        let space = stale(world.space(layout));
        let refusing = Space { is_overwrite_refused: true, ..space.clone() };
        for key in ["present", "etag", "absent", "any", "add", "touch", "delete", "refusing"] {
            world.put_for(&space, key, "7", 1).await;
        }
        for key in ["present", "etag", "absent", "any", "add", "touch", "delete", "refusing"] {
            world.until("it is stale", async || !world.get(&space, key).await.unwrap().is_fresh()).await;
        }
        let put = |condition| put_if("8", None, condition);
        let not_met = Refusal::NotMet { current: None };
        let etag = headwater_cache_store::etag_of(b"7");
        assert_eq!(refusal(world.write(&space, "present", put(Condition::Present)).await), not_met, "{}", world.name);
        assert_eq!(refusal(world.write(&space, "etag", put(Condition::Etag(etag))).await), not_met, "{}", world.name);
        assert_eq!(world.get(&space, "etag").await.unwrap().value, "7", "{}: it is still stale", world.name);
        assert_eq!(
            done(world.write(&space, "absent", put(Condition::Absent)).await),
            Done::default(),
            "{}",
            world.name
        );
        assert_eq!(world.value(&space, "absent").await.unwrap(), "8", "{}", world.name);
        assert_eq!(done(world.write(&space, "any", put(Condition::Any)).await), Done::default(), "{}", world.name);
        let sum =
            done(world.write(&space, "add", Op::Add { delta: 2, initial: 10, ttl_ms: None, new_ttl_ms: None }).await);
        assert_eq!(sum, Done { number: Some(12), ..Done::default() }, "{}: {layout:?}", world.name);
        let touch = Op::Touch { ttl_ms: Some(LONG_MS) };
        assert_eq!(done(world.write(&space, "touch", touch).await), Done::default(), "{}", world.name);
        assert!(!world.get(&space, "touch").await.unwrap().is_fresh(), "{}: {layout:?}: touch revived it", world.name);
        assert_eq!(done(world.write(&space, "delete", Op::Delete).await), Done::default(), "{}", world.name);
        assert_eq!(world.get(&space, "delete").await, None, "{}: a stale value is deleted too", world.name);
        assert!(!done(world.write(&refusing, "refusing", put(Condition::Any)).await).existed, "{}", world.name);
        assert_eq!(refusal(world.write(&refusing, "refusing", add(1)).await), Refusal::Exists, "{}", world.name);
    }
}

pub(crate) async fn what_was_kept_for_longer_is_fresh_for_longer(world: &World) {
    // A value's time to live is what the store keeps it for, less what the namespace keeps stale now.
    let space = world.space(Layout::Spread);
    let asked = Instant::now();
    world.put_for(&Space { kept_stale_ms: 10_000, ..space.clone() }, "a", "1", 5_000).await;
    let written = (asked, Instant::now());
    assert_ttl(world, &space, "a", written, 15_000).await;
    assert_ttl(world, &Space { kept_stale_ms: 2_000, ..space.clone() }, "a", written, 13_000).await;
    let got = world.got(&Space { kept_stale_ms: 20_000, ..space }, "a", Some(&ask("t", 10))).await;
    assert!(got.is_leased && !got.entry.unwrap().is_fresh(), "{}", world.name);
}
