use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::load::Loader;
use crate::policy::{Policy, PolicyPatch};

/// How the cache works, whatever the namespace.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// What everything in the store begins with; the same for all replicas. Has no brace.
    pub root: String,
    /// What a namespace is like where it does not say.
    pub defaults: Policy,
    /// How old a hit of L1 may be at most, whatever happens.
    pub staleness_max: Duration,
    /// How often the store is asked whether it still tells of changes: some times within `staleness_max`.
    pub heard_every: Duration,
    /// Namespaces at most that are made at run time.
    pub namespaces_max: usize,
    /// How often the store is asked for namespaces that other replicas made or changed.
    pub namespaces_refresh: Duration,
    /// Failures of the store in a row after which calls fail at once.
    pub breaker_failures_max: u32,
    /// How long they do before one tries again.
    pub breaker_pause: Duration,
    /// How long a load may take.
    pub load_timeout: Duration,
    /// Loads at once at most, of all namespaces together, those of other replicas that are waited for included; one more
    /// fails at once.
    pub loads_max: usize,
    /// How often ranks that hits of L1 raised are told to the store.
    pub ranks_flush_every: Duration,
    /// Keys of a namespace at most whose raised ranks wait to be told; what is read beyond them raises no rank.
    pub ranks_keys_max: usize,
    /// How long a replica is the only one to apply a namespace's queue, unless it goes on.
    pub queue_lease: Duration,
    /// How often the one who applies a queue looks for writes that another replica queued.
    pub queue_poll: Duration,
    /// Queued writes at most that are applied in one step.
    pub queue_step_max: u64,
    /// Watches at most.
    pub watches_max: usize,
    /// Keys of a watch at most that changed and are not told yet; with more it begins anew.
    pub watch_pending_max: usize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            root: "headwater:cache".into(),
            defaults: Policy::default(),
            staleness_max: Duration::from_millis(250),
            heard_every: Duration::from_millis(50),
            namespaces_max: 1000,
            namespaces_refresh: Duration::from_secs(1),
            breaker_failures_max: 5,
            breaker_pause: Duration::from_millis(500),
            load_timeout: Duration::from_secs(30),
            loads_max: 1000,
            ranks_flush_every: Duration::from_millis(100),
            ranks_keys_max: 10_000,
            queue_lease: Duration::from_secs(3),
            queue_poll: Duration::from_millis(20),
            queue_step_max: 100,
            watches_max: 10_000,
            watch_pending_max: 10_000,
        }
    }
}

/// A namespace that the settings, or whoever builds the cache, declare.
#[derive(Clone)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// What is not as in the defaults.
    pub patch: PolicyPatch,
    /// What its keys begin with in the store, where it is not what the cache would choose: for keys that other clients of
    /// the store use too. Not with eviction by rank, nor with queued writes.
    pub store_prefix: Option<Bytes>,
    /// Where missing values come from.
    pub loader: Option<Arc<dyn Loader>>,
}

impl Declared {
    /// A namespace as in the defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), patch: PolicyPatch::default(), store_prefix: None, loader: None }
    }
}
