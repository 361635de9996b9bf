//! Ten thousand callers of a key that nobody has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use headwater_cache::{Ask, Cache, CacheOptions, Declared, LoadError, Loaded, Loader};
use headwater_cache_store::redis::{RedisStore, RedisStoreOptions};
use headwater_testkit::{Options, Redis};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::metrics::noop::NoopMeterProvider;

use crate::RunArgs;

const CALLERS: usize = 10_000;
const REPLICAS: usize = 2;
const LOAD: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Slow {
    loads: AtomicUsize,
}

#[async_trait]
impl Loader for Slow {
    async fn load(&self, _: &[u8]) -> Result<Option<Loaded>, LoadError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(LOAD).await;
        Ok(Some(Loaded { value: Bytes::from_static(&[b'v'; 1024]), ttl_ms: None }))
    }
}

/// Callers of two replicas in this process, over a real Redis.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let redis = Redis::start(Options::default())?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let loader = Arc::new(Slow::default());
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            let options = RedisStoreOptions::new(redis.url(), CacheOptions::default().root);
            let store = RedisStore::new(options)?;
            let declared =
                Declared { loader: Some(Arc::clone(&loader) as Arc<dyn Loader>), ..Declared::new("default") };
            let meter = NoopMeterProvider::new().meter("bench");
            let cache = Cache::new(Arc::new(store), CacheOptions::default(), vec![declared], &meter)?;
            let runs = cache.clone();
            tokio::spawn(async move { runs.run(|_: &str, _: Option<String>| {}).await });
            replicas.push(cache);
        }
        for round in 0..args.rounds {
            let before = loader.loads.load(Ordering::Relaxed);
            let key = Bytes::from(format!("cold {round}"));
            let began = Instant::now();
            let calls: Vec<_> = (0..CALLERS)
                .map(|caller| {
                    let (cache, key) = (replicas[caller % REPLICAS].clone(), key.clone());
                    tokio::spawn(async move {
                        let namespace = cache.namespace("default")?;
                        cache.get(&namespace, &key, &Ask::default()).await
                    })
                })
                .collect();
            for call in calls {
                ensure!(call.await??.value.is_some(), "no value");
            }
            let (last, loads) = (began.elapsed(), loader.loads.load(Ordering::Relaxed) - before);
            println!(
                "   {CALLERS} callers on {REPLICAS} replicas: {loads} load, last answer after {:.3} s",
                last.as_secs_f64()
            );
        }
        Ok(())
    })
}
