//! Reads that L1 answered and whose keys' ranks are to be raised in the store.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;

/// Reads by key, until they are told.
pub(crate) struct Ranks {
    keys_max: usize,
    reads: Mutex<HashMap<Bytes, u64>>,
}

impl Ranks {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self { keys_max, reads: Mutex::default() }
    }

    /// Counts reads; false where they are dropped, since as many keys wait as may.
    pub(crate) fn add(&self, key: &Bytes, count: u64) -> bool {
        let mut reads = self.reads.lock();
        if let Some(sum) = reads.get_mut(key) {
            *sum += count;
            return true;
        }
        let has_room = reads.len() < self.keys_max;
        if has_room {
            reads.insert(Bytes::copy_from_slice(key), count);
        }
        has_room
    }

    /// What waits, which then waits no longer.
    pub(crate) fn take(&self) -> Vec<(Bytes, u64)> {
        std::mem::take(&mut *self.reads.lock()).into_iter().collect()
    }
}
