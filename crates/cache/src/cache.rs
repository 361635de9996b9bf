//! The cache as a whole: what its parts share, and what runs beside the calls.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater_cache_store::{CacheStore, Outcome, Space, StoreError, Write};
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::breaker::Breaker;
use crate::coherence::Coherence;
use crate::error::CacheError;
use crate::lag::Lag;
use crate::measure::{Measures, observe};
use crate::namespaces::{Namespace, Namespaces};
use crate::options::{CacheOptions, Declared};
use crate::queue::QueuedKeys;
use crate::watch::Watches;

/// A cache in two layers. Clones share it.
///
/// [`Cache::run`] must run beside it: without it nothing is ever a hit of L1.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn CacheStore>,
    options: CacheOptions,
    namespaces: Arc<Namespaces>,
    coherence: Coherence,
    breaker: Breaker,
    loads: Semaphore,
    measures: Measures,
    beginnings: AtomicU64,
    lag: Lag,
    queued_keys: QueuedKeys,
    queue_grew: Notify,
    watches: Watches,
    durability: Mutex<String>,
    replica: String,
}

impl Cache {
    /// A cache over a store, with the namespaces that are declared, and `default` where it is not.
    ///
    /// # Errors
    /// `Invalid` and others where a namespace cannot be so.
    pub fn new(
        store: Arc<dyn CacheStore>,
        options: CacheOptions,
        declared: Vec<Declared>,
        meter: &Meter,
    ) -> Result<Self, CacheError> {
        let namespaces = Arc::new(Namespaces::new(&options, declared)?);
        observe(meter, &namespaces);
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                namespaces,
                coherence: Coherence::new(options.staleness_max),
                breaker: Breaker::new(options.breaker_failures_max, options.breaker_pause),
                loads: Semaphore::new(options.loads_max),
                measures: Measures::new(meter),
                beginnings: AtomicU64::new(0),
                lag: Lag::default(),
                queued_keys: QueuedKeys::default(),
                queue_grew: Notify::new(),
                watches: Watches::new(options.watches_max, options.watch_pending_max),
                durability: Mutex::default(),
                replica: uuid::Uuid::new_v4().to_string(),
                options,
            }),
        })
    }

    /// The namespace of that name; an empty one is `default`.
    ///
    /// # Errors
    /// `UnknownNamespace`.
    pub fn namespace(&self, name: &str) -> Result<Arc<Namespace>, CacheError> {
        self.inner.namespaces.get(name)
    }

    /// What a crash of the store may lose, as it said of itself at the last look. Empty before the first.
    pub fn durability(&self) -> String {
        self.inner.durability.lock().clone()
    }

    pub(crate) fn set_durability(&self, text: String) {
        *self.inner.durability.lock() = text;
    }

    pub(crate) fn store(&self) -> &dyn CacheStore {
        &*self.inner.store
    }

    pub(crate) fn options(&self) -> &CacheOptions {
        &self.inner.options
    }

    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.inner.namespaces
    }

    pub(crate) fn coherence(&self) -> &Coherence {
        &self.inner.coherence
    }

    pub(crate) fn measures(&self) -> &Measures {
        &self.inner.measures
    }

    pub(crate) fn lag(&self) -> &Lag {
        &self.inner.lag
    }

    pub(crate) fn queued_keys(&self) -> &QueuedKeys {
        &self.inner.queued_keys
    }

    pub(crate) fn queue_grew(&self) -> &Notify {
        &self.inner.queue_grew
    }

    pub(crate) fn watches(&self) -> &Watches {
        &self.inner.watches
    }

    /// Stands for this replica.
    pub(crate) fn replica(&self) -> &str {
        &self.inner.replica
    }

    /// A number for whatever begins now, greater than those before.
    pub(crate) fn next_beginning(&self) -> u64 {
        self.inner.beginnings.fetch_add(1, Ordering::Relaxed)
    }

    /// A place among the loads under way.
    pub(crate) fn may_load(&self) -> Option<SemaphorePermit<'_>> {
        self.inner.loads.try_acquire().ok()
    }

    /// Whether the store may be asked now.
    pub(crate) fn admitted(&self) -> Result<(), CacheError> {
        self.inner.breaker.admit().map_err(|pause| {
            CacheError::Unavailable(format!("it did not answer, and is tried again within {} ms", pause.as_millis()))
        })
    }

    /// What a call of the store says of it.
    pub(crate) fn judge<'a>(&self, errors: impl IntoIterator<Item = Option<&'a StoreError>>) {
        let mut results = errors.into_iter().peekable();
        if results.peek().is_none() {
            return;
        }
        match results.all(|error| matches!(error, Some(StoreError::Unavailable(_)))) {
            true => self.inner.breaker.failed(),
            false => self.inner.breaker.answered(),
        }
    }

    /// Asks the store, unless it is known to be away.
    pub(crate) async fn guarded<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, CacheError> {
        self.admitted()?;
        let result = call.await;
        self.judge([result.as_ref().err()]);
        Ok(result?)
    }

    /// Takes a key from L1, also from that of the namespace that took this one's place meanwhile.
    pub(crate) fn forget(&self, namespace: &Namespace, key: &[u8]) {
        namespace.l1.changed(key);
        if let Some(now) = self.in_place_of(namespace) {
            now.l1.changed(key);
        }
    }

    /// The namespace that took this one's place, where one did.
    pub(crate) fn in_place_of(&self, namespace: &Namespace) -> Option<Arc<Namespace>> {
        let now = self.inner.namespaces.get(&namespace.info.name).ok()?;
        (!std::ptr::eq(&*now, namespace)).then_some(now)
    }

    /// Whether calls that need the store fail at once now, since it did not answer.
    pub fn is_store_away(&self) -> bool {
        self.inner.breaker.is_open()
    }

    pub(crate) async fn write_one(&self, space: &Space, write: Write) -> Result<Outcome, StoreError> {
        let none = || Err(StoreError::Refused("a write has no result".into()));
        self.store().write(space, &[write]).await.into_iter().next().unwrap_or_else(none)
    }
}
