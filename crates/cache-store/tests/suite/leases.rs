//! The right to fill a key, and what is remembered instead of a value.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use headwater_cache_store::{Condition, Got, LeaseAsk, Op, Outcome, Refusal, Space};
use tokio::time::Instant;

use crate::{
    times::put_stale,
    world::{LAYOUTS, LONG_MS, World, add, ask, done, put, put_if, refusal},
};

fn fill(value: &str, token: &'static str) -> Op {
    put_if(value, Some(LONG_MS), Condition::Lease(token.into()))
}

async fn deny(world: &World, space: &Space, key: &str, token: &str, why: &[u8], for_ms: u64) {
    world.store.deny(space, key.as_bytes(), token.as_bytes(), why, for_ms).await.unwrap();
}

async fn release(world: &World, space: &Space, key: &str, token: &str) {
    world.store.release(space, key.as_bytes(), token.as_bytes()).await.unwrap();
}

pub(crate) async fn one_at_a_time_has_a_lease(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        assert!(world.lease(&space, "a", "one").await, "{}: {layout:?}", world.name);
        assert!(!world.lease(&space, "a", "two").await, "{}: {layout:?}", world.name);
        assert!(world.lease(&space, "b", "two").await, "{}: other keys have their own", world.name);
        // Only who has it gives it up.
        release(world, &space, "a", "two").await;
        release(world, &space, "absent", "two").await;
        assert!(!world.lease(&space, "a", "three").await, "{}: {layout:?}", world.name);
        release(world, &space, "a", "one").await;
        assert!(world.lease(&space, "a", "four").await, "{}: {layout:?}", world.name);
        assert_eq!(refusal(world.write(&space, "a", fill("1", "one")).await), Refusal::NotMet { current: None });
        assert_eq!(world.get(&space, "a").await, None, "{}: a lease is no value", world.name);
        done(world.write(&space, "a", fill("4", "four")).await);
        // What is fresh needs none.
        assert!(!world.lease(&space, "a", "five").await, "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "a").await.unwrap(), "4", "{}", world.name);
        // Tokens and keys are bytes.
        let token = Bytes::from_static(b"\0{\xff}*");
        let asked = LeaseAsk { token: token.clone(), for_ms: LONG_MS };
        assert!(world.got(&space, "{\0*", Some(&asked)).await.is_leased, "{}: {layout:?}", world.name);
        let op = put_if("x", None, Condition::Lease(token));
        done(world.write(&space, "{\0*", op).await);
    }
}

pub(crate) async fn a_lease_lets_one_write(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        assert!(world.lease(&space, "a", "one").await, "{}", world.name);
        assert!(!done(world.write(&space, "a", fill("1", "one")).await).existed, "{}: {layout:?}", world.name);
        let again = refusal(world.write(&space, "a", fill("2", "one")).await);
        let current = Some(headwater_cache_store::etag_of(b"1"));
        assert_eq!(again, Refusal::NotMet { current }, "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "a").await.unwrap(), "1", "{}", world.name);
    }
}

pub(crate) async fn every_write_takes_the_lease_away(world: &World) {
    let ops = [
        put("x"),
        put_if("x", Some(LONG_MS), Condition::Absent),
        add(1),
        Op::Touch { ttl_ms: Some(LONG_MS) },
        Op::Touch { ttl_ms: None },
        Op::Delete,
    ];
    for layout in LAYOUTS {
        for is_stale in [false, true] {
            let space = Space { kept_stale_ms: if is_stale { LONG_MS } else { 0 }, ..world.space(layout) };
            for (index, op) in ops.iter().enumerate() {
                let case = format!("{}: {layout:?}, stale {is_stale}: {op:?}", world.name);
                let key = index.to_string();
                if is_stale {
                    put_stale(world, &space, &key, "7").await;
                }
                assert!(world.lease(&space, &key, "one").await, "{case}");
                done(world.write(&space, &key, op.clone()).await);
                // No deleted key comes back from a slow load.
                let outcome = world.write(&space, &key, fill("slow", "one")).await;
                assert!(matches!(refusal(outcome), Refusal::NotMet { .. }), "{case}");
                done(world.write(&space, &key, Op::Delete).await);
                assert!(world.lease(&space, &key, "two").await, "{case}: another may have it");
            }
        }
    }
}

