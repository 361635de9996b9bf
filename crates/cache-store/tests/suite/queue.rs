//! Writes that are done one after another.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use headwater_cache_store::{
    Applied, Condition, Done, EnqueueError, Holder, Layout, Op, Outcome, QueuedWrite, Refusal, Space, StoreError,
    Write, etag_of,
};
use tokio::time::{Instant, sleep};

use crate::world::{LONG_MS, World, add, put, put_if, refusal, write};

const QUEUED: [Layout; 2] = [Layout::Slot, Layout::Ranked { entries_max: 10_000 }];

fn holder(id: &str) -> Holder {
    Holder { id: id.into(), lease_ms: LONG_MS }
}

async fn enqueue(world: &World, space: &Space, writes: &[Write]) -> Vec<String> {
    let ids = world.store.enqueue(space, writes).await.unwrap();
    assert_eq!(ids.len(), writes.len(), "{}", world.name);
    ids
}

async fn queued(world: &World, space: &Space, id: &str) -> Option<QueuedWrite> {
    world.store.queued(space, id).await.unwrap()
}

async fn apply(world: &World, space: &Space, id: &str, writes_max: u64) -> Applied {
    world.store.apply_queued(space, &holder(id), writes_max).await.unwrap()
}

fn ended(count: u64, waiting: u64) -> Applied {
    Applied::Ended { count, waiting }
}

fn outcome(outcome: Outcome) -> Option<QueuedWrite> {
    Some(QueuedWrite::Ended(outcome))
}

pub(crate) async fn writes_are_applied_in_order(world: &World) {
    for layout in QUEUED {
        let space = world.space(layout);
        assert_eq!(apply(world, &space, "h", 10).await, ended(0, 0), "{}: {layout:?}", world.name);
        assert_eq!(enqueue(world, &space, &[]).await, Vec::<String>::new(), "{}", world.name);
        let first = enqueue(world, &space, &[write("a", put("1")), write("a", add(1)), write("b", put("x"))]).await;
        let second = enqueue(world, &space, &[write("a", put_if("9", None, Condition::Etag(etag_of(b"2"))))]).await;
        let ids = [first, second].concat();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 4, "{}: {ids:?}", world.name);
        for id in &ids {
            assert_eq!(queued(world, &space, id).await, Some(QueuedWrite::Waiting), "{}: {layout:?}", world.name);
        }
        assert_eq!(world.get(&space, "a").await, None, "{}: nothing is done yet", world.name);
        assert_eq!(world.held(&space).await.queued, 4, "{}", world.name);
        assert_eq!(apply(world, &space, "h", 10).await, ended(4, 0), "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "a").await.unwrap(), "9", "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "b").await.unwrap(), "x", "{}: {layout:?}", world.name);
        let done = |existed, number| outcome(Outcome::Done(Done { existed, number, ..Done::default() }));
        let expected = [done(false, None), done(true, Some(2)), done(false, None), done(true, None)];
        for (id, expected) in ids.iter().zip(expected) {
            assert_eq!(queued(world, &space, id).await, expected, "{}: {layout:?}", world.name);
        }
        assert_eq!(world.held(&space).await.queued, 0, "{}", world.name);
        assert_eq!(apply(world, &space, "h", 10).await, ended(0, 0), "{}: none is done twice", world.name);
        assert_eq!(world.value(&space, "a").await.unwrap(), "9", "{}", world.name);
    }
}

