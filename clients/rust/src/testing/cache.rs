mod namespaces;
mod refused;
mod service;
mod store;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::broadcast;
use tonic::Status;

pub(super) use service::Cache;

use super::FakeServer;

/// Changes that a watch may be behind by. One that is further behind is told to resync.
const CHANGES_BEHIND_MAX: usize = 1024;

/// The cache of the fake.
#[derive(Debug)]
pub(super) struct State {
    store: Mutex<store::Store>,
    changes: broadcast::Sender<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    /// A key of a namespace was written.
    Key(String, Bytes),
    /// Every watch is told to resync.
    Resync(String),
    /// Every watch ends so.
    End(Option<Status>),
}

impl Default for State {
    fn default() -> Self {
        Self { store: Mutex::default(), changes: broadcast::Sender::new(CHANGES_BEHIND_MAX) }
    }
}

impl State {
    fn store(&self) -> MutexGuard<'_, store::Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: Change) {
        // Nobody watches: nobody is told.
        let _ = self.changes.send(change);
    }
}

impl FakeServer {
    /// Lets the writes of namespaces that queue them wait, or applies those that wait and all that come.
    pub fn hold_writes(&self, hold: bool) {
        let cache = &self.state.cache;
        let mut store = cache.store();
        store.holding = hold;
        let applied = if hold { Vec::new() } else { store.release() };
        drop(store);
        for (namespace, key) in applied {
            cache.tell(Change::Key(namespace, key));
        }
    }

    /// Ends every watch of the cache: with a status, or as a server that drains.
    pub fn end_watches(&self, status: Option<Status>) {
        self.state.cache.tell(Change::End(status));
    }

    /// Tells every watch of the cache that changes may have been missed.
    pub fn resync_watches(&self, detail: &str) {
        self.state.cache.tell(Change::Resync(detail.to_owned()));
    }

    /// How many watches of the cache are open.
    pub fn watches(&self) -> usize {
        self.state.cache.changes.receiver_count()
    }
}
