//! While Redis is away every call says so soon, and works again when it is back.

use std::time::{Duration, Instant};

use headwater_live::{
    ApplyOutcome, Figure, LiveError, LiveStatistics,
    redis::{RedisLive, RedisOptions},
};

use crate::{
    contract::{TOTAL, added, batch, generation, now_ms, request, window},
    server::RedisServer,
    store::MINUTE_MS,
};

const CONNECT_MAX: Duration = Duration::from_millis(300);
const RESPONSE_MAX: Duration = Duration::from_millis(400);
/// The two together, and what a busy machine adds.
const CALL_MAX: Duration = Duration::from_millis(700 + 800);

fn live(url: String) -> RedisLive {
    let options =
        RedisOptions { connect_timeout: CONNECT_MAX, response_timeout: RESPONSE_MAX, ..RedisOptions::new(url) };
    RedisLive::new(options).unwrap()
}

/// That each call is unavailable, and says so in time.
async fn is_away(live: &RedisLive) {
    let now = now_ms();
    let generation = generation(16);
    let batch = batch(0, 0, 1, added(TOTAL, "", now, 1));
    let request = request(TOTAL, window(MINUTE_MS), now);
    for call in 0..6 {
        let began = Instant::now();
        let result = match call {
            0 => live.apply(&generation, &batch).await.map(drop),
            1 => live.applied(&generation).await.map(drop),
            2 => live.read(&generation, &request).await.map(drop),
            3 => live.trim(&generation, now).await,
            4 => live.remove(&generation).await,
            _ => live.check().await,
        };
        assert!(matches!(result, Err(LiveError::Unavailable(_))), "call {call}: {result:?}");
        assert!(began.elapsed() < CALL_MAX, "call {call} took {:?}", began.elapsed());
    }
}

async fn works(live: &RedisLive) {
    let now = now_ms();
    let generation = generation(4);
    let batch = batch(0, 0, 1, added(TOTAL, "", now, 1));
    assert_eq!(live.apply(&generation, &batch).await, Ok(ApplyOutcome::Applied));
    let total = live.read(&generation, &request(TOTAL, window(MINUTE_MS), now)).await.unwrap();
    assert_eq!(total.entries, [(String::new(), Figure::Units(1))]);
    assert_eq!(live.check().await, Ok(()));
}

#[tokio::test]
async fn redis_need_not_be_up_at_the_start() {
    let mut server = RedisServer::stopped();
    let live = live(server.url());
    is_away(&live).await;
    server.start_again();
    works(&live).await;
}

#[tokio::test]
async fn a_redis_that_went_away_is_found_again() {
    let mut server = RedisServer::start(&[]);
    let live = live(server.url());
    for _ in 0..3 {
        works(&live).await;
        server.kill();
        is_away(&live).await;
        server.start_again();
    }
    // Back before anyone asked: nobody notices.
    works(&live).await;
    server.kill();
    server.start_again();
    works(&live).await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_away() {
    let server = RedisServer::start(&[]);
    let live = live(server.url());
    works(&live).await;
    server.signal("-STOP");
    is_away(&live).await;
    // Many at once do not wait for each other.
    let began = Instant::now();
    let generation = generation(1);
    let results = futures::future::join_all((0..50).map(|_| live.applied(&generation))).await;
    assert!(results.iter().all(|result| matches!(result, Err(LiveError::Unavailable(_)))));
    assert!(began.elapsed() < CALL_MAX, "{:?}", began.elapsed());
    server.signal("-CONT");
    works(&live).await;
}

#[tokio::test]
async fn an_address_that_swallows_everything_is_away() {
    // Takes connections and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    is_away(&live(format!("redis://{}", listener.local_addr().unwrap()))).await;
    let cluster = RedisOptions {
        cluster: true,
        connect_timeout: CONNECT_MAX,
        response_timeout: RESPONSE_MAX,
        ..RedisOptions::new(format!("redis://{}", listener.local_addr().unwrap()))
    };
    is_away(&RedisLive::new(cluster).unwrap()).await;
}

#[tokio::test]
async fn a_redis_that_forgot_the_scripts_learns_them_again() {
    let server = RedisServer::start(&[]);
    let live = live(server.url());
    works(&live).await;
    server.run("SCRIPT FLUSH");
    works(&live).await;
}

#[tokio::test]
async fn a_full_redis_takes_nothing_by_halves() {
    let now = now_ms();
    let server = RedisServer::start(&[]);
    let live = live(server.url());
    let generation = generation(1);
    let add = |first: i64| batch(0, first, first + 1, added(TOTAL, "", now, 1));
    assert_eq!(live.apply(&generation, &add(0)).await, Ok(ApplyOutcome::Applied));
    server.run("CONFIG SET maxmemory 1");
    let result = live.apply(&generation, &add(1)).await;
    assert!(matches!(&result, Err(LiveError::Unavailable(detail)) if detail.contains("OOM")), "{result:?}");
    // It can be read, and nothing changed.
    let total = live.read(&generation, &request(TOTAL, None, now)).await.unwrap();
    assert_eq!((total.entries, total.applied), (vec![(String::new(), Figure::Units(1))], [(0, 1)].into()));
    server.run("CONFIG SET maxmemory 0");
    assert_eq!(live.apply(&generation, &add(1)).await, Ok(ApplyOutcome::Applied));
    let total = live.read(&generation, &request(TOTAL, None, now)).await.unwrap();
    assert_eq!((total.entries, total.applied), (vec![(String::new(), Figure::Units(2))], [(0, 2)].into()));
}
