use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use headwater_cache::{Ask, CacheError, Declared, Layer, LoadError, Loaded, Loader, OpAsk, Outcome, PolicyPatch};
use tokio::time::{Instant, sleep, timeout};

use crate::world::{Replica, bytes, options, replica, store};

/// Takes two seconds; has what is asked for, nothing for "nothing", fails for "broken", panics for "panic", never ends for
/// "endless".
#[derive(Default)]
struct Slow {
    loads: AtomicUsize,
}

#[async_trait]
impl Loader for Slow {
    async fn load(&self, key: &[u8]) -> Result<Option<Loaded>, LoadError> {
        let count = self.loads.fetch_add(1, Ordering::Relaxed) + 1;
        sleep(Duration::from_secs(2)).await;
        match key {
            b"nothing" => Ok(None),
            b"broken" => Err(LoadError("the source is broken".into())),
            b"panic" => panic!("as it was told to"),
            b"endless" => std::future::pending().await,
            _ => Ok(Some(Loaded { value: bytes(&format!("load {count}")), ttl_ms: None })),
        }
    }
}

async fn two_replicas(patch: PolicyPatch) -> (Arc<Slow>, Replica, Replica) {
    let (store, loader) = (store(), Arc::new(Slow::default()));
    let declared = || {
        vec![Declared {
            patch: patch.clone(),
            loader: Some(Arc::clone(&loader) as Arc<dyn Loader>),
            ..Declared::new("default")
        }]
    };
    let one = replica(&store, options(), declared()).await;
    let two = replica(&store, options(), declared()).await;
    (loader, one, two)
}

fn read(replica: &Replica, key: &'static str) -> tokio::task::JoinHandle<Result<headwater_cache::Answer, CacheError>> {
    let cache = replica.cache.clone();
    tokio::spawn(async move { cache.get(&cache.namespace("").unwrap(), &bytes(key), &Ask::default()).await })
}

