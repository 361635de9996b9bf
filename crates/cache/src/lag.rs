//! How long it takes until a write is noticed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Writes at most whose notice is awaited; of more none is measured.
const WRITES_MAX: usize = 1024;
/// After which a write is awaited no longer.
const AWAITED: Duration = Duration::from_secs(10);

/// Writes of this process whose notices have not come yet, by their keys in the store.
#[derive(Default)]
pub(crate) struct Lag {
    hasher: RandomState,
    sent: Mutex<HashMap<u64, Instant>>,
}

impl Lag {
    /// A write is about to be sent.
    pub(crate) fn sent(&self, prefix: &[u8], key: &[u8]) {
        let hash = self.hash(prefix, key);
        let mut sent = self.sent.lock();
        let now = Instant::now();
        if sent.len() >= WRITES_MAX {
            sent.retain(|_, at| now - *at < AWAITED);
        }
        if sent.len() < WRITES_MAX {
            sent.entry(hash).or_insert(now);
        }
    }

    /// A write changed nothing that would be noticed.
    pub(crate) fn forget(&self, prefix: &[u8], key: &[u8]) {
        self.sent.lock().remove(&self.hash(prefix, key));
    }

    /// A change was noticed: how long after the write of this process, if there was one.
    pub(crate) fn noticed(&self, prefix: &[u8], key: &[u8]) -> Option<Duration> {
        let mut sent = self.sent.lock();
        if sent.is_empty() {
            return None;
        }
        sent.remove(&self.hash(prefix, key)).map(|at| at.elapsed()).filter(|lag| *lag < AWAITED)
    }

    fn hash(&self, prefix: &[u8], key: &[u8]) -> u64 {
        self.hasher.hash_one((prefix, key))
    }
}
