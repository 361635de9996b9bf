use std::time::Duration;

use bytes::Bytes;
use headwater_cache::{CacheError, Capacity, Condition, Declared, Eviction, OpAsk, Overwrite, PolicyPatch, WriteMode};
use tokio::time::sleep;

use crate::world::{bytes, options, replica, store};

#[tokio::test(start_paused = true)]
async fn a_namespace_that_one_replica_makes_or_changes_the_others_follow() {
    let store = store();
    let (one, two) = (replica(&store, options(), vec![]).await, replica(&store, options(), vec![]).await);
    let made = one.create("sessions", PolicyPatch { ttl_ms: Some(5000), ..Default::default() }).await.unwrap();
    assert_eq!((made.revision, made.is_declared), (1, false));
    assert_eq!(
        one.create("sessions", PolicyPatch::default()).await,
        Err(CacheError::NamespaceExists("sessions".into()))
    );
    sleep(Duration::from_millis(1100)).await;
    two.put_in("sessions", "k", "v").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    one.get_in("sessions", "k").await.unwrap();
    let refuse = |old: &PolicyPatch| PolicyPatch { overwrite: Some(Overwrite::Refused), ..old.clone() };
    assert_eq!(two.update("sessions", None, refuse).await.unwrap().revision, 2);
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(one.put_in("sessions", "k", "w").await, Err(CacheError::KeyExists));
    assert_eq!(one.get_in("sessions", "k").await.unwrap().value.as_deref(), Some(&b"v"[..]));
    let old_revision = one.update("sessions", Some(1), PolicyPatch::clone).await;
    assert!(matches!(old_revision, Err(CacheError::NamespaceFixed(_))));
}

#[tokio::test(start_paused = true)]
async fn what_would_move_keys_or_is_declared_cannot_be_changed() {
    let store = store();
    let one = replica(&store, options(), vec![]).await;
    one.create("n", PolicyPatch::default()).await.unwrap();
    for patch in [
        PolicyPatch { eviction: Some(Eviction::Rank), ..Default::default() },
        PolicyPatch { write_mode: Some(WriteMode::Queued), ..Default::default() },
    ] {
        assert!(matches!(one.update("n", None, |_| patch.clone()).await, Err(CacheError::NamespaceFixed(_))));
    }
    assert!(matches!(one.update("default", None, PolicyPatch::clone).await, Err(CacheError::NamespaceFixed(_))));
    assert!(matches!(one.create("Bad Name", PolicyPatch::default()).await, Err(CacheError::Invalid { .. })));
    let unknown = one.namespace("defualt").err().unwrap();
    assert_eq!(unknown.to_string(), "there is no namespace \"defualt\": did you mean \"default\"?");
}

#[tokio::test(start_paused = true)]
async fn a_capacity_that_is_lowered_below_what_is_held_makes_room_at_once() {
    let store = store();
    let one = replica(&store, options(), vec![]).await;
    let entries = |entries| PolicyPatch {
        eviction: Some(Eviction::Rank),
        capacity: Some(Capacity::EntriesMax(entries)),
        ..Default::default()
    };
    one.create("r", entries(10)).await.unwrap();
    for n in 0..10 {
        one.put_in("r", &n.to_string(), "v").await.unwrap();
    }
    one.update("r", None, |_| entries(3)).await.unwrap();
    let usage = one.usage(&one.namespace("r").unwrap()).await.unwrap();
    assert_eq!(usage.store_entries, Some(3));
}

#[tokio::test(start_paused = true)]
async fn rules_are_checked_before_anything_is_done() {
    let store = store();
    let one = replica(&store, options(), vec![]).await;
    let put = |value: &str, ttl_ms| OpAsk::Put { value: bytes(value), ttl_ms, condition: Condition::Any };
    let field = |error: CacheError| match error {
        CacheError::Invalid { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(field(one.op("", put("v", None)).await.unwrap_err()), "key");
    assert_eq!(field(one.op(&"k".repeat(1025), put("v", None)).await.unwrap_err()), "key");
    assert_eq!(field(one.op("k", put(&"v".repeat((1 << 20) + 1), None)).await.unwrap_err()), "value");
    for ttl_ms in [0, -1, 30 * 86_400_000 + 1] {
        assert_eq!(field(one.op("k", put("v", Some(ttl_ms))).await.unwrap_err()), "ttl_ms");
    }
    assert_eq!(one.value("k").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_with_a_prefix_of_its_own_is_coherent_too() {
    let store = store();
    let declared = || vec![Declared { store_prefix: Some(Bytes::new()), ..Declared::new("plain") }];
    let (one, two) = (replica(&store, options(), declared()).await, replica(&store, options(), declared()).await);
    one.put_in("plain", "k", "1").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    two.get_in("plain", "k").await.unwrap();
    assert_eq!(two.get_in("plain", "k").await.unwrap().layer, headwater_cache::Layer::L1);
    one.put_in("plain", "k", "2").await.unwrap();
    one.put("k", "of the default namespace").await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(two.get_in("plain", "k").await.unwrap().value.as_deref(), Some(&b"2"[..]));
}

#[tokio::test(start_paused = true)]
async fn flush_forgets_everything_on_every_replica() {
    let store = store();
    let (one, two) = (replica(&store, options(), vec![]).await, replica(&store, options(), vec![]).await);
    one.put("a", "1").await;
    one.put("b", "2").await;
    sleep(Duration::from_millis(100)).await;
    two.get("a").await.unwrap();
    assert_eq!(one.flush(&one.namespace("").unwrap()).await.unwrap(), 2);
    assert_eq!(one.value("a").await, None);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(two.value("a").await, None);
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_took_in_by_the_old_capacity_leaves_once_it_knows_the_new_one() {
    let store = store();
    let (one, two) = (replica(&store, options(), vec![]).await, replica(&store, options(), vec![]).await);
    let entries = |entries| PolicyPatch {
        eviction: Some(Eviction::Rank),
        capacity: Some(Capacity::EntriesMax(entries)),
        ..Default::default()
    };
    one.create("r", entries(20)).await.unwrap();
    sleep(Duration::from_millis(1100)).await;
    one.update("r", None, |_| entries(3)).await.unwrap();
    for n in 0..10 {
        two.put_in("r", &n.to_string(), "v").await.unwrap();
    }
    sleep(Duration::from_millis(1100)).await;
    let usage = one.usage(&one.namespace("r").unwrap()).await.unwrap();
    assert_eq!(usage.store_entries, Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_began_before_a_change_of_the_namespace_is_read_after_it() {
    let store = store();
    let one = replica(&store, options(), vec![]).await;
    one.create("n", PolicyPatch::default()).await.unwrap();
    one.put_in("n", "k", "1").await.unwrap();
    let before = one.namespace("n").unwrap();
    one.update("n", None, |_| PolicyPatch { ttl_ms: Some(5000), ..Default::default() }).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    one.get_in("n", "k").await.unwrap();
    assert_eq!(one.get_in("n", "k").await.unwrap().layer, headwater_cache::Layer::L1);
    // No notice helps.
    store.is_link_black.store(true, std::sync::atomic::Ordering::Relaxed);
    let op = OpAsk::Put { value: bytes("2"), ttl_ms: None, condition: Condition::Any };
    one.write(&before, vec![headwater_cache::WriteAsk { key: bytes("k"), op }]).await.pop().unwrap().unwrap();
    assert_eq!(one.get_in("n", "k").await.unwrap().value.as_deref(), Some(&b"2"[..]));
}
