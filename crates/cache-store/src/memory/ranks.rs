use std::collections::BTreeSet;

use bytes::Bytes;

use super::record::{Member, Value};

/// The members of a ranked namespace, in the orders in which they leave.
#[derive(Default)]
pub(super) struct Ranks {
    /// By rank, then insertion.
    order: BTreeSet<(u64, u64, Bytes)>,
    /// Those that have an end, by it.
    ending: BTreeSet<(i64, u64, Bytes)>,
    next_insertion: u64,
}

impl Ranks {
    pub(super) fn len(&self) -> u64 {
        self.order.len() as u64
    }

    /// The number of the next insertion.
    pub(super) fn next_insertion(&mut self) -> u64 {
        self.next_insertion += 1;
        self.next_insertion
    }

    pub(super) fn insert(&mut self, key: &Bytes, value: &Value, member: &Member) {
        self.order.insert((member.rank, member.insertion, key.clone()));
        if let Some(until_ms) = value.until_ms {
            self.ending.insert((until_ms, member.insertion, key.clone()));
        }
    }

    pub(super) fn remove(&mut self, key: &Bytes, value: &Value, member: &Member) {
        self.order.remove(&(member.rank, member.insertion, key.clone()));
        if let Some(until_ms) = value.until_ms {
            self.ending.remove(&(until_ms, member.insertion, key.clone()));
        }
    }

    /// The member that leaves next: one that ends by the time `stale_ms`, else the lowest.
    pub(super) fn next_to_leave(&self, stale_ms: i64) -> Option<Bytes> {
        let ended = self.ending.first().filter(|(until_ms, ..)| *until_ms <= stale_ms).map(|(.., key)| key);
        ended.or_else(|| self.order.first().map(|(.., key)| key)).cloned()
    }
}
