//! A fixed capacity, held in the store: who leaves, and when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use headwater_cache_store::{Condition, Done, Holder, Layout, Op, Space, Write};
use tokio::time::sleep;

use crate::world::{LONG_MS, World, add, done, put, put_if, refusal, write};

fn of(world: &World, entries_max: u64) -> Space {
    world.space(Layout::Ranked { entries_max })
}

async fn read(world: &World, space: &Space, key: &str, times: usize) {
    for _ in 0..times {
        assert!(world.value(space, key).await.is_some(), "{}: {key}", world.name);
    }
}

pub(crate) async fn an_update_at_capacity_evicts_nothing(world: &World) {
    let space = of(world, 2);
    world.put(&space, "hello", "1").await;
    world.put(&space, "hello2", "1").await;
    read(world, &space, "hello", 1).await;
    // Ranks: [1, 0].
    let updated = world.put(&space, "hello2", "2").await;
    assert_eq!(updated, Done { existed: true, ..Done::default() }, "{}", world.name);
    assert_eq!(world.among(&space, &["hello", "hello2"]).await, ["hello", "hello2"], "{}", world.name);
    assert_eq!(world.peek(&space, "hello2").await.unwrap(), "2", "{}", world.name);
    assert_eq!(world.held(&space).await.entries, Some(2), "{}", world.name);
    // Each kind of update.
    done(world.write(&space, "hello2", add(1)).await);
    done(world.write(&space, "hello2", put_if("4", Some(LONG_MS), Condition::Present)).await);
    done(world.write(&space, "hello2", Op::Touch { ttl_ms: None }).await);
    assert_eq!(world.among(&space, &["hello", "hello2"]).await, ["hello", "hello2"], "{}", world.name);
}

pub(crate) async fn the_lowest_rank_leaves_first(world: &World) {
    let space = of(world, 3);
    for key in ["a", "b", "c"] {
        world.put(&space, key, "1").await;
    }
    read(world, &space, "a", 2).await;
    read(world, &space, "b", 1).await;
    read(world, &space, "c", 3).await;
    let all = ["a", "b", "c", "d", "e", "f"];
    assert_eq!(world.put(&space, "d", "1").await, Done { evicted: 1, ..Done::default() }, "{}", world.name);
    assert_eq!(world.among(&space, &all).await, ["a", "c", "d"], "{}", world.name);
    // What was inserted last has no rank yet, and leaves next.
    world.put(&space, "e", "1").await;
    assert_eq!(world.among(&space, &all).await, ["a", "c", "e"], "{}", world.name);
    read(world, &space, "e", 3).await;
    world.put(&space, "f", "1").await;
    assert_eq!(world.among(&space, &all).await, ["c", "e", "f"], "{}", world.name);
    assert_eq!(world.held(&space).await.entries, Some(3), "{}", world.name);
}

pub(crate) async fn of_equal_ranks_the_oldest_insertion_leaves(world: &World) {
    let space = of(world, 12);
    // In an order that is not the one of their names, and past 9, so that no number is compared as text.
    let keys = ["k", "j", "l", "b", "a", "z", "c", "y", "d", "x", "e", "w"];
    for key in keys {
        world.put(&space, key, "1").await;
        read(world, &space, key, 1).await;
    }
    for left in 1..=keys.len() {
        let new = format!("new {left}");
        assert_eq!(world.put(&space, &new, "1").await.evicted, 1, "{}", world.name);
        read(world, &space, &new, 2).await;
        assert_eq!(world.among(&space, &keys).await, keys[left..], "{}", world.name);
    }
    // Ranks are numbers too: 10 is more than 9.
    let space = of(world, 2);
    for (key, rank) in [("nine", 9), ("ten", 10)] {
        world.put(&space, key, "1").await;
        world.store.raise(&space, &[(key.into(), rank)]).await.unwrap();
    }
    world.put(&space, "new", "1").await;
    assert_eq!(world.among(&space, &["nine", "ten", "new"]).await, ["ten", "new"], "{}", world.name);
}

