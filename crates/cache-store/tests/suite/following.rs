//! Whoever follows a store is told of every change.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use headwater_cache_store::{Condition, Layout, Notice, Op, Space, Write};
use tokio::time::{Instant, sleep};

use crate::{
    listener::{HEARD_EVERY, Listener},
    world::{LAYOUTS, LONG_MS, World, add, done, put, put_if, refusal, write},
};

pub(crate) async fn every_kind_of_change_is_told(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        let listener = Listener::of(world, &[&space]).await;
        let ops = [
            put("1"),
            put_if("2", None, Condition::Present),
            put_if("2", Some(LONG_MS), Condition::Any),
            add(1),
            Op::Touch { ttl_ms: Some(LONG_MS / 2) },
            Op::Touch { ttl_ms: None },
            Op::Delete,
            add(1),
        ];
        for op in ops {
            listener.clear();
            done(world.write(&space, "{a\0", op.clone()).await);
            // What was done before it heard was told before.
            listener.heard().await;
            assert!(listener.is_told(&space, "{a\0"), "{}: {layout:?}: {op:?}", world.name);
        }
        listener.clear();
        assert!(world.lease(&space, "b", "one").await, "{}", world.name);
        done(world.write(&space, "b", put_if("1", None, Condition::Lease("one".into()))).await);
        world.put(&world.straight(&space), "c", "past the cache").await;
        listener.heard().await;
        assert!(listener.is_told(&space, "b") && listener.is_told(&space, "c"), "{}: {layout:?}", world.name);
        listener.clear();
        world.delete_straight(&space, "c").await;
        listener.heard().await;
        assert!(listener.is_told(&space, "c"), "{}: {layout:?}", world.name);
        if layout != Layout::Spread {
            listener.clear();
            world.store.enqueue(&space, &[write("d", put("1")), write("b", Op::Delete)]).await.unwrap();
            let holder = headwater_cache_store::Holder { id: "h".into(), lease_ms: LONG_MS };
            world.store.apply_queued(&space, &holder, 10).await.unwrap();
            listener.heard().await;
            assert!(listener.is_told(&space, "d") && listener.is_told(&space, "b"), "{}: {layout:?}", world.name);
        }
        // Many at once, each of them.
        listener.clear();
        let writes: Vec<Write> = (0..1_000).map(|n| write(&n.to_string(), put("1"))).collect();
        assert!(world.store.write(&space, &writes).await.iter().all(Result::is_ok), "{}", world.name);
        listener.heard().await;
        for n in 0..1_000 {
            assert!(listener.is_told(&space, &n.to_string()), "{}: {layout:?}: {n}", world.name);
        }
    }
}

pub(crate) async fn what_changes_nothing_is_not_needed_to_be_told(world: &World) {
    let space = world.space(Layout::Slot);
    world.put(&space, "a", "1").await;
    let listener = Listener::of(world, &[&space]).await;
    listener.heard().await;
    listener.clear();
    world.get(&space, "a").await;
    world.batch(&space, &["a".into()]).await;
    refusal(world.write(&space, "a", put_if("2", None, Condition::Absent)).await);
    listener.heard().await;
    assert!(!listener.is_told(&space, "a"), "{}: {:?}", world.name, listener.notices());
}

pub(crate) async fn only_the_prefix_is_told(world: &World) {
    let (one, two, other) = (world.space(Layout::Spread), world.space(Layout::Slot), world.space(Layout::Spread));
    let listener = Listener::of(world, &[&one, &two]).await;
    listener.heard().await;
    listener.clear();
    for space in [&other, &one, &two] {
        world.put(space, "a", "1").await;
    }
    listener.heard().await;
    assert!(listener.is_told(&one, "a") && listener.is_told(&two, "a"), "{}", world.name);
    assert!(!listener.is_told(&other, "a"), "{}: {:?}", world.name, listener.notices());

    // One that is empty is all keys.
    let all = Listener::to(world.name, &world.other, vec![Bytes::new()]).await;
    all.clear();
    world.put(&other, "b", "1").await;
    all.heard().await;
    assert!(all.is_told(&other, "b"), "{}", world.name);
}

pub(crate) async fn heard_is_told_often(world: &World) {
    let space = world.space(Layout::Spread);
    let listener = Listener::of(world, &[&space]).await;
    let began = Instant::now();
    let heard = || {
        let notices = listener.notices().into_iter();
        notices.filter_map(|(told, notice)| if let Notice::Heard(at) = notice { Some((told, at)) } else { None })
    };
    // Over a time in which nothing changes, and one in which much does.
    sleep(HEARD_EVERY * 6).await;
    assert!(heard().count() >= 4, "{}: {:?}", world.name, listener.notices());
    while began.elapsed() < HEARD_EVERY * 12 {
        world.put(&space, "a", "1").await;
    }
    listener.heard().await;
    assert!(heard().count() >= 8, "{}: {}", world.name, heard().count());
    let mut before = None;
    for (told, at) in heard() {
        assert!(at <= told, "{}: it heard what is to come", world.name);
        assert!(before.is_none_or(|before| before <= at), "{}: it heard less than before", world.name);
        before = Some(at);
    }
}

