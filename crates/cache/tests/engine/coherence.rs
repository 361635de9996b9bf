use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_cache::{Ask, Forward, Layer, OpAsk, Outcome};
use tokio::time::sleep;

use crate::world::{bytes, options, replica, store, text};

#[tokio::test(start_paused = true)]
async fn the_second_read_is_a_hit_of_l1_and_says_so() {
    let store = store();
    let one = replica(&store, options(), vec![]).await;
    let miss = one.get("k").await.unwrap();
    assert_eq!((miss.outcome, miss.layer, miss.value), (Outcome::Miss, Layer::L2, None));
    let done = one.put("k", "v").await;
    assert!(!done.existed && done.ttl_ms.is_some_and(|ttl_ms| ttl_ms <= 3_600_000));
    sleep(Duration::from_millis(100)).await;
    let first = one.get("k").await.unwrap();
    assert_eq!((first.outcome, first.layer, first.forward), (Outcome::Hit, Layer::L2, Some(Forward::Miss)));
    let second = one.get("k").await.unwrap();
    assert_eq!((second.outcome, second.layer, second.forward), (Outcome::Hit, Layer::L1, None));
    assert_eq!(second.value.as_deref(), Some(&b"v"[..]));
    assert!(second.ttl_ms.is_some_and(|ttl_ms| ttl_ms > 3_000_000 && ttl_ms <= 3_600_000));
    let asked = one.cache.get(&one.namespace("").unwrap(), &bytes("k"), &Ask { no_cache: true, lease_ms: None }).await;
    assert_eq!(asked.unwrap().forward, Some(Forward::Request));
}

