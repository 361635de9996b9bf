use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_cache::{OpAsk, Watch, WatchEvent};
use tokio::time::{sleep, timeout};

use crate::world::{bytes, options, replica, store, text};

async fn next(watch: &Watch) -> Option<(String, Option<String>)> {
    let event = timeout(Duration::from_secs(5), watch.next()).await.ok()?;
    match event.unwrap() {
        WatchEvent::State { key, answer } => Some((text(&key), answer.value.as_deref().map(text))),
        WatchEvent::Resync { .. } => Some(("resync".into(), None)),
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_is_told_at_once_and_whenever_it_changed() {
    let store = store();
    let (one, two) = (replica(&store, options(), vec![]).await, replica(&store, options(), vec![]).await);
    one.put("a", "1").await;
    sleep(Duration::from_millis(100)).await;
    let watch = two.watch(&two.namespace("").unwrap(), vec![bytes("a")], Some(bytes("p/"))).unwrap();
    assert_eq!(next(&watch).await, Some(("a".into(), Some("1".into()))));
    one.put("a", "2").await;
    assert_eq!(next(&watch).await, Some(("a".into(), Some("2".into()))));
    one.put("other", "x").await;
    one.put("p/1", "y").await;
    assert_eq!(next(&watch).await, Some(("p/1".into(), Some("y".into()))));
    one.op("a", OpAsk::Delete).await.unwrap();
    assert_eq!(next(&watch).await, Some(("a".into(), None)));
    assert_eq!(next(&watch).await, None, "nothing more is told");
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_told_after_the_link_is_back() {
    let store = store();
    let (one, two) = (replica(&store, options(), vec![]).await, replica(&store, options(), vec![]).await);
    let watch = two.watch(&two.namespace("").unwrap(), vec![bytes("a")], None).unwrap();
    assert_eq!(next(&watch).await, Some(("a".into(), None)));
    store.is_link_cut.store(true, Ordering::Relaxed);
    one.put("a", "missed").await;
    sleep(Duration::from_millis(500)).await;
    store.is_link_cut.store(false, Ordering::Relaxed);
    assert_eq!(next(&watch).await, Some(("resync".into(), None)));
    assert_eq!(next(&watch).await, Some(("a".into(), Some("missed".into()))));
}

#[tokio::test(start_paused = true)]
async fn more_changes_than_may_wait_begin_it_anew() {
    let store = store();
    let few = headwater_cache::CacheOptions { watch_pending_max: 5, watches_max: 1, ..options() };
    let one = replica(&store, few, vec![]).await;
    let namespace = one.namespace("").unwrap();
    let watch = one.watch(&namespace, vec![bytes("a")], Some(bytes(""))).unwrap();
    assert!(one.watch(&namespace, vec![bytes("b")], None).is_err(), "one watch is the most");
    assert_eq!(next(&watch).await, Some(("a".into(), None)));
    for n in 0..20 {
        one.put(&n.to_string(), "v").await;
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!(next(&watch).await, Some(("resync".into(), None)));
    drop(watch);
    assert!(one.watch(&namespace, vec![bytes("b")], None).is_ok());
}
