//! What only memory can show: its bound, and time that stands still.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use headwater_cache_store::{
    Applied, CacheStore, Done, EnqueueError, Expected, Holder, Layout, Notice, Outcome, QueuedWrite, Saved, Space,
    StoreError, Write,
    memory::{MemoryStore, MemoryStoreOptions},
};
use tokio::{
    sync::mpsc,
    time::{Instant, advance},
};

use crate::{
    listener::Listener,
    world::{LONG_MS, World, add, ask, done, put, write},
};

/// Enough for a hundred values of 1,000 bytes, and not for more.
const BYTES_MAX: u64 = 100 * 1_600;

fn small() -> World {
    World::in_memory(MemoryStoreOptions { bytes_max: BYTES_MAX })
}

fn value(bytes: usize) -> String {
    "v".repeat(bytes)
}

async fn among(world: &World, space: &Space, keys: impl Iterator<Item = usize>) -> Vec<usize> {
    let keys: Vec<String> = keys.map(|n| n.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    world.among(space, &keys).await.into_iter().map(|key| key.parse().unwrap()).collect()
}

fn is_full<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(&result, Err(StoreError::Full(text)) if text.contains("160000 bytes")), "{result:?}");
}

#[tokio::test]
async fn what_was_used_least_recently_leaves_whatever_namespace_it_is_in() {
    let world = small();
    let (one, two) = (world.space(Layout::Spread), world.space(Layout::Ranked { entries_max: 10_000 }));
    for n in 0..80 {
        let space = if n % 2 == 0 { &one } else { &two };
        world.put(space, &n.to_string(), &value(1_000)).await;
    }
    // The first are read, one way or the other, and stay.
    world.get(&one, "0").await;
    world.get(&two, "1").await;
    world.batch(&one, &["2".into()]).await;
    let listener = Listener::of(&world, &[&one, &two]).await;
    listener.clear();
    for n in 100..160 {
        // That others leave is not told as making room in the namespace.
        assert_eq!(world.put(&one, &n.to_string(), &value(1_000)).await, Done::default());
    }
    assert_eq!(among(&world, &one, 100..160).await, (100..160).collect::<Vec<_>>());
    let (even, odd) = ((0..80).step_by(2), (1..80).step_by(2));
    let mut left = among(&world, &one, even).await;
    left.extend(among(&world, &two, odd).await);
    left.sort_unstable();
    assert_eq!(left[..3], [0, 1, 2], "{left:?}");
    assert!(left[3..].windows(2).all(|pair| pair[0] + 1 == pair[1]) && left.ends_with(&[79]), "{left:?}");
    assert!((90..=105).contains(&(left.len() + 60)), "{left:?}");
    // It was told, and a ranked namespace knows.
    listener.heard().await;
    assert!(listener.is_told(&two, "3") && listener.is_told(&one, "4") && !listener.is_told(&two, "1"));
    let ranked = left.iter().filter(|n| **n % 2 == 1).count();
    assert_eq!(world.held(&two).await.entries, Some(ranked as u64));
}

#[tokio::test]
async fn leases_and_denials_are_bounded_too() {
    let world = small();
    let space = world.space(Layout::Spread);
    world.put(&space, "a", "1").await;
    for n in 0..2_000 {
        let key = n.to_string();
        assert!(world.lease(&space, &key, "one").await, "{n}");
        if n % 2 == 0 {
            world.store.deny(&space, key.as_bytes(), b"one", b"why", LONG_MS).await.unwrap();
        }
    }
    assert_eq!(world.get(&space, "a").await, None, "it was used least recently");
    assert!(world.got(&space, "1998", None).await.denied.is_some());
    assert!(world.got(&space, "0", None).await.denied.is_none());
}