pub(crate) async fn a_refused_write_leaves_the_lease(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        assert!(world.lease(&space, "a", "one").await, "{}", world.name);
        let refused = [
            put_if("x", None, Condition::Present),
            put_if("x", None, Condition::Etag([0; 20])),
            fill("x", "two"),
            Op::Add { delta: i64::MAX, initial: 1, ttl_ms: None, new_ttl_ms: None },
        ];
        for op in refused {
            refusal(world.write(&space, "a", op).await);
        }
        assert!(!done(world.write(&space, "a", fill("1", "one")).await).existed, "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn a_lease_expires(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        let asked = Instant::now();
        assert!(world.got(&space, "a", Some(&ask("one", 50))).await.is_leased, "{}", world.name);
        let is_free = async || world.lease(&space, "a", "two").await;
        world.until("a lease ends", is_free).await;
        assert!(asked.elapsed() >= Duration::from_millis(48), "{}: {:?}", world.name, asked.elapsed());
        refusal(world.write(&space, "a", fill("1", "one")).await);
        release(world, &space, "a", "one").await;
        done(world.write(&space, "a", fill("2", "two")).await);

        assert!(world.got(&space, "b", Some(&ask("one", 1))).await.is_leased, "{}", world.name);
        let is_lost = async || matches!(world.write(&space, "b", fill("1", "one")).await, Outcome::Refused(_));
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(is_lost().await, "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn what_is_denied_is_told(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        let why = b"\0{none}\xff";
        // Only with the lease.
        deny(world, &space, "a", "one", why, LONG_MS).await;
        assert_eq!(world.got(&space, "a", None).await, Got::default(), "{}: {layout:?}", world.name);
        assert!(world.lease(&space, "a", "one").await, "{}", world.name);
        deny(world, &space, "a", "two", why, LONG_MS).await;
        assert_eq!(world.got(&space, "a", None).await, Got::default(), "{}: {layout:?}", world.name);
        deny(world, &space, "a", "one", why, 1_000_000).await;
        for asked in [None, Some(ask("three", 10))] {
            let got = world.got(&space, "a", asked.as_ref()).await;
            let (told, for_ms) = got.denied.unwrap();
            assert_eq!(told, &why[..], "{}: {layout:?}", world.name);
            assert!((940_000..=1_000_000).contains(&for_ms), "{}: {layout:?}: {for_ms}", world.name);
            assert!(got.entry.is_none() && !got.is_leased, "{}: {layout:?}", world.name);
        }
        assert_eq!(world.batch(&space, &["a".into()]).await, [None], "{}", world.name);
        // The lease ended with it.
        refusal(world.write(&space, "a", fill("1", "one")).await);
        assert!(world.got(&space, "a", None).await.denied.is_some(), "{}: a refused write leaves it", world.name);
        // Why may be empty.
        assert!(world.lease(&space, "b", "one").await, "{}", world.name);
        deny(world, &space, "b", "one", b"", LONG_MS).await;
        assert_eq!(world.got(&space, "b", None).await.denied.unwrap().0, "", "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn every_write_takes_the_denial_away(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        for op in [put("x"), add(1), Op::Touch { ttl_ms: None }, Op::Delete] {
            let case = format!("{}: {layout:?}: {op:?}", world.name);
            assert!(world.lease(&space, "a", "one").await, "{case}");
            deny(world, &space, "a", "one", b"why", LONG_MS).await;
            done(world.write(&space, "a", op).await);
            assert_eq!(world.got(&space, "a", None).await.denied, None, "{case}");
            done(world.write(&space, "a", Op::Delete).await);
            assert_eq!(world.got(&space, "a", None).await, Got::default(), "{case}");
        }
    }
}

pub(crate) async fn a_denial_expires(world: &World) {
    for layout in LAYOUTS {
        let space = world.space(layout);
        assert!(world.lease(&space, "a", "one").await, "{}", world.name);
        let asked = Instant::now();
        deny(world, &space, "a", "one", b"why", 50).await;
        let is_free = async || world.lease(&space, "a", "two").await;
        world.until("a denial ends", is_free).await;
        assert!(asked.elapsed() >= Duration::from_millis(48), "{}: {:?}", world.name, asked.elapsed());
        assert_eq!(world.got(&space, "a", None).await, Got::default(), "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn a_lease_of_a_stale_key_is_given(world: &World) {
    for layout in LAYOUTS {
        let space = Space { kept_stale_ms: LONG_MS, ..world.space(layout) };
        put_stale(world, &space, "a", "old").await;
        let got = world.got(&space, "a", Some(&ask("one", LONG_MS))).await;
        assert!(got.is_leased && got.denied.is_none(), "{}: {layout:?}", world.name);
        assert_eq!(got.entry.unwrap().value, "old", "{}", world.name);
        let got = world.got(&space, "a", Some(&ask("two", LONG_MS))).await;
        assert!(!got.is_leased && got.entry.is_some(), "{}: {layout:?}", world.name);
        assert!(!done(world.write(&space, "a", fill("new", "one")).await).existed, "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "a").await.unwrap(), "new", "{}", world.name);

        // What is denied over a stale value leaves it, and nobody has the lease meanwhile.
        put_stale(world, &space, "b", "old").await;
        assert!(world.lease(&space, "b", "one").await, "{}", world.name);
        deny(world, &space, "b", "one", b"why", LONG_MS).await;
        let got = world.got(&space, "b", Some(&ask("two", LONG_MS))).await;
        assert!(!got.is_leased, "{}: {layout:?}", world.name);
        assert_eq!(got.entry.unwrap().value, "old", "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn of_many_who_ask_one_has_the_lease(world: &World) {
    for layout in LAYOUTS {
        let space = Arc::new(world.space(layout));
        for round in 0..10 {
            let tasks = (0..16).map(|n| {
                let (store, space) = (world.replica(n), Arc::clone(&space));
                let asked = LeaseAsk { token: format!("{n}").into(), for_ms: LONG_MS };
                tokio::spawn(async move { store.get(&space, &[b'k', round], Some(&asked)).await.unwrap().is_leased })
            });
            let leased = join_all(tasks).await.into_iter().filter(|is_leased| *is_leased.as_ref().unwrap()).count();
            assert_eq!(leased, 1, "{}: {layout:?}", world.name);
        }
    }
}
