//! A Redis that is away, slow, full, read-only, or does not accept the password.

use std::time::{Duration, Instant};

use headwater_contracts::v1::cache::watch_response::Event;
use headwater_contracts::v1::cache::{DeleteRequest, GetNamespaceRequest, Layer, Namespace, Outcome, WatchRequest};
use headwater_contracts::v1::error::Reason;
use headwater_testkit::{Options, Redis, Toxiproxy};
use serde_json::json;
use tokio::task::block_in_place;

use crate::stage::{Client, Setup, Stage, WAIT_MAX, bytes, get, reason, redis_at, set, until, value};

/// How long an answer of Redis may take here.
const TIMEOUT: Duration = Duration::from_millis(300);
/// Longer than a call takes that Redis does not answer, and shorter than anybody waits in vain.
const REFUSED_MAX: Duration = Duration::from_secs(3);

fn redis() -> Redis {
    block_in_place(|| Redis::start(Options::default())).unwrap()
}

/// A namespace that serves what is stale while the store is away, for a minute.
async fn lenient(stage: &Stage) -> String {
    stage.namespace(Namespace { stale_if_error_ms: Some(60_000), ..Default::default() }).await
}

/// Waits until a key is a hit of L1.
async fn in_memory(client: &mut Client, namespace: &str, key: &str) {
    until("a hit of L1", async || {
        let answer = get(client, namespace, key).await.map_err(|status| status.to_string())?;
        let status = answer.status.unwrap();
        match (status.layer(), status.outcome()) {
            (Layer::L1, Outcome::Hit) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
}

/// Waits until a key of a namespace that allows it is served as stale, with why.
async fn served_stale(client: &mut Client, namespace: &str, key: &str) {
    let detail = until("it is served as stale", async || {
        let answer = get(client, namespace, key).await.map_err(|status| status.to_string())?;
        let status = answer.status.unwrap();
        assert_eq!(answer.value, Some(bytes("1")));
        match status.outcome() {
            Outcome::Stale => Ok(status.detail),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
    assert!(detail.contains("store"), "{detail}");
}

/// Waits until a write is done again.
async fn writes_again(client: &mut Client, namespace: &str) {
    until("writes are done again", async || {
        set(client, namespace, "k", "2").await.map(drop).map_err(|status| status.to_string())
    })
    .await;
    assert_eq!(value(client, namespace, "k").await.as_deref(), Some("2"));
    in_memory(client, namespace, "k").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_calls_are_refused_at_once_or_answered_with_what_is_stale() {
    let mut redis = redis();
    let stage = Stage::start(redis_at(&redis.url(), TIMEOUT), Setup::new("test")).await;
    let client = &mut stage.client().await;
    let lenient = &lenient(&stage).await;
    for namespace in ["default", lenient] {
        set(client, namespace, "k", "1").await.unwrap();
        in_memory(client, namespace, "k").await;
    }
    let request = WatchRequest { keys: vec![bytes("k")], ..Default::default() };
    let mut watch = client.clone().watch(request).await.unwrap().into_inner();
    assert!(matches!(watch.message().await.unwrap().unwrap().event, Some(Event::State(_))));

    redis.kill().unwrap();
    let began = Instant::now();
    assert_eq!(reason(set(client, "default", "k", "3").await), Reason::CacheUnavailable);
    assert!(began.elapsed() < REFUSED_MAX, "{:?}", began.elapsed());
    served_stale(client, lenient, "k").await;
    // What L1 cannot vouch for is served nowhere else, and never for longer than the bound as fresh.
    let refused = until("it is refused", async || match get(client, "default", "k").await {
        Err(status) => Ok(status),
        Ok(answer) => Err(format!("{answer:?}")),
    })
    .await;
    assert_eq!(reason::<()>(Err(refused)), Reason::CacheUnavailable);
    assert_eq!(reason(get(client, "default", "other").await), Reason::CacheUnavailable);
    let make = headwater_contracts::v1::cache::CreateNamespaceRequest {
        namespace: Some(Namespace { name: "new".to_owned(), ..Default::default() }),
    };
    assert_eq!(reason(client.create_namespace(make).await), Reason::CacheUnavailable);
    let shown = client.get_namespace(GetNamespaceRequest { name: lenient.clone() }).await.unwrap().into_inner();
    assert_eq!(shown.namespace.unwrap().stale_if_error_ms, Some(60_000), "its rules are known");
    assert_eq!(shown.usage, None, "how full it is is not");

    redis.restart().unwrap();
    writes_again(client, "default").await;
    writes_again(client, lenient).await;
    // The watch went on: it says that it may have missed something, and how it is now.
    let mut is_told = false;
    loop {
        let message = tokio::time::timeout(WAIT_MAX, watch.message()).await.expect("told in time").unwrap().unwrap();
        match message.event.unwrap() {
            Event::Resync(_) => is_told = true,
            Event::State(state) if is_told && *state.etag == headwater_cache::etag_of(b"2") => break,
            Event::State(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_slower_than_its_limit_is_away_and_one_that_is_not_is_waited_for() {
    let redis = redis();
    let toxiproxy = block_in_place(|| Toxiproxy::start(Options::default())).unwrap();
    let port = toxiproxy.proxy("redis", redis.port()).unwrap();
    let url = format!("redis://127.0.0.1:{port}");
    let hasty = Stage::start(redis_at(&url, TIMEOUT), Setup::new("test")).await;
    let patient = Stage::start(redis_at(&url, Duration::from_secs(3)), Setup::new("test")).await;
    let (hasty_client, patient_client) = (&mut hasty.client().await, &mut patient.client().await);
    let lenient = &lenient(&hasty).await;
    set(hasty_client, lenient, "k", "1").await.unwrap();
    in_memory(hasty_client, lenient, "k").await;
    set(patient_client, "default", "p", "1").await.unwrap();
    in_memory(patient_client, "default", "p").await;

    toxiproxy.add("redis", "latency", true, &json!({"latency": 500})).unwrap();
    let began = Instant::now();
    assert_eq!(reason(set(hasty_client, "default", "k", "3").await), Reason::CacheUnavailable);
    assert!(began.elapsed() < REFUSED_MAX, "{:?}", began.elapsed());
    served_stale(hasty_client, lenient, "k").await;
    set(patient_client, "default", "p", "2").await.unwrap();
    assert_eq!(value(patient_client, "default", "p").await.as_deref(), Some("2"), "late, and right");

    toxiproxy.remove("redis", "latency").unwrap();
    writes_again(hasty_client, lenient).await;
    in_memory(patient_client, "default", "p").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_takes_no_writes_and_is_read() {
    let redis = redis();
    let stage = Stage::start(redis_at(&redis.url(), TIMEOUT), Setup::new("test")).await;
    let client = &mut stage.client().await;
    set(client, "", "k", "1").await.unwrap();
    redis.limit_memory(Some(100_000)).unwrap();
    assert_eq!(reason(set(client, "", "other", "1").await), Reason::CacheFull);
    assert_eq!(reason(set(client, "", "k", "3").await), Reason::CacheFull);
    let (status, head, body) = stage.http("POST", "/set/k/3", "", "").await;
    assert_eq!(status, 507, "{body}");
    assert!(head.contains("retry-after: 1"), "{head}");
    assert_eq!(value(client, "", "k").await.as_deref(), Some("1"), "nothing was written");
    assert_eq!(value(client, "", "other").await, None);
    let delete = DeleteRequest { key: bytes("k"), ..Default::default() };
    assert!(client.delete(delete).await.unwrap().into_inner().found, "what frees memory is done");
    redis.limit_memory(None).unwrap();
    writes_again(client, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_never_shown() {
    let redis = redis();
    redis.ask("CONFIG SET requirepass correct-horse").unwrap();
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", redis.port());
    let stage = Stage::start(redis_at(&url("hunter2"), TIMEOUT), Setup::new("test")).await;
    let client = &mut stage.client().await;
    for _ in 0..2 {
        let status = set(client, "", "k", "1").await.unwrap_err();
        assert!(!format!("{status:?}").contains("hunter2"), "{status:?}");
        assert!(status.message().contains("password"), "{status}");
        assert_eq!(reason::<()>(Err(status)), Reason::CacheUnavailable);
    }
    let stage = Stage::start(redis_at(&url("correct-horse"), TIMEOUT), Setup::new("test")).await;
    writes_again(&mut stage.client().await, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_became_read_only_is_read_and_not_written() {
    let redis = redis();
    let stage = Stage::start(redis_at(&redis.url(), TIMEOUT), Setup::new("test")).await;
    let client = &mut stage.client().await;
    set(client, "", "k", "1").await.unwrap();
    // Of a primary that is not there: it keeps what it has, and takes no writes.
    redis.ask("REPLICAOF 127.0.0.1 1").unwrap();
    // However many are refused: it answers, and is read.
    for _ in 0..20 {
        assert_eq!(reason(set(client, "", "k", "3").await), Reason::CacheUnavailable);
        assert_eq!(value(client, "", "k").await.as_deref(), Some("1"));
        assert_eq!(value(client, "", "nothing").await, None);
    }
    redis.ask("REPLICAOF NO ONE").unwrap();
    writes_again(client, "").await;
}