#[tokio::test]
async fn what_can_never_have_room_is_refused_and_nothing_leaves_for_it() {
    let world = small();
    for layout in [Layout::Spread, Layout::Slot, Layout::Ranked { entries_max: 1 }] {
        let space = world.space(layout);
        world.put(&space, "a", "1").await;
        is_full(world.try_write(&space, "b", put(&value(160_000))).await);
        is_full(world.try_write(&space, "a", put(&value(160_000))).await);
        assert_eq!(world.value(&space, "a").await.unwrap(), "1", "{layout:?}");
        // The largest that has room.
        let member_bytes = if let Layout::Ranked { .. } = layout { 256 } else { 0 };
        let bytes = 160_000 - 512 - member_bytes - space.stored_key(b"b").len();
        is_full(world.try_write(&space, "b", put(&value(bytes + 1))).await);
        done(world.write(&space, "b", put(&value(bytes))).await);
        assert_eq!(world.value(&space, "b").await.unwrap().len(), bytes, "{layout:?}");
        assert_eq!(world.get(&space, "a").await, None, "{layout:?}");
        done(world.write(&space, "b", headwater_cache_store::Op::Delete).await);
    }
}

#[tokio::test]
async fn what_is_queued_or_saved_stays() {
    let world = small();
    let space = world.space(Layout::Slot);
    for n in 0..50 {
        world.put(&space, &n.to_string(), &value(1_000)).await;
    }
    // What is queued lets values leave, until nothing is left that could.
    let writes = [write("queued", put(&value(30_000))), write("queued", add(1))];
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.extend(world.store.enqueue(&space, &writes).await.unwrap());
    }
    match world.store.enqueue(&space, &writes).await {
        Err(EnqueueError::Store(error)) => is_full::<()>(Err(error)),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.held(&space).await.queued, 10, "none of them");
    is_full(world.store.save_namespace("n", value(10_000).as_bytes(), Expected::Absent, 10).await);
    assert_eq!(world.save("n", "small", Expected::Absent).await, Saved::Revision(1));
    is_full(world.try_write(&space, "a", put(&value(10_000))).await);
    // Reads go on, and give no lease that there is no room for.
    assert!(!world.lease(&space, &"k".repeat(10_000), "one").await);
    assert_eq!(world.get(&space, "0").await, None, "it left");

    // As writes leave the queue there is room again, and nothing of it was lost.
    let holder = Holder { id: "h".into(), lease_ms: LONG_MS };
    let applied = world.store.apply_queued(&space, &holder, 100).await.unwrap();
    assert_eq!(applied, Applied::Ended { count: 10, waiting: 0 });
    for id in &ids {
        assert!(matches!(world.store.queued(&space, id).await, Ok(Some(QueuedWrite::Ended(_)))), "{id}");
    }
    assert_eq!(world.value(&space, "queued").await.unwrap().len(), 30_000);
    done(world.write(&space, "a", put(&value(10_000))).await);
    assert_eq!(world.store.namespaces().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_queued_write_without_room_stays_at_the_head() {
    let world = small();
    let (space, other) = (world.space(Layout::Slot), world.space(Layout::Slot));
    let ids =
        world.store.enqueue(&space, &[write("a", put("1")), write("n", put("1")), write("n", add(1))]).await.unwrap();
    // Outcomes are what grows: as much is queued elsewhere as has room.
    while world.store.enqueue(&other, &[write("b", put(&value(1_000)))]).await.is_ok() {}
    while world.store.enqueue(&other, &[write("b", put(""))]).await.is_ok() {}
    let holder = Holder { id: "h".into(), lease_ms: LONG_MS };
    let large = Write { key: Bytes::from(value(2_000)), op: add(1) };
    let kept = world.store.enqueue(&space, &[large]).await;
    assert!(matches!(kept, Err(EnqueueError::Store(StoreError::Full(_)))), "{kept:?}");
    // Each write of the queue fits where it was itself.
    assert_eq!(world.store.apply_queued(&space, &holder, 1).await, Ok(Applied::Ended { count: 1, waiting: 2 }));
    assert_eq!(world.store.queued(&space, &ids[1]).await, Ok(Some(QueuedWrite::Waiting)));
    let mut applied = 0;
    while let Ok(Applied::Ended { count: 1, .. }) = world.store.apply_queued(&other, &holder, 1).await {
        applied += 1;
    }
    assert!(applied > 90, "{applied}");
    assert_eq!(world.store.apply_queued(&space, &holder, 10).await, Ok(Applied::Ended { count: 2, waiting: 0 }));
    assert_eq!(world.value(&space, "n").await.unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn every_millisecond_counts() {
    let world = World::memory();
    for layout in [Layout::Spread, Layout::Slot, Layout::Ranked { entries_max: 2 }] {
        let space = Space { kept_stale_ms: 5, ..world.space(layout) };
        world.put_for(&space, "a", "1", 10).await;
        for left in (-4..=10_i64).rev() {
            assert_eq!(world.get(&space, "a").await.unwrap().ttl_ms, Some(left), "{layout:?}");
            advance(Duration::from_millis(1)).await;
        }
        assert_eq!(world.get(&space, "a").await, None, "{layout:?}");
        // Times that no clock reaches.
        assert_eq!(world.put_for(&space, "a", "1", u64::MAX).await.ttl_ms, Some(i64::MAX), "{layout:?}");
        assert!(world.value(&space, "a").await.is_some(), "{layout:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_kept_for_an_hour_at_least() {
    let world = World::memory();
    let space = world.space(Layout::Slot);
    let holder = Holder { id: "h".into(), lease_ms: 10 };
    let ids = world.store.enqueue(&space, &[write("a", add(1)), write("a", add(1))]).await.unwrap();
    assert_eq!(world.store.apply_queued(&space, &holder, 1).await, Ok(Applied::Ended { count: 1, waiting: 1 }));
    advance(Duration::from_secs(3_600)).await;
    assert_eq!(world.store.apply_queued(&space, &holder, 1).await, Ok(Applied::Ended { count: 1, waiting: 0 }));
    for id in ids {
        assert!(matches!(world.store.queued(&space, &id).await, Ok(Some(QueuedWrite::Ended(_)))), "{id}");
    }
    // The ids of one store mean nothing to the next.
    let next = World::memory();
    let again = next.store.enqueue(&space, &[write("a", add(1))]).await.unwrap();
    assert_eq!(world.store.queued(&space, &again[0]).await, Ok(None));
}

#[tokio::test]
async fn a_follower_that_lags_is_told_that_everything_changed() {
    let store: Arc<dyn CacheStore> = Arc::new(MemoryStore::new(MemoryStoreOptions::default()));
    let space = Space::new("lag", "n", Layout::Spread);
    let (sender, mut receiver) = mpsc::channel(1);
    let follows = {
        let (store, prefixes) = (Arc::clone(&store), [space.prefix.clone()]);
        tokio::spawn(async move { store.follow(&prefixes, Duration::from_millis(20), sender).await })
    };
    assert_eq!(receiver.recv().await, Some(Notice::Begun));
    // It is full, and nobody reads.
    for n in 0..30_000 {
        let result = store.write(&space, &[write(&n.to_string(), put("1"))]).await.remove(0);
        assert!(matches!(result, Ok(Outcome::Done(_))));
    }
    let written = Instant::now();
    let (mut told, mut is_everything) = (0, false);
    loop {
        match receiver.recv().await.unwrap() {
            Notice::Changed(keys) => told += keys.len(),
            Notice::Everything => is_everything = true,
            Notice::Heard(at) if at >= written => break,
            Notice::Heard(_) | Notice::Begun => {}
        }
    }
    assert!(is_everything, "told {told}");
    assert!(told <= 20_000, "{told}");
    // Then it is told of each again; one key often is one key.
    for _ in 0..30_000 {
        store.write(&space, &[write("often", put("1"))]).await;
    }
    let stored = space.stored_key(b"often");
    loop {
        match receiver.recv().await.unwrap() {
            Notice::Changed(keys) if keys.iter().any(|key| *key == stored) => break,
            Notice::Everything => panic!("it did not lag"),
            _ => {}
        }
    }
    drop(receiver);
    assert!(matches!(follows.await.unwrap(), StoreError::Unavailable(_)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_what_ended() {
    // Where nothing can leave but by its end, as much has room again as before.
    let world = small();
    let space = world.space(Layout::Ranked { entries_max: 10_000 });
    for round in 0..50 {
        for n in 0..90 {
            world.put_for(&space, &format!("{round} {n}"), &value(300), 1_000).await;
            assert!(world.got(&space, &format!("leased {n}"), Some(&ask("one", 1_000))).await.is_leased);
        }
        advance(Duration::from_millis(1_000)).await;
        assert_eq!(world.held(&space).await.entries, Some(0), "{round}");
    }
    world.store.flush(&space).await.unwrap();
    let bytes = 160_000 - 512 - 256 - space.stored_key(b"b").len();
    done(world.write(&space, "b", put(&value(bytes))).await);
}