pub(crate) async fn every_kind_of_write_is_queued(world: &World) {
    for layout in QUEUED {
        let space = Space { kept_stale_ms: 1_000, ..world.space(layout) };
        let refusing = Space { is_overwrite_refused: true, ..space.clone() };
        let long = i64::try_from(LONG_MS).unwrap();
        let done = |done: Done| Outcome::Done(done);
        let not_met = |current: &str| {
            let current = (!current.is_empty()).then(|| etag_of(current.as_bytes()));
            Outcome::Refused(Refusal::NotMet { current })
        };
        let existed = Done { existed: true, ..Done::default() };
        // The key of the next case, what the write is, and how it ends.
        let cases: Vec<(&str, Op, Outcome)> = vec![
            ("a", put_if("1", Some(LONG_MS), Condition::Any), done(Done { ttl_ms: Some(long), ..Done::default() })),
            ("a", put_if("2", None, Condition::Absent), not_met("1")),
            ("a", put_if("3", None, Condition::Present), done(existed.clone())),
            ("a", put_if("4", None, Condition::Etag(etag_of(b"1"))), not_met("3")),
            ("none", put_if("4", None, Condition::Present), not_met("")),
            ("a", put_if("4", None, Condition::Lease("t".into())), not_met("3")),
            ("a", add(-10), done(Done { number: Some(-7), ..existed.clone() })),
            ("a", add(i64::MIN), Outcome::Refused(Refusal::Overflow)),
            (
                "n",
                Op::Add { delta: i64::MAX, initial: -1, ttl_ms: Some(5), new_ttl_ms: Some(LONG_MS) },
                done(Done { number: Some(i64::MAX - 1), ttl_ms: Some(long), ..Done::default() }),
            ),
            ("a", Op::Touch { ttl_ms: Some(LONG_MS) }, done(Done { ttl_ms: Some(long), ..existed.clone() })),
            ("a", Op::Touch { ttl_ms: None }, done(existed.clone())),
            ("none", Op::Touch { ttl_ms: Some(1) }, done(Done::default())),
            ("\0{x}\u{ff}*", put("\0{y}\u{ff}*"), done(Done::default())),
            ("\0{x}\u{ff}*", add(1), Outcome::Refused(Refusal::NotANumber)),
            ("empty", put(""), done(Done::default())),
            ("a", Op::Delete, done(existed)),
            ("a", Op::Delete, done(Done::default())),
        ];
        let writes: Vec<Write> = cases.iter().map(|(key, op, _)| write(key, op.clone())).collect();
        let ids = enqueue(world, &space, &writes).await;
        assert_eq!(apply(world, &space, "h", 1_000).await, ended(cases.len() as u64, 0), "{}", world.name);
        for (id, (key, op, expected)) in ids.iter().zip(cases) {
            assert_eq!(queued(world, &space, id).await, outcome(expected), "{}: {layout:?}: {key} {op:?}", world.name);
        }
        assert_eq!(world.value(&space, "\0{x}\u{ff}*").await.unwrap(), "\0{y}\u{ff}*", "{}", world.name);
        assert_eq!(world.value(&space, "empty").await.unwrap(), "", "{}", world.name);
        assert_eq!(world.get(&space, "a").await, None, "{}", world.name);
        // How the namespace is when the turn comes is what counts.
        let ids = enqueue(world, &space, &[write("empty", put("x")), write("empty", Op::Delete)]).await;
        assert_eq!(apply(world, &refusing, "h", 1_000).await, ended(2, 0), "{}", world.name);
        assert_eq!(queued(world, &space, &ids[0]).await, outcome(Outcome::Refused(Refusal::Exists)), "{}", world.name);
        assert_eq!(world.get(&space, "empty").await, None, "{}", world.name);
    }
    // In a ranked namespace they make room.
    let space = world.space(Layout::Ranked { entries_max: 2 });
    let ids = enqueue(world, &space, &["a", "b", "a", "c"].map(|key| write(key, put("1")))).await;
    assert_eq!(apply(world, &space, "h", 10).await, ended(4, 0), "{}", world.name);
    let done = Done { evicted: 1, ..Done::default() };
    assert_eq!(queued(world, &space, &ids[3]).await, outcome(Outcome::Done(done)), "{}", world.name);
    assert_eq!(world.among(&space, &["a", "b", "c"]).await, ["b", "c"], "{}", world.name);
}

pub(crate) async fn two_enqueue_and_order_holds(world: &World) {
    const EACH: usize = 60;
    for layout in QUEUED {
        let space = Arc::new(world.space(layout));
        let enqueuers = (0..2).map(|who| {
            let (store, space) = (world.replica(who), Arc::clone(&space));
            tokio::spawn(async move {
                // Each sees only its own order; between the two there is one, too.
                for n in 0..EACH {
                    let condition = if n == 0 { Condition::Absent } else { Condition::Present };
                    let next = put_if(&n.to_string(), None, condition);
                    let both = [write(&format!("own {who}"), next), write("count", add(1))];
                    store.enqueue(&space, &both).await.unwrap();
                }
                let last = store.enqueue(&space, &[write("last", put(&who.to_string()))]).await.unwrap();
                (Instant::now(), last)
            })
        });
        let mut applied = 0;
        let enqueuers = tokio::spawn(join_all(enqueuers));
        while applied < 2 * (2 * EACH as u64 + 1) {
            let Applied::Ended { count, .. } = apply(world, &space, "h", 7).await else { panic!("nobody else has it") };
            assert!(count <= 7, "{}", world.name);
            applied += count;
        }
        enqueuers.await.unwrap();
        assert_eq!(apply(world, &space, "h", 7).await, ended(0, 0), "{}", world.name);
        for who in 0..2 {
            let value = world.value(&space, &format!("own {who}")).await.unwrap();
            assert_eq!(value, (EACH - 1).to_string(), "{}: {layout:?}", world.name);
        }
        assert_eq!(world.value(&space, "count").await.unwrap(), (2 * EACH).to_string(), "{}: {layout:?}", world.name);
    }
    // What was accepted later, whoever accepted it, is applied later.
    let space = world.space(Layout::Slot);
    for n in 0..20 {
        enqueue(world, &space, &[write("a", put(&n.to_string()))]).await;
        enqueue(world, &space, &[write("b", put(&n.to_string())), write("a", add(100))]).await;
        apply(world, &space, "h", 2).await;
        assert_eq!(world.value(&space, "a").await, world.value(&space, "b").await, "{}", world.name);
        apply(world, &space, "h", 1).await;
        assert_eq!(world.value(&space, "a").await.unwrap(), (n + 100).to_string(), "{}", world.name);
    }
}

