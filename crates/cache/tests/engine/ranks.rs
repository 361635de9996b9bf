use std::time::Duration;

use headwater_cache::{Capacity, Declared, Eviction, Layer, PolicyPatch};
use tokio::time::sleep;

use crate::world::{options, replica, store};

fn ranked(entries_max: u64) -> Vec<Declared> {
    let patch = PolicyPatch {
        eviction: Some(Eviction::Rank),
        capacity: Some(Capacity::EntriesMax(entries_max)),
        ..Default::default()
    };
    vec![Declared { patch, ..Declared::new("r") }]
}

#[tokio::test(start_paused = true)]
async fn hits_of_l1_raise_a_rank_too() {
    let store = store();
    let one = replica(&store, options(), ranked(2)).await;
    let two = replica(&store, options(), ranked(2)).await;
    one.put_in("r", "hello", "1").await.unwrap();
    one.put_in("r", "hello2", "2").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    // Two reads of one replica, of which L1 answers the second; one of the other.
    assert_eq!(one.get_in("r", "hello2").await.unwrap().layer, Layer::L2);
    assert_eq!(one.get_in("r", "hello2").await.unwrap().layer, Layer::L1);
    two.get_in("r", "hello").await.unwrap();
    sleep(Duration::from_millis(200)).await;
    let done = one.put_in("r", "hello3", "3").await.unwrap();
    assert_eq!(done.evicted, 1);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(one.get_in("r", "hello").await.unwrap().value, None, "of the two it was read less");
    assert!(one.get_in("r", "hello2").await.unwrap().value.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_update_at_capacity_evicts_nothing() {
    let store = store();
    let one = replica(&store, options(), ranked(2)).await;
    one.put_in("r", "hello", "1").await.unwrap();
    one.put_in("r", "hello2", "2").await.unwrap();
    one.get_in("r", "hello").await.unwrap();
    assert_eq!(one.put_in("r", "hello2", "new").await.unwrap().evicted, 0);
    assert!(one.get_in("r", "hello").await.unwrap().value.is_some());
    assert_eq!(one.get_in("r", "hello2").await.unwrap().value.as_deref(), Some(&b"new"[..]));
}
