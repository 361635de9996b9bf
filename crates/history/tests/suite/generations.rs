//! Generations: made by a contract, built beside the current one, switched, cancelled and forgotten.

use headwater_history::{BuildOutcome, Generation, GenerationRecord, GenerationState};

use crate::events::clicks;
use crate::world::World;

/// Number and state of each, newest first.
async fn states(world: &World) -> Vec<(i64, GenerationState)> {
    let all = world.history.generations(&clicks()).await.unwrap();
    all.iter().map(|record| (record.generation.number, record.state)).collect()
}

async fn build(world: &World, request_id: &str) -> GenerationRecord {
    match world.history.build_generation(&clicks(), request_id).await.unwrap() {
        BuildOutcome::Started(record) => record,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn generations_follow_the_fingerprint(world: &World) {
    use GenerationState::{Current, Replaced};
    let schema = clicks();
    world.ready(&schema).await;
    assert_eq!(states(world).await, []);
    let mut at_once = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (history, schema) = (world.again(), schema.clone());
        at_once.spawn(async move { history.generation(&schema, 4, "f1").await.unwrap() });
    }
    assert_eq!(at_once.join_all().await, [Generation { number: 1, shards: 4 }; 4]);
    assert_eq!(states(world).await, [(1, Current)]);
    for (shards, fingerprint, number) in [(4, "f2", 2), (4, "f2", 2), (16, "f2", 3), (4, "f1", 4)] {
        let generation = world.history.generation(&schema, shards, fingerprint).await.unwrap();
        assert_eq!(generation, Generation { number, shards });
        let newest = world.again().generations(&schema).await.unwrap().remove(0);
        assert_eq!((newest.generation, newest.fingerprint.as_str(), newest.state), (generation, fingerprint, Current));
        assert_eq!((newest.request_id, newest.ended_ms), (None, None));
    }
    assert_eq!(states(world).await, [(4, Current), (3, Replaced), (2, Replaced), (1, Replaced)]);
}

pub(crate) async fn a_generation_is_built_beside_and_switched_to(world: &World) {
    use GenerationState::{Building, Current, Replaced};
    let schema = clicks();
    world.ready(&schema).await;
    assert_eq!(world.history.build_generation(&schema, "first").await.unwrap(), BuildOutcome::NoneYet);
    world.history.generation(&schema, 4, "f1").await.unwrap();

    let mut at_once = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (history, schema) = (world.again(), schema.clone());
        at_once.spawn(async move { history.build_generation(&schema, "first").await.unwrap() });
    }
    let started = build(world, "first").await;
    assert_eq!((started.generation, started.state), (Generation { number: 2, shards: 4 }, Building));
    assert_eq!((started.fingerprint.as_str(), started.request_id.as_deref()), ("f1", Some("first")));
    for outcome in at_once.join_all().await {
        assert_eq!(outcome, BuildOutcome::Started(started.clone()), "starting twice is starting once");
    }
    let busy = world.history.build_generation(&schema, "second").await.unwrap();
    assert_eq!(busy, BuildOutcome::Busy(started), "one at a time");
    assert_eq!(world.history.generation(&schema, 4, "f1").await.unwrap().number, 1, "the current one is still read");

    assert!(!world.history.switch_generation(&schema, 9).await.unwrap(), "there is no such");
    assert!(world.history.switch_generation(&schema, 2).await.unwrap());
    assert!(world.again().switch_generation(&schema, 2).await.unwrap(), "switching twice is switching once");
    assert!(!world.history.switch_generation(&schema, 1).await.unwrap(), "nothing goes back");
    assert_eq!(states(world).await, [(2, Current), (1, Replaced)]);
    assert!(!world.history.cancel_generation(&schema, 2).await.unwrap(), "too late");
    let done = build(world, "first").await;
    assert_eq!((done.generation.number, done.state), (2, Current), "what became of the request is known");
    let [_, replaced] = &world.history.generations(&schema).await.unwrap()[..] else { panic!() };
    assert!(replaced.ended_ms.is_some_and(|ended_ms| ended_ms >= replaced.made_ms), "{replaced:?}");
}

pub(crate) async fn a_build_is_given_up(world: &World) {
    use GenerationState::{Building, Cancelled, Current, Replaced};
    let schema = clicks();
    world.ready(&schema).await;
    world.history.generation(&schema, 1, "f1").await.unwrap();
    build(world, "a").await;
    assert!(world.history.cancel_generation(&schema, 2).await.unwrap());
    assert!(world.history.cancel_generation(&schema, 2).await.unwrap(), "cancelling twice is cancelling once");
    assert!(!world.history.cancel_generation(&schema, 9).await.unwrap());
    assert!(!world.history.switch_generation(&schema, 2).await.unwrap());
    build(world, "b").await;
    // Other statistics: what is built of those before is of no use.
    world.history.generation(&schema, 1, "f2").await.unwrap();
    assert_eq!(states(world).await, [(4, Current), (3, Cancelled), (2, Cancelled), (1, Replaced)]);

    // Only what has ended is forgotten, and a number is never used again.
    for number in 1..=4 {
        world.history.forget_generation(&schema, number).await.unwrap();
    }
    assert_eq!(states(world).await, [(4, Current)]);
    build(world, "c").await;
    world.history.cancel_generation(&schema, 5).await.unwrap();
    world.history.forget_generation(&schema, 5).await.unwrap();
    assert_eq!(states(world).await, [(5, Cancelled), (4, Current)]);
    assert_eq!(build(world, "d").await.generation.number, 6);
    world.history.forget_generation(&schema, 5).await.unwrap();
    assert_eq!(states(world).await, [(6, Building), (4, Current)]);
}
