use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_cache::{CacheError, Declared, Layer, Outcome, PolicyPatch};
use tokio::time::sleep;

use crate::world::{options, replica, store};

fn declared(patch: PolicyPatch) -> Vec<Declared> {
    vec![Declared { patch, ..Declared::new("default") }]
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_what_l1_has_is_served_as_stale_as_long_as_the_namespace_says() {
    let store = store();
    let patch = PolicyPatch { stale_if_error_ms: Some(10_000), ..Default::default() };
    let one = replica(&store, options(), declared(patch)).await;
    one.put("k", "v").await;
    sleep(Duration::from_millis(100)).await;
    one.get("k").await.unwrap();
    assert_eq!(one.get("k").await.unwrap().layer, Layer::L1);
    store.is_away.store(true, Ordering::Relaxed);
    store.is_link_cut.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(1)).await;
    let answer = one.get("k").await.unwrap();
    assert_eq!((answer.outcome, answer.layer), (Outcome::Stale, Layer::L1));
    assert!(answer.detail.is_some());
    assert!(matches!(one.get("other").await, Err(CacheError::Unavailable(_))));
    sleep(Duration::from_secs(10)).await;
    assert!(matches!(one.get("k").await, Err(CacheError::Unavailable(_))), "the time is over");
    store.is_away.store(false, Ordering::Relaxed);
    store.is_link_cut.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(one.get("k").await.unwrap().outcome, Outcome::Hit);
}

#[tokio::test(start_paused = true)]
async fn without_leave_nothing_stale_is_served_and_calls_fail_at_once_after_some() {
    let store = store();
    let one = replica(&store, options(), vec![]).await;
    one.put("k", "v").await;
    sleep(Duration::from_millis(100)).await;
    one.get("k").await.unwrap();
    store.is_away.store(true, Ordering::Relaxed);
    store.is_link_cut.store(true, Ordering::Relaxed);
    store.answer_delay_ms.store(500, Ordering::Relaxed);
    sleep(Duration::from_millis(300)).await;
    for _ in 0..8 {
        assert!(matches!(one.get("k").await, Err(CacheError::Unavailable(_))));
    }
    assert!(one.is_store_away());
    let began = tokio::time::Instant::now();
    let failed = (0..20).map(|_| one.get("k"));
    for answer in futures::future::join_all(failed).await {
        assert!(matches!(answer, Err(CacheError::Unavailable(_))));
    }
    assert!(
        began.elapsed() <= Duration::from_millis(1100),
        "one tries, the others fail at once: {:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_past_its_time_is_served_while_it_may_be_made_anew_and_one_gets_the_lease() {
    let store = store();
    let patch = PolicyPatch {
        ttl_ms: Some(1000),
        ttl_jitter_percent: Some(0),
        stale_while_revalidate_ms: Some(5000),
        ..Default::default()
    };
    let one = replica(&store, options(), declared(patch)).await;
    one.put("k", "v").await;
    sleep(Duration::from_millis(1500)).await;
    for _ in 0..2 {
        let answer = one.get("k").await.unwrap();
        assert_eq!(answer.outcome, Outcome::Stale);
        assert!(answer.ttl_ms.is_some_and(|ttl_ms| (-600..=-400).contains(&ttl_ms)), "{:?}", answer.ttl_ms);
    }
    let namespace = one.namespace("").unwrap();
    let ask = headwater_cache::Ask { no_cache: false, lease_ms: Some(1000) };
    let key = crate::world::bytes("k");
    let first = one.cache.get(&namespace, &key, &ask).await.unwrap();
    let second = one.cache.get(&namespace, &key, &ask).await.unwrap();
    assert!(first.lease.is_some() && second.lease.is_none());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(one.get("k").await.unwrap().outcome, Outcome::Miss);
}
