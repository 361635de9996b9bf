//! What is read is what was written.

use bytes::Bytes;
use headwater_cache_store::{Condition, Done, Entry, Got, Layout, Op, Outcome, Space, Write};

use crate::world::{LAYOUTS, World, add, put};

pub(crate) async fn nothing_is_there_before_it_is_written(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        assert_eq!(world.got(&space, "a", None).await, Got::default(), "{}: {layout:?}", world.name);
        assert_eq!(world.batch(&space, &[Bytes::from_static(b"a")]).await, [None]);
        assert_eq!(world.batch(&space, &[]).await, []);
        assert_eq!(world.store.write(&space, &[]).await, []);
        assert_eq!(world.put(&space, "a", "x").await, Done::default());
        let expected = Entry { value: "x".into(), ttl_ms: None };
        assert_eq!(world.got(&space, "a", None).await, Got { entry: Some(expected), ..Got::default() });
        assert_eq!(world.put(&space, "a", "y").await, Done { existed: true, ..Done::default() });
        assert_eq!(world.value(&space, "a").await.unwrap(), "y");
    }
    let info = world.store.check().await.unwrap();
    assert!(!info.durability.is_empty(), "{}", world.name);
}

pub(crate) async fn a_batch_is_answered_in_order(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        world.put(&space, "a", "1").await;
        world.put(&space, "b", "").await;
        let keys = ["b", "absent", "a", "b", "absent", "a", "a"].map(Bytes::from_static_str);
        let expected = [Some(""), None, Some("1"), Some(""), None, Some("1"), Some("1")];
        let expected = expected.map(|value| value.map(|value| Entry { value: value.into(), ttl_ms: None }));
        assert_eq!(world.batch(&space, &keys).await, expected, "{}: {layout:?}", world.name);
    }
}

/// `Bytes::from_static` of text.
trait FromStaticStr {
    fn from_static_str(text: &'static str) -> Self;
}

impl FromStaticStr for Bytes {
    fn from_static_str(text: &'static str) -> Self {
        Self::from_static(text.as_bytes())
    }
}

pub(crate) async fn keys_and_values_are_any_bytes(world: &World) {
    let long = vec![b'k'; 65_536];
    let mut texts: Vec<&[u8]> = vec![b"{", b"}", b"{}", b"}{", b"{a}", b"{a}b", b"a{b", b":", b"x:", b"v:", b"%"];
    texts.extend([&b"\0"[..], b"a\0", b"\0a", b"*", b"?", b"[a]", b"[^a]", b"\\", b"\\*", b" ", b"\r\n", b"\n"]);
    texts.extend([&b"\xff"[..], b"\xff\xfe\x00", "\u{1f980}".as_bytes(), b"1", b"-1", b"nil", b"KEYS", &long]);
    let all: Vec<u8> = (0..=255).collect();
    texts.push(&all);
    for layout in LAYOUTS {
        let space = world.space(layout);
        let op =
            |value: &[u8]| Op::Put { value: Bytes::copy_from_slice(value), ttl_ms: None, condition: Condition::Absent };
        // Each key has as its value the text of the one before.
        let values = texts.iter().cycle().skip(texts.len() - 1);
        let writes: Vec<Write> = texts
            .iter()
            .zip(values)
            .map(|(key, value)| Write { key: Bytes::copy_from_slice(key), op: op(value) })
            .collect();
        for (write, result) in writes.iter().zip(world.store.write(&space, &writes).await) {
            assert_eq!(result, Ok(Outcome::Done(Done::default())), "{}: {layout:?}: {:?}", world.name, write.key);
        }
        let keys: Vec<Bytes> = writes.iter().map(|write| write.key.clone()).collect();
        for (write, entry) in writes.iter().zip(world.batch(&space, &keys).await) {
            let Op::Put { value, .. } = &write.op else { unreachable!("they are puts") };
            assert_eq!(entry.unwrap().value, value, "{}: {layout:?}: {:?}", world.name, write.key);
            let got = world.store.get(&space, &write.key, None).await.unwrap();
            assert_eq!(got.entry.unwrap().value, value, "{}: {layout:?}: {:?}", world.name, write.key);
        }
        // Each is deleted by itself: patterns match nothing but themselves.
        for (index, key) in keys.iter().enumerate() {
            let delete = Write { key: key.clone(), op: Op::Delete };
            let results = world.store.write(&space, &[delete]).await;
            assert_eq!(
                results,
                [Ok(Outcome::Done(Done { existed: true, ..Done::default() }))],
                "{}: {key:?}",
                world.name
            );
            let left = world.batch(&space, &keys).await.iter().flatten().count();
            assert_eq!(left, keys.len() - index - 1, "{}: {layout:?}: {key:?}", world.name);
        }
    }
}

pub(crate) async fn namespaces_do_not_touch(world: &World) {
    let spaces: Vec<Space> = [LAYOUTS, LAYOUTS].concat().into_iter().map(|layout| world.space(layout)).collect();
    for (index, space) in spaces.iter().enumerate() {
        world.put(space, "a", &index.to_string()).await;
    }
    for (index, space) in spaces.iter().enumerate() {
        assert_eq!(world.value(space, "a").await.unwrap(), index.to_string(), "{}", world.name);
    }
    world.write(&spaces[0], "a", Op::Delete).await;
    for space in &spaces[1..] {
        assert!(world.value(space, "a").await.is_some(), "{}", world.name);
    }
}

pub(crate) async fn a_thousand_keys_are_read_and_written_at_once(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        // One of them is no integer, and says so in its place.
        world.put(&space, "500", "x").await;
        let write = |n: usize| Write { key: n.to_string().into(), op: add(i64::try_from(n).unwrap()) };
        let results = world.store.write(&space, &(0..1_000).map(write).collect::<Vec<_>>()).await;
        assert_eq!(results.len(), 1_000, "{}: {layout:?}", world.name);
        for (n, result) in results.into_iter().enumerate() {
            match result.unwrap() {
                Outcome::Done(done) => assert_eq!(done.number, Some(i64::try_from(n).unwrap()), "{}", world.name),
                Outcome::Refused(_) => assert_eq!(n, 500, "{}", world.name),
            }
        }
        let keys: Vec<Bytes> = (0..1_001).map(|n| n.to_string().into()).collect();
        for (n, entry) in world.batch(&space, &keys).await.into_iter().enumerate() {
            let expected = match n {
                500 => Some("x".to_owned()),
                1_000 => None,
                n => Some(n.to_string()),
            };
            assert_eq!(entry.map(|entry| entry.value), expected.map(Bytes::from), "{}: {n}", world.name);
        }
    }
}

pub(crate) async fn a_value_is_its_own_bytes_for_other_clients(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        let straight = world.straight(&space);
        world.put(&space, "ours", "1").await;
        assert_eq!(world.value(&straight, "ours").await.unwrap(), "1", "{}: {layout:?}", world.name);
        world.write(&straight, "theirs", put("2")).await;
        assert_eq!(world.value(&space, "theirs").await.unwrap(), "2", "{}: {layout:?}", world.name);
        world.write(&straight, "ours", put("3")).await;
        assert_eq!(world.value(&space, "ours").await.unwrap(), "3", "{}: {layout:?}", world.name);
        if let Layout::Ranked { .. } = layout {
            // What was put past the cache is a member once it is written through it.
            world.put(&space, "theirs", "4").await;
            assert_eq!(world.held(&space).await.entries, Some(2), "{}", world.name);
        }
    }
}