pub(crate) async fn what_has_expired_leaves_first(world: &World) {
    for kept_stale_ms in [0, LONG_MS] {
        let space = Space { kept_stale_ms, ..of(world, 3) };
        world.put(&space, "a", "1").await;
        world.put_for(&space, "b", "1", 1).await;
        world.put(&space, "c", "1").await;
        world.store.raise(&space, &[("b".into(), 100)]).await.unwrap();
        sleep(Duration::from_millis(5)).await;
        assert_eq!(world.value(&space, "b").await, None, "{}", world.name);
        world.put(&space, "d", "1").await;
        assert_eq!(world.among(&space, &["a", "b", "c", "d"]).await, ["a", "c", "d"], "{}", world.name);
        assert_eq!(world.held(&space).await.entries, Some(3), "{}", world.name);
        world.put(&space, "e", "1").await;
        assert_eq!(world.among(&space, &["a", "c", "d", "e"]).await, ["c", "d", "e"], "{}", world.name);
    }
    // What is stale makes room for its own key: nothing else leaves.
    let space = Space { kept_stale_ms: LONG_MS, ..of(world, 2) };
    world.put(&space, "a", "1").await;
    world.put_for(&space, "b", "1", 1).await;
    sleep(Duration::from_millis(5)).await;
    assert!(!world.put(&space, "b", "2").await.existed, "{}", world.name);
    assert_eq!(world.among(&space, &["a", "b"]).await, ["a", "b"], "{}", world.name);
    assert_eq!(world.held(&space).await.entries, Some(2), "{}", world.name);
    // It is the newest again, and begins without a rank.
    read(world, &space, "b", 1).await;
    world.put(&space, "c", "1").await;
    assert_eq!(world.among(&space, &["a", "b", "c"]).await, ["b", "c"], "{}", world.name);
}

pub(crate) async fn an_update_keeps_rank_and_age(world: &World) {
    let space = of(world, 3);
    for key in ["a", "b", "c"] {
        world.put(&space, key, "1").await;
    }
    world.put(&space, "a", "2").await;
    done(world.write(&space, "a", add(1)).await);
    done(world.write(&space, "a", Op::Touch { ttl_ms: Some(LONG_MS) }).await);
    world.put(&space, "d", "1").await;
    assert_eq!(world.among(&space, &["a", "b", "c", "d"]).await, ["b", "c", "d"], "{}: it is the oldest", world.name);
    read(world, &space, "b", 1).await;
    world.put(&space, "b", "2").await;
    world.put(&space, "e", "1").await;
    world.put(&space, "f", "1").await;
    assert_eq!(world.among(&space, &["b", "c", "d", "e", "f"]).await, ["b", "e", "f"], "{}", world.name);
}

pub(crate) async fn what_was_deleted_begins_anew(world: &World) {
    let space = of(world, 2);
    world.put(&space, "a", "1").await;
    world.put(&space, "b", "1").await;
    read(world, &space, "a", 5).await;
    done(world.write(&space, "a", Op::Delete).await);
    assert_eq!(world.held(&space).await.entries, Some(1), "{}", world.name);
    assert_eq!(world.put(&space, "a", "2").await, Done::default(), "{}: there was room", world.name);
    read(world, &space, "b", 1).await;
    world.put(&space, "c", "1").await;
    assert_eq!(world.among(&space, &["a", "b", "c"]).await, ["b", "c"], "{}: its rank was forgotten", world.name);
}

pub(crate) async fn every_kind_of_insert_makes_room(world: &World) {
    let space = of(world, 1);
    let inserts = [
        put("x"),
        add(1),
        put_if("x", Some(LONG_MS), Condition::Absent),
        Op::Add { delta: 1, initial: 5, ttl_ms: None, new_ttl_ms: Some(LONG_MS) },
        put_if("x", None, Condition::Lease("one".into())),
    ];
    world.put(&space, "before", "1").await;
    for (index, op) in inserts.into_iter().enumerate() {
        let key = index.to_string();
        assert!(world.lease(&space, &key, "one").await, "{}", world.name);
        assert_eq!(done(world.write(&space, &key, op.clone()).await).evicted, 1, "{}: {op:?}", world.name);
        assert_eq!(world.held(&space).await.entries, Some(1), "{}: {op:?}", world.name);
        assert!(world.peek(&space, &key).await.is_some(), "{}: {op:?}", world.name);
    }
}

