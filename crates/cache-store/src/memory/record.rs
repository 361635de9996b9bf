use std::sync::Arc;

use bytes::Bytes;

use crate::Space;

/// What a key takes beside its own bytes: its places in the maps.
pub(super) const RECORD_BYTES: u64 = 512;

/// What a member of a ranked namespace takes beside that.
pub(super) const MEMBER_BYTES: u64 = 256;

/// Stands for a namespace, as the keys beside its values do in Redis.
pub(super) type SpaceId = (Arc<str>, Arc<str>);

pub(super) fn space_id(space: &Space) -> SpaceId {
    (Arc::clone(&space.aside), Arc::clone(&space.name))
}

/// All that is at one key of the store.
#[derive(Default)]
pub(super) struct Record {
    pub(super) value: Option<Value>,
    pub(super) lease: Option<Timed>,
    pub(super) denial: Option<Timed>,
    /// When it was used last, as a number that grows.
    pub(super) used: u64,
}

/// What is kept until the store's clock says so many milliseconds.
pub(super) struct Timed {
    pub(super) bytes: Bytes,
    pub(super) until_ms: i64,
}

pub(super) struct Value {
    pub(super) bytes: Bytes,
    /// None is for ever.
    pub(super) until_ms: Option<i64>,
    pub(super) member: Option<Member>,
}

/// Its place in a ranked namespace.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) of: SpaceId,
    pub(super) rank: u64,
    pub(super) insertion: u64,
}

/// A part of a record with an end of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Value,
    Lease,
    Denial,
}

impl Record {
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_none() && self.lease.is_none() && self.denial.is_none()
    }

    /// What it counts for, at a key so long.
    pub(super) fn bytes(&self, key_bytes: usize) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let value = self.value.as_ref().map_or(0, |value| value.bytes.len());
        let timed = |timed: &Option<Timed>| timed.as_ref().map_or(0, |timed| timed.bytes.len());
        let is_member = self.value.as_ref().is_some_and(|value| value.member.is_some());
        RECORD_BYTES
            + u64::from(is_member) * MEMBER_BYTES
            + (key_bytes + value + timed(&self.lease) + timed(&self.denial)) as u64
    }

    /// When its parts end.
    pub(super) fn ends(&self) -> impl Iterator<Item = (i64, Part)> {
        let value = self.value.as_ref().and_then(|value| value.until_ms).map(|at| (at, Part::Value));
        let lease = self.lease.as_ref().map(|lease| (lease.until_ms, Part::Lease));
        let denial = self.denial.as_ref().map(|denial| (denial.until_ms, Part::Denial));
        [value, lease, denial].into_iter().flatten()
    }

    /// The value, unless its time is over.
    pub(super) fn kept(&self, now_ms: i64) -> Option<&Value> {
        self.value.as_ref().filter(|value| value.until_ms.is_none_or(|at| now_ms < at))
    }

    pub(super) fn lease(&self, now_ms: i64) -> Option<&Timed> {
        self.lease.as_ref().filter(|lease| now_ms < lease.until_ms)
    }

    pub(super) fn denial(&self, now_ms: i64) -> Option<&Timed> {
        self.denial.as_ref().filter(|denial| now_ms < denial.until_ms)
    }
}

impl Value {
    /// How long it stays fresh in this namespace, in milliseconds.
    pub(super) fn ttl_ms(&self, space: &Space, now_ms: i64) -> Option<i64> {
        self.until_ms.map(|at| at.saturating_sub(now_ms).saturating_sub_unsigned(space.kept_stale_ms))
    }

    pub(super) fn is_fresh(&self, space: &Space, now_ms: i64) -> bool {
        self.ttl_ms(space, now_ms).is_none_or(|ttl_ms| ttl_ms > 0)
    }
}
