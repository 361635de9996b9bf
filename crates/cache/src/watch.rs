//! Telling the state of keys whenever it changed.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::answer::{Answer, Ask};
use crate::cache::Cache;
use crate::error::CacheError;
use crate::namespaces::Namespace;

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A key's state: what a read that asks the store finds now.
    State {
        /// The key.
        key: Bytes,
        /// What was found.
        answer: Answer,
    },
    /// Changes may have been missed: the state of every key that is watched by name follows.
    Resync {
        /// Why.
        detail: String,
    },
}

/// A watch of keys. It ends with its owner.
pub struct Watch {
    cache: Cache,
    watcher: Arc<Watcher>,
}

/// All watches.
pub(crate) struct Watches {
    watches_max: usize,
    pending_max: usize,
    all: Mutex<Vec<Weak<Watcher>>>,
}

struct Watcher {
    namespace: Arc<str>,
    keys: HashSet<Bytes>,
    prefix: Option<Bytes>,
    pending_max: usize,
    pending: Mutex<Pending>,
    changed: Notify,
}

/// What is to be told.
#[derive(Default)]
struct Pending {
    resync: Option<String>,
    queue: VecDeque<Bytes>,
    queued: HashSet<Bytes>,
}

impl Cache {
    /// Watches keys by name, whose states are told at once, and whatever begins with a prefix.
    ///
    /// # Errors
    /// `Invalid` where a key breaks the namespace's rules; `TooManyWatches` where there are as many watches as may be.
    pub fn watch(
        &self,
        namespace: &Arc<Namespace>,
        keys: Vec<Bytes>,
        prefix: Option<Bytes>,
    ) -> Result<Watch, CacheError> {
        for key in &keys {
            namespace.check_key(key)?;
        }
        if keys.is_empty() && prefix.is_none() {
            return Err(CacheError::Invalid {
                field: "keys",
                rule: "repeated.min_items",
                description: "must have a key, or `prefix` must be set".into(),
            });
        }
        let watches = self.watches();
        let mut pending = Pending::default();
        keys.iter().for_each(|key| pending.add(key));
        let watcher = Arc::new(Watcher {
            namespace: Arc::clone(&namespace.info.name),
            keys: keys.into_iter().collect(),
            prefix,
            pending_max: watches.pending_max,
            pending: Mutex::new(pending),
            changed: Notify::new(),
        });
        let mut all = watches.all.lock();
        all.retain(|other| other.strong_count() > 0);
        if all.len() >= watches.watches_max {
            return Err(CacheError::TooManyWatches(watches.watches_max));
        }
        all.push(Arc::downgrade(&watcher));
        Ok(Watch { cache: self.clone(), watcher })
    }
}

impl Watch {
    /// The next thing to tell. A state is read when it is told: of many changes the last is told. May be dropped and asked
    /// again without loss.
    ///
    /// # Errors
    /// `UnknownNamespace` where the namespace is gone; `Unavailable` where the store is away: asking again goes on.
    pub async fn next(&self) -> Result<WatchEvent, CacheError> {
        loop {
            let changed = self.watcher.changed.notified();
            let next = {
                let mut pending = self.watcher.pending.lock();
                if let Some(detail) = pending.resync.take() {
                    return Ok(WatchEvent::Resync { detail });
                }
                pending.take()
            };
            let Some(key) = next else {
                changed.await;
                continue;
            };
            // Back into the queue where this call is dropped, or the store is away.
            let untold = Untold { watcher: &self.watcher, key: Some(key.clone()) };
            let namespace = self.cache.namespace(&self.watcher.namespace)?;
            let ask = Ask { no_cache: true, lease_ms: None };
            let answer = self.cache.get(&namespace, &key, &ask).await?;
            untold.told();
            return Ok(WatchEvent::State { key, answer });
        }
    }
}

impl Watches {
    pub(crate) fn new(watches_max: usize, pending_max: usize) -> Self {
        Self { watches_max, pending_max, all: Mutex::default() }
    }

    /// A key changed.
    pub(crate) fn changed(&self, namespace: &str, key: &Bytes) {
        self.each(|watcher| {
            let is_wanted = *watcher.namespace == *namespace
                && (watcher.keys.contains(key)
                    || watcher.prefix.as_ref().is_some_and(|prefix| key.starts_with(prefix)));
            if is_wanted {
                watcher.add(key);
            }
        });
    }

    /// Changes may have been missed: of one namespace, or of all.
    pub(crate) fn missed(&self, namespace: Option<&str>, detail: &str) {
        self.each(|watcher| {
            if namespace.is_none_or(|namespace| *watcher.namespace == *namespace) {
                watcher.resync(&mut watcher.pending.lock(), detail);
                watcher.changed.notify_one();
            }
        });
    }

    fn each(&self, tell: impl Fn(&Watcher)) {
        for watcher in self.all.lock().iter().filter_map(Weak::upgrade) {
            tell(&watcher);
        }
    }
}

impl Watcher {
    fn add(&self, key: &Bytes) {
        let mut pending = self.pending.lock();
        if pending.queue.len() >= self.pending_max && !pending.queued.contains(key) {
            self.resync(&mut pending, "more keys changed than were told in time");
        } else {
            pending.add(key);
        }
        drop(pending);
        self.changed.notify_one();
    }

    fn resync(&self, pending: &mut Pending, detail: &str) {
        *pending = Pending { resync: Some(detail.to_owned()), ..Pending::default() };
        self.keys.iter().for_each(|key| pending.add(key));
    }
}

impl Pending {
    fn add(&mut self, key: &Bytes) {
        if self.queued.insert(key.clone()) {
            self.queue.push_back(key.clone());
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let key = self.queue.pop_front()?;
        self.queued.remove(&key);
        Some(key)
    }
}

/// A key that is being told.
struct Untold<'a> {
    watcher: &'a Watcher,
    key: Option<Bytes>,
}

impl Untold<'_> {
    fn told(mut self) {
        self.key = None;
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.watcher.pending.lock().add(&key);
        }
    }
}