pub(crate) async fn a_refused_write_makes_no_room(world: &World) {
    let space = of(world, 1);
    world.put(&space, "a", "1").await;
    refusal(world.write(&space, "b", put_if("x", None, Condition::Present)).await);
    refusal(world.write(&space, "b", put_if("x", None, Condition::Lease("none".into()))).await);
    let overflow = Op::Add { delta: 1, initial: i64::MAX, ttl_ms: None, new_ttl_ms: None };
    refusal(world.write(&space, "b", overflow).await);
    done(world.write(&space, "b", Op::Touch { ttl_ms: None }).await);
    done(world.write(&space, "b", Op::Delete).await);
    assert!(world.lease(&space, "b", "one").await, "{}", world.name);
    assert_eq!(world.among(&space, &["a", "b"]).await, ["a"], "{}", world.name);
}

pub(crate) async fn ranks_are_raised_by_reads_and_at_once(world: &World) {
    let space = of(world, 4);
    for key in ["get", "batch", "raise", "none"] {
        world.put(&space, key, "1").await;
    }
    read(world, &space, "get", 1).await;
    world.batch(&space, &["batch".into(), "batch".into()]).await;
    world.store.raise(&space, &[("raise".into(), 2), ("absent".into(), 7), ("raise".into(), 1)]).await.unwrap();
    world.store.raise(&space, &[]).await.unwrap();
    assert_eq!(world.held(&space).await.entries, Some(4), "{}: what is absent has no rank", world.name);
    let all = ["get", "batch", "raise", "none"];
    for (index, left) in [&["get", "batch", "raise"][..], &["batch", "raise"], &["raise"], &[]].iter().enumerate() {
        let new = format!("new {index}");
        world.put(&space, &new, "1").await;
        world.store.raise(&space, &[(new.into(), 100)]).await.unwrap();
        assert_eq!(world.among(&space, &all).await, *left, "{}", world.name);
    }
    // Elsewhere it does nothing.
    for layout in [Layout::Spread, Layout::Slot] {
        let space = world.space(layout);
        world.put(&space, "a", "1").await;
        world.store.raise(&space, &[("a".into(), 1)]).await.unwrap();
        assert_eq!(world.store.shrink(&space).await, Ok(0), "{}", world.name);
        assert_eq!(world.held(&space).await.entries, None, "{}", world.name);
        assert!(world.value(&space, "a").await.is_some(), "{}", world.name);
    }
}

pub(crate) async fn it_is_never_over_capacity(world: &World) {
    const CAPACITY: u64 = 10;
    let space = Arc::new(of(world, CAPACITY));
    let is_done = Arc::new(AtomicBool::new(false));
    let keys: Arc<Vec<Bytes>> = Arc::new((0..160).map(|n: u32| Bytes::from(n.to_string())).collect());
    let watcher = {
        let (store, space, is_done) = (Arc::clone(&world.store), Arc::clone(&space), Arc::clone(&is_done));
        tokio::spawn(async move {
            let (mut most, mut looks) = (0, 0_u32);
            while !is_done.load(Ordering::Relaxed) {
                most = most.max(store.held(&space).await.unwrap().entries.unwrap());
                looks += 1;
            }
            (most, looks)
        })
    };
    let writers = (0..8_usize).map(|n| {
        let (store, space, keys) = (world.replica(n), Arc::clone(&space), Arc::clone(&keys));
        tokio::spawn(async move {
            let mut evicted = 0;
            for round in 0..3 {
                for key in keys.iter().skip(n * 10).chain(keys.iter()).take(80) {
                    let op = if round == 1 { add(1) } else { put("7") };
                    let writes = [Write { key: key.clone(), op }, write("shared", put("7"))];
                    for result in store.write(&space, &writes).await {
                        evicted += done(result.unwrap()).evicted;
                    }
                    store.get(&space, key, None).await.unwrap();
                }
            }
            evicted
        })
    });
    let evicted: u32 = join_all(writers).await.into_iter().map(Result::unwrap).sum();
    is_done.store(true, Ordering::Relaxed);
    let (most, looks) = watcher.await.unwrap();
    assert!(looks > 10 && evicted > 100, "{}: {looks} looks, {evicted} evicted", world.name);
    assert_eq!(most, CAPACITY, "{}", world.name);
    let values = world.batch(&world.straight(&space), &keys).await.into_iter().flatten().count();
    let shared = usize::from(world.peek(&space, "shared").await.is_some());
    assert_eq!(values + shared, 10, "{}: as many as the store says", world.name);
    assert_eq!(world.held(&space).await.entries, Some(CAPACITY), "{}", world.name);
}