#[tokio::test(start_paused = true)]
async fn what_one_replica_writes_the_other_reads_within_the_bound() {
    let store = store();
    let (one, two) = (replica(&store, options(), vec![]).await, replica(&store, options(), vec![]).await);
    one.put("k", "1").await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(two.value("k").await.as_deref(), Some("1"));
    assert_eq!(two.get("k").await.unwrap().layer, Layer::L1);
    one.put("k", "2").await;
    assert_eq!(one.value("k").await.as_deref(), Some("2"), "its own writes at once");
    sleep(Duration::from_millis(60)).await;
    assert_eq!(two.value("k").await.as_deref(), Some("2"));
    one.op("k", OpAsk::Delete).await.unwrap();
    sleep(Duration::from_millis(60)).await;
    assert_eq!(two.value("k").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_tells_nothing_ends_the_hits_of_l1_within_the_bound() {
    let store = store();
    let (one, two) = (replica(&store, options(), vec![]).await, replica(&store, options(), vec![]).await);
    one.put("k", "old").await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(two.value("k").await.as_deref(), Some("old"));
    assert_eq!(two.get("k").await.unwrap().layer, Layer::L1);
    store.is_link_black.store(true, Ordering::Relaxed);
    one.put("k", "new").await;
    sleep(Duration::from_millis(250)).await;
    let answer = two.get("k").await.unwrap();
    assert_eq!((answer.layer, answer.forward), (Layer::L2, Some(Forward::Bypass)));
    assert_eq!(answer.value.as_deref(), Some(&b"new"[..]));
    // Nothing enters that nobody can vouch for, and once the link tells again L1 hits again.
    assert_eq!(two.get("k").await.unwrap().layer, Layer::L2);
    store.is_link_cut.store(true, Ordering::Relaxed);
    sleep(Duration::from_millis(200)).await;
    store.is_link_black.store(false, Ordering::Relaxed);
    store.is_link_cut.store(false, Ordering::Relaxed);
    sleep(Duration::from_millis(1500)).await;
    two.get("k").await.unwrap();
    let answer = two.get("k").await.unwrap();
    assert_eq!((answer.layer, answer.value.as_deref().map(text)), (Layer::L1, Some("new".into())));
}

#[tokio::test(start_paused = true)]
async fn a_slow_read_that_a_write_overtook_does_not_enter() {
    let store = store();
    let (one, two) = (replica(&store, options(), vec![]).await, replica(&store, options(), vec![]).await);
    one.put("k", "old").await;
    sleep(Duration::from_millis(100)).await;
    store.answer_delay_ms.store(50, Ordering::Relaxed);
    let slow = {
        let cache = two.cache.clone();
        tokio::spawn(async move { cache.get(&cache.namespace("").unwrap(), &bytes("k"), &Ask::default()).await })
    };
    sleep(Duration::from_millis(10)).await;
    store.answer_delay_ms.store(0, Ordering::Relaxed);
    one.put("k", "new").await;
    assert_eq!(slow.await.unwrap().unwrap().value.as_deref(), Some(&b"old"[..]), "it was read before");
    assert_eq!(two.value("k").await.as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn who_asks_after_a_write_is_not_answered_by_a_read_from_before() {
    let store = store();
    let (one, two) = (replica(&store, options(), vec![]).await, replica(&store, options(), vec![]).await);
    one.put("k", "old").await;
    sleep(Duration::from_millis(100)).await;
    store.is_link_black.store(true, Ordering::Relaxed);
    store.answer_delay_ms.store(50, Ordering::Relaxed);
    let read = |cache: headwater_cache::Cache| {
        tokio::spawn(async move { cache.get(&cache.namespace("").unwrap(), &bytes("k"), &Ask::default()).await })
    };
    let first = read(two.cache.clone());
    sleep(Duration::from_millis(10)).await;
    store.answer_delay_ms.store(0, Ordering::Relaxed);
    one.put("k", "new").await;
    // The other replica's read is under way and has the old value already.
    let second = read(two.cache.clone());
    assert_eq!(first.await.unwrap().unwrap().value.as_deref(), Some(&b"old"[..]));
    assert_eq!(second.await.unwrap().unwrap().value.as_deref(), Some(&b"new"[..]));
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_are_answered_by_one_or_two_reads() {
    let store = store();
    let one = replica(&store, options(), vec![]).await;
    one.put("k", "v").await;
    sleep(Duration::from_millis(100)).await;
    store.answer_delay_ms.store(20, Ordering::Relaxed);
    let before = store.reads.load(Ordering::Relaxed);
    let asks: Vec<_> = (0..1000)
        .map(|_| {
            let cache = one.cache.clone();
            tokio::spawn(async move { cache.get(&cache.namespace("").unwrap(), &bytes("k"), &Ask::default()).await })
        })
        .collect();
    let mut collapsed = 0;
    for ask in asks {
        let answer = ask.await.unwrap().unwrap();
        assert_eq!(answer.value.as_deref(), Some(&b"v"[..]));
        collapsed += usize::from(answer.is_collapsed);
    }
    assert!(collapsed >= 998, "{collapsed}");
    assert!(store.reads.load(Ordering::Relaxed) - before <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_batch_answers_each_key_in_order_and_one_bad_key_by_itself() {
    let store = store();
    let one = replica(&store, options(), vec![]).await;
    let namespace = one.namespace("").unwrap();
    one.put("a", "1").await;
    one.put("c", "3").await;
    sleep(Duration::from_millis(100)).await;
    one.get("c").await.unwrap();
    let keys = [bytes("a"), bytes(""), bytes("b"), bytes("c"), bytes("a")];
    let answers = one.batch_get(&namespace, &keys, false).await;
    let values: Vec<Option<String>> =
        answers.iter().map(|answer| answer.as_ref().ok()?.value.as_deref().map(text)).collect();
    assert_eq!(values, [Some("1".into()), None, None, Some("3".into()), Some("1".into())]);
    assert!(answers[1].is_err() && answers[2].as_ref().unwrap().outcome == Outcome::Miss);
    assert_eq!(answers[3].as_ref().unwrap().layer, Layer::L1);
    let again = one.batch_get(&namespace, &keys[..1], false).await;
    assert_eq!(again[0].as_ref().unwrap().layer, Layer::L1, "a batch fills L1");
}