pub(crate) async fn all_or_none_are_queued(world: &World) {
    for layout in QUEUED {
        let space = Space { queue_max: 5, ..world.space(layout) };
        let three = ["a", "b", "c"].map(|key| write(key, put("1")));
        enqueue(world, &space, &three).await;
        let refused = world.store.enqueue(&space, &three).await;
        assert_eq!(refused, Err(EnqueueError::Full { waiting: 3 }), "{}: {layout:?}", world.name);
        assert_eq!(world.held(&space).await.queued, 3, "{}: none of them", world.name);
        enqueue(world, &space, &three[..2]).await;
        assert_eq!(world.held(&space).await.queued, 5, "{}", world.name);
        let refused = world.store.enqueue(&space, &three[..1]).await;
        assert_eq!(refused, Err(EnqueueError::Full { waiting: 5 }), "{}: {layout:?}", world.name);
        // As places get free, more may come.
        assert_eq!(apply(world, &space, "h", 1).await, ended(1, 4), "{}", world.name);
        enqueue(world, &space, &three[..1]).await;
        assert_eq!(apply(world, &space, "h", 100).await, ended(5, 0), "{}", world.name);
    }
}

pub(crate) async fn one_holder_applies(world: &World) {
    for layout in QUEUED {
        let space = world.space(layout);
        let with = async |id: &str, lease_ms| {
            world.store.apply_queued(&space, &Holder { id: id.into(), lease_ms }, 1).await.unwrap()
        };
        enqueue(world, &space, &vec![write("a", add(1)); 5]).await;
        assert_eq!(with("one", LONG_MS).await, ended(1, 4), "{}: {layout:?}", world.name);
        assert_eq!(with("two", 1).await, Applied::HeldByOther, "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "a").await.unwrap(), "1", "{}: {layout:?}", world.name);
        // Each call of the holder sets its lease anew.
        let asked = Instant::now();
        assert_eq!(with("one", 80).await, ended(1, 3), "{}: {layout:?}", world.name);
        let free = async || with("two", LONG_MS).await == ended(1, 2);
        world.until("another takes over", free).await;
        assert!(asked.elapsed() >= Duration::from_millis(78), "{}: {:?}", world.name, asked.elapsed());
        assert_eq!(with("one", 1).await, Applied::HeldByOther, "{}: {layout:?}", world.name);
        // Also without work, and in other namespaces not.
        let other = world.space(layout);
        let applied = world.store.apply_queued(&other, &holder("one"), 1).await.unwrap();
        assert_eq!(applied, ended(0, 0), "{}: {layout:?}", world.name);
        let applied = world.store.apply_queued(&other, &holder("two"), 1).await.unwrap();
        assert_eq!(applied, Applied::HeldByOther, "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn many_appliers_apply_each_once(world: &World) {
    const WRITES: u64 = 300;
    let space = Arc::new(world.space(Layout::Slot));
    enqueue(world, &space, &vec![write("a", add(1)); WRITES as usize]).await;
    let appliers = (0..6).map(|n| {
        let (store, space) = (world.replica(n), Arc::clone(&space));
        tokio::spawn(async move {
            // A lease so short that it often ends between two calls.
            let holder = Holder { id: format!("h{n}"), lease_ms: 2 };
            let mut applied = 0;
            loop {
                match store.apply_queued(&space, &holder, 3).await.unwrap() {
                    Applied::Ended { count, waiting } => {
                        applied += count;
                        if waiting == 0 {
                            return applied;
                        }
                    }
                    Applied::HeldByOther => {}
                }
                sleep(Duration::from_millis(1)).await;
            }
        })
    });
    let applied: u64 = join_all(appliers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(applied, WRITES, "{}", world.name);
    assert_eq!(world.value(&space, "a").await.unwrap(), WRITES.to_string(), "{}", world.name);
}

pub(crate) async fn some_are_applied_at_a_time(world: &World) {
    for layout in QUEUED {
        let space = world.space(layout);
        let ids = enqueue(world, &space, &vec![write("a", add(1)); 700]).await;
        assert_eq!(apply(world, &space, "h", 300).await, ended(300, 400), "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "a").await.unwrap(), "300", "{}: {layout:?}", world.name);
        assert!(matches!(queued(world, &space, &ids[299]).await, Some(QueuedWrite::Ended(_))), "{}", world.name);
        assert_eq!(queued(world, &space, &ids[300]).await, Some(QueuedWrite::Waiting), "{}", world.name);
        assert_eq!(apply(world, &space, "h", 400).await, ended(400, 0), "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "a").await.unwrap(), "700", "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn the_last_outcomes_are_known(world: &World) {
    const KEPT: usize = 10_000;
    const MORE: usize = 1_000;
    let space = Space { queue_max: 20_000, ..world.space(Layout::Slot) };
    let mut ids = Vec::new();
    for _ in 0..11 {
        ids.extend(enqueue(world, &space, &vec![write("a", add(1)); MORE]).await);
        while apply(world, &space, "h", 500).await != ended(0, 0) {}
    }
    assert_eq!(ids.len(), KEPT + MORE, "{}", world.name);
    assert_eq!(world.value(&space, "a").await.unwrap(), ids.len().to_string(), "{}", world.name);
    for (index, id) in ids.iter().enumerate().skip(MORE).step_by(997).chain([(MORE, &ids[MORE])]) {
        let number = Some(i64::try_from(index).unwrap() + 1);
        let expected = outcome(Outcome::Done(Done { existed: index > 0, number, ..Done::default() }));
        assert_eq!(queued(world, &space, id).await, expected, "{}: {index}", world.name);
    }
    // A store may forget by steps, but forgets.
    assert_eq!(queued(world, &space, &ids[0]).await, None, "{}", world.name);
}

pub(crate) async fn an_unknown_id_is_unknown(world: &World) {
    for layout in QUEUED {
        let space = world.space(layout);
        let long = "9".repeat(1_000);
        for id in ["", "0", "1", "-1", "x", "0-0", "1-1", "{a}", "*", "\0", "1 ", "18446744073709551616", &long] {
            assert_eq!(queued(world, &space, id).await, None, "{}: {layout:?}: {id:?}", world.name);
        }
        let ids = enqueue(world, &space, &[write("a", put("1"))]).await;
        for id in [format!("{}0", ids[0]), format!(" {}", ids[0]), format!("{}x", ids[0])] {
            assert_eq!(queued(world, &space, &id).await, None, "{}: {layout:?}: {id:?}", world.name);
        }
        apply(world, &space, "h", 1).await;
        assert!(queued(world, &space, &ids[0]).await.is_some(), "{}", world.name);
        assert_eq!(queued(world, &space, &format!("{}0", ids[0])).await, None, "{}: {layout:?}", world.name);
    }
}

pub(crate) async fn a_spread_namespace_has_no_queue(world: &World) {
    let space = world.space(Layout::Spread);
    let refused = world.store.enqueue(&space, &[write("a", put("1"))]).await;
    assert!(matches!(refused, Err(EnqueueError::Store(StoreError::Refused(_)))), "{}: {refused:?}", world.name);
    assert_eq!(world.held(&space).await.queued, 0, "{}", world.name);
    assert_eq!(queued(world, &space, "1").await, None, "{}", world.name);
}

pub(crate) async fn queued_writes_take_leases_away_when_applied(world: &World) {
    for layout in QUEUED {
        let space = world.space(layout);
        assert!(world.lease(&space, "a", "one").await, "{}", world.name);
        assert!(world.lease(&space, "b", "one").await, "{}", world.name);
        let fill = put_if("1", None, Condition::Lease("one".into()));
        enqueue(world, &space, &[write("a", Op::Delete), write("a", fill.clone()), write("b", fill)]).await;
        assert!(!world.lease(&space, "a", "two").await, "{}: it holds until the turn comes", world.name);
        apply(world, &space, "h", 3).await;
        assert_eq!(world.get(&space, "a").await, None, "{}: {layout:?}", world.name);
        assert_eq!(world.value(&space, "b").await.unwrap(), "1", "{}: {layout:?}", world.name);
        let late = put_if("2", None, Condition::Lease("one".into()));
        refusal(world.write(&space, "a", late).await);
    }
}