#[tokio::test(start_paused = true)]
async fn a_key_is_loaded_once_however_many_ask_on_however_many_replicas() {
    let (loader, one, two) = two_replicas(PolicyPatch::default()).await;
    let began = Instant::now();
    let asks: Vec<_> = (0..5000).flat_map(|_| [read(&one, "k"), read(&two, "k")]).collect();
    for ask in asks {
        assert_eq!(ask.await.unwrap().unwrap().value.as_deref(), Some(&b"load 1"[..]));
    }
    assert!(began.elapsed() <= Duration::from_millis(2050), "{:?}", began.elapsed());
    assert_eq!(loader.loads.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_goes_on_when_every_caller_is_gone() {
    let (loader, one, _two) = two_replicas(PolicyPatch::default()).await;
    assert!(timeout(Duration::from_millis(100), one.get("k")).await.is_err());
    sleep(Duration::from_secs(3)).await;
    let answer = one.get("k").await.unwrap();
    assert_eq!((answer.outcome, answer.layer), (Outcome::Hit, Layer::L2));
    assert_eq!(loader.loads.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_key_does_not_come_back_from_a_slow_load() {
    let (loader, one, two) = two_replicas(PolicyPatch::default()).await;
    let slow = read(&one, "k");
    sleep(Duration::from_secs(1)).await;
    two.op("k", OpAsk::Delete).await.unwrap();
    let answer = slow.await.unwrap().unwrap();
    // What was loaded before the delete was not kept: it was loaded again.
    assert_eq!(answer.value.as_deref(), Some(&b"load 2"[..]));
    assert_eq!(loader.loads.load(Ordering::Relaxed), 2);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(two.value("k").await.as_deref(), Some("load 2"));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_written_meanwhile_is_not_replaced_by_a_load() {
    let (_loader, one, two) = two_replicas(PolicyPatch::default()).await;
    let slow = read(&one, "k");
    sleep(Duration::from_secs(1)).await;
    two.put("k", "written").await;
    assert_eq!(slow.await.unwrap().unwrap().value.as_deref(), Some(&b"written"[..]));
    assert_eq!(two.value("k").await.as_deref(), Some("written"));
}

#[tokio::test(start_paused = true)]
async fn nothing_and_failure_are_remembered_for_their_time() {
    let (loader, one, two) = two_replicas(PolicyPatch { negative_ttl_ms: Some(1000), ..Default::default() }).await;
    assert_eq!(one.get("nothing").await.unwrap().outcome, Outcome::Miss);
    assert_eq!(two.get("nothing").await.unwrap().outcome, Outcome::Miss);
    let failed = one.get("broken").await.unwrap_err();
    assert!(matches!(&failed, CacheError::LoadFailed { why, .. } if why == "the source is broken"), "{failed}");
    assert!(matches!(two.get("broken").await, Err(CacheError::LoadFailed { .. })));
    assert_eq!(loader.loads.load(Ordering::Relaxed), 2, "each was asked for once");
    sleep(Duration::from_millis(1100)).await;
    assert!(one.get("broken").await.is_err());
    assert_eq!(loader.loads.load(Ordering::Relaxed), 3, "after its time it is asked for again");
    one.put("nothing", "something").await;
    assert_eq!(two.value("nothing").await.as_deref(), Some("something"));
}

#[tokio::test(start_paused = true)]
async fn a_load_is_cut_by_its_own_deadline() {
    let (_loader, one, _two) = two_replicas(PolicyPatch::default()).await;
    let began = Instant::now();
    assert!(matches!(one.get("endless").await, Err(CacheError::LoadFailed { .. })));
    assert!((Duration::from_secs(30)..Duration::from_secs(31)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn stale_values_are_served_while_one_loads_anew() {
    let (loader, one, two) = two_replicas(PolicyPatch {
        ttl_ms: Some(10_000),
        ttl_jitter_percent: Some(0),
        stale_while_revalidate_ms: Some(60_000),
        ..Default::default()
    })
    .await;
    assert_eq!(one.value("k").await.as_deref(), Some("load 1"));
    sleep(Duration::from_secs(11)).await;
    let began = Instant::now();
    for replica in [&one, &two, &one, &two] {
        let answer = replica.get("k").await.unwrap();
        assert_eq!((answer.outcome, answer.value.as_deref()), (Outcome::Stale, Some(&b"load 1"[..])));
    }
    assert!(began.elapsed() < Duration::from_millis(100), "nobody waits: {:?}", began.elapsed());
    sleep(Duration::from_secs(3)).await;
    assert_eq!(two.value("k").await.as_deref(), Some("load 2"));
    assert_eq!(loader.loads.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_panics_has_failed() {
    let (loader, one, two) = two_replicas(PolicyPatch { negative_ttl_ms: Some(0), ..Default::default() }).await;
    assert!(matches!(one.get("panic").await, Err(CacheError::LoadFailed { .. })));
    assert!(matches!(two.get("panic").await, Err(CacheError::LoadFailed { .. })));
    assert_eq!(loader.loads.load(Ordering::Relaxed), 2, "with a negative ttl of 0 nothing is remembered");
}

#[tokio::test(start_paused = true)]
async fn more_loads_than_may_be_fail_at_once_and_are_not_remembered() {
    let (store, loader) = (store(), Arc::new(Slow::default()));
    let declared = Declared { loader: Some(Arc::clone(&loader) as Arc<dyn Loader>), ..Declared::new("default") };
    let few = headwater_cache::CacheOptions { loads_max: 2, ..options() };
    let one = replica(&store, few, vec![declared]).await;
    let under_way = [read(&one, "a"), read(&one, "b")];
    sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    assert_eq!(one.get("c").await.unwrap_err(), CacheError::TooManyLoads(2));
    assert!(began.elapsed() < Duration::from_millis(50));
    for read in under_way {
        assert!(read.await.unwrap().unwrap().value.is_some());
    }
    assert!(one.get("c").await.unwrap().value.is_some());
}

#[tokio::test(start_paused = true)]
async fn past_its_time_nothing_stale_is_served_and_the_load_is_waited_for() {
    let (loader, one, _two) = two_replicas(PolicyPatch {
        ttl_ms: Some(10_000),
        ttl_jitter_percent: Some(0),
        stale_while_revalidate_ms: Some(1000),
        ..Default::default()
    })
    .await;
    assert_eq!(one.value("k").await.as_deref(), Some("load 1"));
    sleep(Duration::from_millis(10_500)).await;
    assert_eq!(one.get("k").await.unwrap().outcome, Outcome::Stale);
    sleep(Duration::from_secs(1)).await;
    let answer = one.get("k").await.unwrap();
    assert_eq!((answer.outcome, answer.value.as_deref()), (Outcome::Hit, Some(&b"load 2"[..])));
    assert_eq!(loader.loads.load(Ordering::Relaxed), 2);
}