pub(crate) async fn a_key_that_was_deleted_past_the_cache_is_forgotten(world: &World) {
    let space = of(world, 3);
    for key in ["a", "b", "c"] {
        world.put(&space, key, "1").await;
    }
    read(world, &space, "b", 7).await;
    world.delete_straight(&space, "b").await;
    world.store.shrink(&space).await.unwrap();
    assert_eq!(world.held(&space).await.entries, Some(2), "{}", world.name);
    // There is room for one.
    world.put(&space, "d", "1").await;
    assert_eq!(world.among(&space, &["a", "b", "c", "d"]).await, ["a", "c", "d"], "{}", world.name);
    // Without shrinking before, nothing that is there leaves sooner than what is gone: the capacity holds either way.
    world.delete_straight(&space, "a").await;
    world.put(&space, "e", "1").await;
    world.put(&space, "f", "1").await;
    let among = world.among(&space, &["a", "b", "c", "d", "e", "f"]).await;
    assert!(among.len() <= 3 && among.contains(&"f"), "{}: {among:?}", world.name);
    // One that comes again begins anew.
    let space = of(world, 2);
    world.put(&space, "a", "1").await;
    world.put(&space, "b", "1").await;
    world.delete_straight(&space, "a").await;
    assert!(!world.put(&space, "a", "2").await.existed, "{}", world.name);
    assert_eq!(world.among(&space, &["a", "b"]).await, ["a", "b"], "{}", world.name);
    assert_eq!(world.held(&space).await.entries, Some(2), "{}", world.name);
}

pub(crate) async fn a_lower_capacity_is_held_after_shrinking(world: &World) {
    let space = of(world, 1_000);
    let keys: Vec<String> = (0..600).map(|n| n.to_string()).collect();
    let writes: Vec<Write> = keys.iter().map(|key| write(key, put("1"))).collect();
    for result in world.store.write(&space, &writes).await {
        assert_eq!(done(result.unwrap()).evicted, 0, "{}", world.name);
    }
    assert_eq!(world.store.shrink(&space).await, Ok(0), "{}", world.name);
    let lower = Space { layout: Layout::Ranked { entries_max: 3 }, ..space.clone() };
    let reads: Vec<(Bytes, u64)> = [(7, 2), (300, 9), (599, 3)].map(|(n, rank)| (keys[n].clone().into(), rank)).into();
    world.store.raise(&space, &reads).await.unwrap();
    // An update makes no room.
    assert_eq!(world.put(&lower, "0", "2").await, Done { existed: true, ..Done::default() }, "{}", world.name);
    assert_eq!(world.store.shrink(&lower).await, Ok(597), "{}", world.name);
    let all: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(world.among(&space, &all).await, ["7", "300", "599"], "{}", world.name);
    assert_eq!(world.held(&space).await.entries, Some(3), "{}", world.name);
    assert_eq!(world.store.shrink(&lower).await, Ok(0), "{}", world.name);
    // An insert holds the lower capacity by itself, too.
    let lowest = Space { layout: Layout::Ranked { entries_max: 1 }, ..space };
    assert_eq!(world.put(&lowest, "new", "1").await, Done { evicted: 3, ..Done::default() }, "{}", world.name);
    assert_eq!(world.held(&lowest).await.entries, Some(1), "{}", world.name);
}