pub(crate) async fn heard_never_runs_ahead(world: &World) {
    const WRITERS: usize = 4;
    const EACH: usize = 100;
    let space = Arc::new(world.space(Layout::Spread));
    let listener = Listener::of(world, &[&space]).await;
    let writers = (0..WRITERS).map(|who| {
        let (store, space) = (world.replica(who), Arc::clone(&space));
        tokio::spawn(async move {
            let mut written = Vec::with_capacity(EACH);
            for n in 0..EACH {
                let key = format!("{who}-{n}");
                done(store.write(&space, &[write(&key, put("1"))]).await.remove(0).unwrap());
                // Done by now, at the latest.
                written.push((key, Instant::now()));
                if n % 5 == 0 {
                    sleep(Duration::from_millis(2)).await;
                }
            }
            written
        })
    });
    let written: Vec<(String, Instant)> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    listener.heard().await;
    let notices = listener.notices();
    assert!(notices.iter().filter(|(_, notice)| matches!(notice, Notice::Heard(_))).count() > 1, "{}", world.name);
    for (key, at) in written {
        let stored = space.stored_key(key.as_bytes());
        let heard = notices.iter().position(|(_, notice)| matches!(notice, Notice::Heard(heard) if *heard >= at));
        let told = notices.iter().position(|(_, notice)| match notice {
            Notice::Changed(keys) => keys.iter().any(|key| *key == stored),
            notice => *notice == Notice::Everything,
        });
        assert!(told.unwrap() < heard.unwrap(), "{}: {key}: told {told:?}, heard {heard:?}", world.name);
    }
}

pub(crate) async fn expiry_is_told(world: &World) {
    for layout in LAYOUTS {
        for kept_stale_ms in [0, 30] {
            let space = Space { kept_stale_ms, ..world.space(layout) };
            let listener = Listener::of(world, &[&space]).await;
            let asked = Instant::now();
            world.put_for(&space, "a", "1", 40).await;
            // Without anybody who reads it, and besides that it was put.
            let ended = asked + Duration::from_millis(40 + kept_stale_ms);
            let mut since = ended - Duration::from_millis(2);
            loop {
                let hears = listener.hears_of(&space, "a", since);
                if world.name == "memory" {
                    hears.await;
                } else {
                    // Redis looks for what has expired by samples: where it has many keys, it notices by somebody's read.
                    let reads = async {
                        loop {
                            sleep(Duration::from_millis(20)).await;
                            world.peek(&space, "a").await;
                        }
                    };
                    tokio::select! {
                        () = hears => {}
                        () = reads => {}
                    }
                }
                // On a busy machine it may be the put that is told only now.
                since = Instant::now();
                if world.get(&space, "a").await.is_none() {
                    break;
                }
            }
        }
    }
}

pub(crate) async fn eviction_is_told(world: &World) {
    let space = world.space(Layout::Ranked { entries_max: 2 });
    world.put(&space, "a", "1").await;
    world.put(&space, "b", "1").await;
    let listener = Listener::of(world, &[&space]).await;
    listener.clear();
    world.put(&space, "c", "1").await;
    listener.heard().await;
    assert!(listener.is_told(&space, "a"), "{}", world.name);
    let lower = Space { layout: Layout::Ranked { entries_max: 1 }, ..space };
    listener.clear();
    assert_eq!(world.store.shrink(&lower).await, Ok(1), "{}", world.name);
    listener.heard().await;
    assert!(listener.is_told(&lower, "b"), "{}", world.name);
}

pub(crate) async fn a_flush_is_told(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        let keys: Vec<String> = (0..1_500).map(|n| n.to_string()).collect();
        for some in keys.chunks(1_000) {
            let writes: Vec<Write> = some.iter().map(|key| write(key, put("1"))).collect();
            assert!(world.store.write(&space, &writes).await.iter().all(Result::is_ok), "{}", world.name);
        }
        let listener = Listener::of(world, &[&space]).await;
        listener.clear();
        world.store.flush(&space).await.unwrap();
        listener.heard().await;
        for key in &keys {
            assert!(listener.is_told(&space, key), "{}: {layout:?}: {key}", world.name);
        }
    }
}

pub(crate) async fn every_follower_is_told(world: &World) {
    let space = world.space(Layout::Spread);
    let mut listeners = Vec::new();
    for _ in 0..5 {
        listeners.push(Listener::of(world, &[&space]).await);
    }
    for (index, listener) in listeners.iter().enumerate() {
        world.put(&space, &index.to_string(), "1").await;
        listener.heard().await;
    }
    for listener in &listeners {
        listener.heard().await;
        assert!((0..5).all(|n| listener.is_told(&space, &n.to_string())), "{}", world.name);
    }
}

pub(crate) async fn a_follower_may_leave(world: &World) {
    let space = world.space(Layout::Spread);
    let (one, two) = (Listener::of(world, &[&space]).await, Listener::of(world, &[&space]).await);
    one.leave().await;
    world.put(&space, "a", "1").await;
    two.heard().await;
    assert!(two.is_told(&space, "a"), "{}", world.name);
}
