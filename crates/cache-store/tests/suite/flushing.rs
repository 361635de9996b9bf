//! Namespaces that are emptied.

use bytes::Bytes;
use headwater_cache_store::{Condition, Done, Got, Layout, QueuedWrite, Refusal, Space, Write};

use crate::world::{LAYOUTS, LONG_MS, World, put, put_if, refusal, write};

async fn fill(world: &World, space: &Space, keys: usize) -> Vec<Bytes> {
    let keys: Vec<Bytes> = (0..keys).map(|n| Bytes::from(format!("{{{n}}}*"))).collect();
    for some in keys.chunks(1_000) {
        let writes: Vec<Write> = some.iter().map(|key| Write { key: key.clone(), op: put("1") }).collect();
        assert!(world.store.write(space, &writes).await.iter().all(Result::is_ok), "{}", world.name);
    }
    keys
}

pub(crate) async fn a_flush_forgets_everything_but_the_queue(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        assert_eq!(world.store.flush(&space).await, Ok(0), "{}: {layout:?}", world.name);
        let keys = fill(world, &space, 1_700).await;
        let ids = match layout {
            Layout::Spread => vec![],
            _ => world.store.enqueue(&space, &[write("queued", put("1"))]).await.unwrap(),
        };
        assert_eq!(world.store.flush(&space).await, Ok(1_700), "{}: {layout:?}", world.name);
        assert!(world.batch(&space, &keys).await.iter().all(Option::is_none), "{}: {layout:?}", world.name);
        assert_eq!(world.held(&space).await.queued, ids.len() as u64, "{}: {layout:?}", world.name);
        for id in ids {
            let queued = world.store.queued(&space, &id).await.unwrap();
            assert_eq!(queued, Some(QueuedWrite::Waiting), "{}: {layout:?}", world.name);
        }
        // It goes on being used.
        assert_eq!(world.put(&space, "a", "1").await, Done::default(), "{}: {layout:?}", world.name);
        assert_eq!(world.store.flush(&space).await, Ok(1), "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn a_flush_takes_leases_and_denials_away(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        assert!(world.lease(&space, "leased", "one").await, "{}", world.name);
        assert!(world.lease(&space, "denied", "one").await, "{}", world.name);
        world.store.deny(&space, b"denied", b"one", b"why", LONG_MS).await.unwrap();
        world.put(&space, "a", "1").await;
        assert_eq!(world.store.flush(&space).await, Ok(1), "{}: {layout:?}: values are counted", world.name);
        assert_eq!(world.got(&space, "denied", None).await, Got::default(), "{}: {layout:?}", world.name);
        // A load from before does not fill what was flushed.
        let late = put_if("slow", None, Condition::Lease("one".into()));
        let refused = refusal(world.write(&space, "leased", late).await);
        assert_eq!(refused, Refusal::NotMet { current: None }, "{}: {layout:?}", world.name);
        assert!(world.lease(&space, "leased", "two").await, "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn a_flush_leaves_its_neighbours(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        // A name that this one's begins, one with signs that a pattern could take for others, and other kinds.
        let longer = Space::new(&world.root, &format!("{}2", space.name), layout);
        let dotted = Space::new(&world.root, &format!("{}.x", space.name), layout);
        let other = world.space(Layout::Spread);
        let any = Space::new(&world.root, &format!("{}x", &space.name[..space.name.len() - 1]), layout);
        for neighbour in [&longer, &dotted, &other, &any, &space] {
            world.put(neighbour, "a", "1").await;
            assert!(world.lease(neighbour, "leased", "one").await, "{}", world.name);
        }
        assert_eq!(world.store.flush(&space).await, Ok(1), "{}: {layout:?}", world.name);
        for neighbour in [longer, dotted, other, any] {
            assert!(world.value(&neighbour, "a").await.is_some(), "{}: {}", world.name, neighbour.name);
            assert!(!world.lease(&neighbour, "leased", "two").await, "{}: {}", world.name, neighbour.name);
            if let Layout::Ranked { .. } = layout
                && neighbour.layout == layout
            {
                assert_eq!(world.held(&neighbour).await.entries, Some(1), "{}", world.name);
            }
        }
        // A prefix of its own, with signs of patterns in it.
        let prefix = format!("{}own*[a-z]?\\:", space.name);
        let own = Space { prefix: prefix.into(), ..world.space(Layout::Spread) };
        let alike = Space { prefix: format!("{}ownx[a-z]?\\:", space.name).into(), ..world.space(Layout::Spread) };
        let bare = Space { prefix: format!("{}own*ab\\:", space.name).into(), ..world.space(Layout::Spread) };
        for space in [&own, &alike, &bare] {
            world.put(space, "a", "1").await;
        }
        assert_eq!(world.store.flush(&own).await, Ok(1), "{}", world.name);
        assert_eq!(world.get(&own, "a").await, None, "{}", world.name);
        assert!(world.value(&alike, "a").await.is_some() && world.value(&bare, "a").await.is_some(), "{}", world.name);
    }
}

pub(crate) async fn a_ranked_namespace_is_empty_after_a_flush(world: &World) {
    let space = world.space(Layout::Ranked { entries_max: 2 });
    world.put(&space, "a", "1").await;
    world.put(&space, "b", "1").await;
    world.store.raise(&space, &[("a".into(), 9)]).await.unwrap();
    assert_eq!(world.store.flush(&space).await, Ok(2), "{}", world.name);
    assert_eq!(world.held(&space).await.entries, Some(0), "{}", world.name);
    for key in ["b", "a"] {
        assert_eq!(world.put(&space, key, "1").await, Done::default(), "{}: there is room", world.name);
    }
    // Ranks from before are forgotten.
    world.store.raise(&space, &[("b".into(), 1)]).await.unwrap();
    world.put(&space, "c", "1").await;
    assert_eq!(world.among(&space, &["a", "b", "c"]).await, ["b", "c"], "{}", world.name);
}
