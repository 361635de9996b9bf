//! Writes, and what must hold for them.

use std::sync::Arc;

use futures::future::join_all;
use headwater_cache_store::{Condition, Done, Etag, Op, Outcome, Refusal, Space, etag_of};

use crate::world::{LAYOUTS, LONG_MS, World, add, done, put, put_if, refusal, write};

pub(crate) async fn a_condition_decides(world: &World) {
    let (none, one, two): (Option<Etag>, _, _) = (None, etag_of(b"1"), etag_of(b"2"));
    for layout in LAYOUTS {
        let space = world.space(layout);
        let cases = [
            // before, condition, whether it holds
            (None, Condition::Any, true),
            (None, Condition::Absent, true),
            (None, Condition::Present, false),
            (None, Condition::Etag(one), false),
            (None, Condition::Lease("t".into()), false),
            (Some("1"), Condition::Any, true),
            (Some("1"), Condition::Absent, false),
            (Some("1"), Condition::Present, true),
            (Some("1"), Condition::Etag(one), true),
            (Some("1"), Condition::Etag(two), false),
            (Some("1"), Condition::Etag([0; 20]), false),
            (Some("1"), Condition::Lease("t".into()), false),
            (Some(""), Condition::Etag(etag_of(b"")), true),
            (Some(""), Condition::Absent, false),
            (Some(""), Condition::Present, true),
        ];
        for (before, condition, is_met) in cases {
            let case = format!("{}: {layout:?}: {before:?} {condition:?}", world.name);
            world.write(&space, "a", Op::Delete).await;
            if let Some(before) = before {
                world.put(&space, "a", before).await;
            }
            let outcome = world.write(&space, "a", put_if("new", Some(LONG_MS), condition)).await;
            if is_met {
                let ttl_ms = Some(i64::try_from(LONG_MS).unwrap());
                assert_eq!(done(outcome), Done { existed: before.is_some(), ttl_ms, ..Done::default() }, "{case}");
                assert_eq!(world.value(&space, "a").await.unwrap(), "new", "{case}");
            } else {
                let current = before.map_or(none, |before| Some(etag_of(before.as_bytes())));
                assert_eq!(refusal(outcome), Refusal::NotMet { current }, "{case}");
                assert_eq!(world.value(&space, "a").await, before.map(Into::into), "{case}");
            }
        }
    }
}

pub(crate) async fn a_refused_write_changes_nothing(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        world.put_for(&space, "a", "x", LONG_MS).await;
        for op in [put_if("new", None, Condition::Absent), put_if("new", Some(1), Condition::Etag([1; 20])), add(1)] {
            refusal(world.write(&space, "a", op).await);
            let entry = world.get(&space, "a").await.unwrap();
            assert_eq!(entry.value, "x", "{}: {layout:?}", world.name);
            let ttl_ms = entry.ttl_ms.unwrap();
            assert!(ttl_ms > 3_500_000, "{}: {layout:?}: {ttl_ms}", world.name);
        }
    }
}

pub(crate) async fn overwriting_is_refused(world: &World) {
    for layout in LAYOUTS {
        let space = Space { is_overwrite_refused: true, ..world.space(layout) };
        assert_eq!(world.put(&space, "a", "1").await, Done::default(), "{}: {layout:?}", world.name);
        // Before anything else: whatever the condition, and whatever the value is.
        let etag = Condition::Etag(etag_of(b"1"));
        for condition in [Condition::Any, Condition::Absent, Condition::Present, etag, Condition::Lease("t".into())] {
            let outcome = world.write(&space, "a", put_if("2", None, condition)).await;
            assert_eq!(refusal(outcome), Refusal::Exists, "{}: {layout:?}", world.name);
        }
        assert_eq!(refusal(world.write(&space, "a", add(1)).await), Refusal::Exists, "{}", world.name);
        world.write(&space, "b", put("x")).await;
        assert_eq!(refusal(world.write(&space, "b", add(1)).await), Refusal::Exists, "{}", world.name);
        assert_eq!(world.value(&space, "a").await.unwrap(), "1", "{}: {layout:?}", world.name);
        // A touch and a delete are none.
        assert!(done(world.write(&space, "a", Op::Touch { ttl_ms: Some(LONG_MS) }).await).existed, "{}", world.name);
        assert!(done(world.write(&space, "a", Op::Delete).await).existed, "{}", world.name);
        let put = put_if("3", None, Condition::Etag(etag_of(b"1")));
        assert_eq!(refusal(world.write(&space, "a", put).await), Refusal::NotMet { current: None }, "{}", world.name);
        assert_eq!(world.put(&space, "a", "4").await, Done::default(), "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn writes_of_one_key_are_done_in_order(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        let writes = [
            write("a", put("1")),
            write("b", put("1")),
            write("a", add(1)),
            write("a", put_if("9", None, Condition::Etag(etag_of(b"2")))),
            write("b", Op::Delete),
            write("a", put_if("x", None, Condition::Absent)),
            write("b", put_if("7", None, Condition::Absent)),
            write("a", Op::Delete),
            write("a", Op::Delete),
            write("a", add(5)),
        ];
        let results = world.store.write(&space, &writes).await;
        let done = |existed, number| Ok(Outcome::Done(Done { existed, number, ..Done::default() }));
        let expected = [
            done(false, None),
            done(false, None),
            done(true, Some(2)),
            done(true, None),
            done(true, None),
            Ok(Outcome::Refused(Refusal::NotMet { current: Some(etag_of(b"9")) })),
            done(false, None),
            done(true, None),
            done(false, None),
            done(false, Some(5)),
        ];
        assert_eq!(results, expected, "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "a").await.unwrap(), "5", "{}", world.name);
        assert_eq!(world.value(&space, "b").await.unwrap(), "7", "{}", world.name);
    }
}

pub(crate) async fn a_delete_forgets(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        assert_eq!(done(world.write(&space, "a", Op::Delete).await), Done::default(), "{}", world.name);
        world.put_for(&space, "a", "1", LONG_MS).await;
        let forgot = done(world.write(&space, "a", Op::Delete).await);
        assert_eq!(forgot, Done { existed: true, ..Done::default() }, "{}: {layout:?}", world.name);
        assert_eq!(world.get(&space, "a").await, None, "{}", world.name);
        // Nothing of it comes back: not its time either.
        world.put(&space, "a", "2").await;
        assert_eq!(world.get(&space, "a").await.unwrap().ttl_ms, None, "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn of_many_at_once_one_is_first(world: &World) {
    for layout in LAYOUTS {
        let space = Arc::new(world.space(layout));
        for round in 0..10 {
            let key = format!("{round}");
            let tasks = (0..16).map(|n| {
                let (store, space) = (world.replica(n), Arc::clone(&space));
                let writes = [write(&key, put_if(&n.to_string(), None, Condition::Absent))];
                tokio::spawn(async move { store.write(&space, &writes).await.remove(0).unwrap() })
            });
            let outcomes: Vec<Outcome> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
            let first: Vec<usize> = (0..16).filter(|n| matches!(outcomes[*n], Outcome::Done(_))).collect();
            assert_eq!(first.len(), 1, "{}: {layout:?}: {outcomes:?}", world.name);
            assert_eq!(world.value(&space, &key).await.unwrap(), first[0].to_string(), "{}", world.name);
        }
    }
}