pub(crate) async fn the_newest_revision_says_the_capacity(world: &World) {
    let of_revision = |space: &Space, revision, entries_max| Space {
        revision,
        layout: Layout::Ranked { entries_max },
        ..space.clone()
    };
    let old = of_revision(&of(world, 1), 1, 6);
    for key in ["a", "b", "c", "d", "e", "f"] {
        world.put(&old, key, "1").await;
    }
    // One replica lowers it; the other does not know yet, and holds it all the same: by a write, a read of what came past
    // the cache, a queued write, and by shrinking.
    let lower = of_revision(&old, 2, 3);
    assert_eq!(world.store.shrink(&lower).await, Ok(3), "{}", world.name);
    for key in ["g", "h"] {
        let written = world.other.write(&old, &[write(key, put("1"))]).await.pop().unwrap().unwrap();
        assert_eq!(done(written).evicted, 1, "{}", world.name);
        assert_eq!(world.held(&old).await.entries, Some(3), "{}", world.name);
    }
    assert!(!done(world.write(&world.straight(&old), "past", put("1")).await).existed, "{}", world.name);
    assert!(world.other.get(&old, b"past", None).await.unwrap().entry.is_some(), "{}", world.name);
    assert_eq!(world.held(&old).await.entries, Some(3), "{}", world.name);
    world.other.enqueue(&old, &[write("queued", put("1"))]).await.unwrap();
    let holder = Holder { id: "one".into(), lease_ms: LONG_MS };
    world.other.apply_queued(&old, &holder, 10).await.unwrap();
    assert_eq!(world.held(&old).await.entries, Some(3), "{}", world.name);
    assert_eq!(world.other.shrink(&old).await, Ok(0), "{}", world.name);
    // One raises it by an insert, and the other goes by that too.
    let higher = of_revision(&old, 10, 5);
    for (space, entries) in [(&higher, 4), (&lower, 5), (&old, 5)] {
        assert!(!world.put(space, &format!("of {}", space.revision), "1").await.existed, "{}", world.name);
        assert_eq!(world.held(space).await.entries, Some(entries), "{}", world.name);
    }
    // Flushing forgets values, not this.
    world.store.flush(&higher).await.unwrap();
    for key in ["a", "b", "c", "d", "e", "f", "g"] {
        world.put(&old, key, "1").await;
    }
    assert_eq!(world.held(&old).await.entries, Some(5), "{}", world.name);
}

pub(crate) async fn a_capacity_of_one_holds_the_last(world: &World) {
    let space = of(world, 1);
    for (index, key) in ["a", "b", "a", "c", "a"].into_iter().enumerate() {
        let evicted = u32::from(index > 0);
        assert_eq!(world.put(&space, key, "1").await, Done { evicted, ..Done::default() }, "{}", world.name);
        read(world, &space, key, 3).await;
        assert_eq!(world.among(&space, &["a", "b", "c"]).await, [key], "{}", world.name);
    }
}

pub(crate) async fn namespaces_are_ranked_apart(world: &World) {
    let (one, two) = (of(world, 2), of(world, 2));
    for key in ["a", "b"] {
        world.put(&one, key, "1").await;
        world.put(&two, key, "1").await;
    }
    read(world, &one, "a", 1).await;
    read(world, &two, "b", 1).await;
    world.put(&one, "c", "1").await;
    assert_eq!(world.among(&one, &["a", "b", "c"]).await, ["a", "c"], "{}", world.name);
    assert_eq!(world.among(&two, &["a", "b", "c"]).await, ["a", "b"], "{}", world.name);
    world.put(&two, "c", "1").await;
    assert_eq!(world.among(&two, &["a", "b", "c"]).await, ["b", "c"], "{}", world.name);
}

pub(crate) async fn what_was_put_past_the_cache_is_a_member_once_it_is_read(world: &World) {
    let space = of(world, 2);
    for key in ["a", "b", "c"] {
        world.put(&world.straight(&space), key, "1").await;
    }
    read(world, &space, "a", 1).await;
    world.batch(&space, &["b".into()]).await;
    assert_eq!(world.held(&space).await.entries, Some(2), "{}", world.name);
    read(world, &space, "b", 1).await;
    // It makes room, as what is inserted does.
    read(world, &space, "c", 1).await;
    assert_eq!(world.among(&space, &["a", "b", "c"]).await, ["b", "c"], "{}", world.name);
    assert_eq!(world.held(&space).await.entries, Some(2), "{}", world.name);
}
