//! Namespaces that are saved in the store.

use futures::future::join_all;
use headwater_cache_store::{Expected, Saved, StoredNamespace};

use crate::world::World;

pub(crate) async fn a_namespace_is_saved_and_told(world: &World) {
    assert_eq!(world.store.namespaces().await.unwrap(), [], "{}", world.name);
    for (name, body) in [("b", "one"), ("a.x_y-z", "\0{}*\u{ff}"), ("empty", "")] {
        assert_eq!(world.save(name, body, Expected::Absent).await, Saved::Revision(1), "{}", world.name);
    }
    assert_eq!(world.save("b", "two", Expected::Revision(1)).await, Saved::Revision(2), "{}", world.name);
    let mut told = world.store.namespaces().await.unwrap();
    told.sort_by(|a, b| a.name.cmp(&b.name));
    let stored = |name: &str, revision, body: &str| StoredNamespace {
        name: name.into(),
        revision,
        body: body.to_owned().into(),
    };
    let expected = [stored("a.x_y-z", 1, "\0{}*\u{ff}"), stored("b", 2, "two"), stored("empty", 1, "")];
    assert_eq!(told, expected, "{}", world.name);
}

pub(crate) async fn a_revision_decides(world: &World) {
    assert_eq!(world.save("a", "1", Expected::Revision(1)).await, Saved::Differs(None), "{}", world.name);
    assert_eq!(world.save("a", "1", Expected::Revision(0)).await, Saved::Differs(None), "{}", world.name);
    assert_eq!(world.save("a", "1", Expected::Absent).await, Saved::Revision(1), "{}", world.name);
    for expected in [Expected::Absent, Expected::Revision(0), Expected::Revision(2), Expected::Revision(-1)] {
        assert_eq!(world.save("a", "x", expected).await, Saved::Differs(Some(1)), "{}: {expected:?}", world.name);
    }
    for revision in 1..12 {
        let saved = world.save("a", "x", Expected::Revision(revision)).await;
        assert_eq!(saved, Saved::Revision(revision + 1), "{}", world.name);
        let late = world.save("a", "late", Expected::Revision(revision)).await;
        assert_eq!(late, Saved::Differs(Some(revision + 1)), "{}", world.name);
    }
    let [stored] = &world.store.namespaces().await.unwrap()[..] else { panic!("{}: there is one", world.name) };
    assert_eq!((stored.revision, &stored.body[..]), (12, &b"x"[..]), "{}", world.name);
}

pub(crate) async fn there_are_not_too_many(world: &World) {
    let save = async |name: &str, expected| world.store.save_namespace(name, b"1", expected, 2).await.unwrap();
    assert_eq!(save("a", Expected::Absent).await, Saved::Revision(1), "{}", world.name);
    assert_eq!(save("b", Expected::Absent).await, Saved::Revision(1), "{}", world.name);
    assert_eq!(save("c", Expected::Absent).await, Saved::TooMany, "{}", world.name);
    // Those that are there may change, and what differs is said first.
    assert_eq!(save("b", Expected::Revision(1)).await, Saved::Revision(2), "{}", world.name);
    assert_eq!(save("b", Expected::Absent).await, Saved::Differs(Some(2)), "{}", world.name);
    assert_eq!(save("c", Expected::Revision(1)).await, Saved::Differs(None), "{}", world.name);
    assert_eq!(world.store.namespaces().await.unwrap().len(), 2, "{}", world.name);
}

pub(crate) async fn of_many_who_save_one_wins(world: &World) {
    for expected in [Expected::Absent, Expected::Revision(1), Expected::Revision(2)] {
        let savers = (0..10).map(|n: u8| {
            let store = world.replica(usize::from(n));
            tokio::spawn(async move { (n, store.save_namespace("a", &[n], expected, 10).await.unwrap()) })
        });
        let mut winners = Vec::new();
        for saved in join_all(savers).await {
            match saved.unwrap() {
                (n, Saved::Revision(_)) => winners.push(n),
                (_, Saved::Differs(Some(_))) => {}
                (_, other) => panic!("{}: {other:?}", world.name),
            }
        }
        assert_eq!(winners.len(), 1, "{}: {expected:?}: {winners:?}", world.name);
        assert_eq!(&world.store.namespaces().await.unwrap()[0].body[..], &winners[..], "{}", world.name);
    }
}
