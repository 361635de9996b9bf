//! What Redis itself loses, and what only its keys can show.

use headwater_live::{ApplyOutcome, Figure, redis::RedisOptions};

use crate::{
    contract::{
        AMOUNTS, PAGES, TOTAL, USERS, added, apply, batch, everything, figure, generation, now_ms, request, seen,
        window,
    },
    server::RedisServer,
    store::{HOUR_MS, MINUTE_MS, RedisStore, Store, WINDOW_MAX_MS, connect},
};

fn store_on(server: &RedisServer) -> Store {
    Store::Redis(Box::new(RedisStore::new(RedisOptions::new(server.url()), vec![server.url()])))
}

fn redis_of(store: &Store) -> &RedisStore {
    match store {
        Store::Redis(redis) => redis,
        Store::Memory(_) => unreachable!("these tests are of Redis"),
    }
}

#[tokio::test]
async fn a_restart_from_an_older_file_is_a_gap() {
    let now = now_ms();
    let mut server = RedisServer::start(&[]);
    let store = store_on(&server);
    let generation = generation(2);
    let add = |first: i64| batch(0, first, first + 1, added(TOTAL, "", now, 1));
    assert_eq!(apply(&store, &generation, &add(0)).await, ApplyOutcome::Applied);
    server.run("SAVE");
    for first in [1, 2] {
        assert_eq!(apply(&store, &generation, &add(first)).await, ApplyOutcome::Applied);
    }
    server.kill();
    server.start_again();
    assert_eq!(apply(&store, &generation, &add(3)).await, ApplyOutcome::Gap { next: Some(1) });
    for first in [1, 2, 3] {
        assert_eq!(apply(&store, &generation, &add(first)).await, ApplyOutcome::Applied);
    }
    assert_eq!(figure(&store, &generation, &request(TOTAL, None, now), "").await, Figure::Units(4));
}

#[tokio::test]
async fn one_lost_shard_is_filled_again_and_the_others_stay() {
    let now = now_ms();
    let store = Store::shared_redis();
    let generation = generation(4);
    let add = |first: i64| {
        let keys = (0..40).map(|n| format!("key-{n}"));
        let operations = keys.flat_map(|key| [added(AMOUNTS, &key, now, 1), vec![seen(USERS, "", &key, now)]].concat());
        batch(0, first, first + 1, operations.collect())
    };
    for first in 0..3 {
        assert_eq!(apply(&store, &generation, &add(first)).await, ApplyOutcome::Applied);
    }
    let before = everything(&store, &generation, now).await;
    redis_of(&store).lose(":s2}");
    assert_ne!(everything(&store, &generation, now).await, before);
    assert_eq!(store.live().applied(&generation).await.unwrap(), [].into());
    // The other shards take the batch; it is not applied while one has not.
    assert_eq!(apply(&store, &generation, &add(3)).await, ApplyOutcome::Gap { next: None });
    for first in 0..4 {
        assert_eq!(apply(&store, &generation, &add(first)).await, ApplyOutcome::Applied);
    }
    let amounts = store.live().read(&generation, &request(AMOUNTS, window(MINUTE_MS), now)).await.unwrap();
    assert_eq!(amounts.key_count, 40);
    assert!(amounts.entries.iter().all(|(_, figure)| *figure == Figure::Units(4)), "{amounts:?}");
    assert_eq!(figure(&store, &generation, &request(USERS, window(MINUTE_MS), now), "").await, Figure::Units(40));
}

#[tokio::test]
async fn a_removal_that_was_cut_short_does_not_count_twice() {
    let now = now_ms();
    let store = Store::shared_redis();
    let generation = generation(2);
    let add = |first: i64| batch(0, first, first + 1, added(PAGES, "/", now, 1));
    for first in [0, 1] {
        assert_eq!(apply(&store, &generation, &add(first)).await, ApplyOutcome::Applied);
    }
    redis_of(&store).lose("offsets");
    assert_eq!(apply(&store, &generation, &add(2)).await, ApplyOutcome::Gap { next: None });
    assert_eq!(apply(&store, &generation, &add(0)).await, ApplyOutcome::Applied);
    assert_eq!(figure(&store, &generation, &request(PAGES, None, now), "/").await, Figure::Units(1));
}

#[tokio::test]
async fn buckets_expire_and_the_rest_does_not() {
    let now = now_ms();
    let store = Store::shared_redis();
    let redis = redis_of(&store);
    let generation = generation(1);
    let long_ago = now - WINDOW_MAX_MS - 3 * HOUR_MS;
    let operations = [added(PAGES, "/", now, 1), added(PAGES, "/", long_ago, 1), vec![seen(USERS, "", "user", now)]];
    assert_eq!(apply(&store, &generation, &batch(0, 0, 1, operations.concat())).await, ApplyOutcome::Applied);
    let (mut expiring, mut lasting) = (0, Vec::new());
    for (node, key) in redis.keys("") {
        let name = String::from_utf8(key.clone()).unwrap().rsplit_once("}:").unwrap().1.to_owned();
        match redis::cmd("PTTL").arg(&key).query::<i64>(&mut connect(&node)).unwrap() {
            -1 => lasting.push(name),
            ttl_ms => {
                let longest_ms = WINDOW_MAX_MS + 2 * HOUR_MS;
                assert!(ttl_ms > WINDOW_MAX_MS && ttl_ms <= longest_ms, "{name}: {ttl_ms}");
                expiring += 1;
            }
        }
    }
    lasting.sort_unstable();
    // The buckets of long ago were gone at once.
    assert_eq!(expiring, 2);
    assert_eq!(lasting, ["names", "offsets", "rank:1", "seen:0", "seen:0:", "sum:1"]);
}

#[tokio::test]
async fn reading_writes_nothing() {
    let now = now_ms();
    let server = RedisServer::start(&[]);
    let store = store_on(&server);
    let generation = generation(2);
    let operations = [added(AMOUNTS, "key", now, 1), vec![seen(USERS, "", "user", now)]].concat();
    assert_eq!(apply(&store, &generation, &batch(0, 0, 1, operations)).await, ApplyOutcome::Applied);
    let changes = server.info("rdb_changes_since_last_save");
    everything(&store, &generation, now).await;
    figure(&store, &generation, &request(AMOUNTS, None, now), "key").await;
    assert_eq!(server.info("rdb_changes_since_last_save"), changes);
}
