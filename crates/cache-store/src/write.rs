use bytes::Bytes;
use thiserror::Error;

use crate::{Etag, StoreError};

/// One write to one key. What is stale counts as absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The key, without the namespace's prefix.
    pub key: Bytes,
    /// What to do.
    pub op: Op,
}

/// What a write does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a value, where the condition holds.
    Put {
        /// The value.
        value: Bytes,
        /// How long it stays fresh, in milliseconds, at least 1; none is for ever.
        ttl_ms: Option<u64>,
        /// What must hold.
        condition: Condition,
    },
    /// Adds to a decimal integer of 64 bits.
    Add {
        /// What to add.
        delta: i64,
        /// What an absent key has before.
        initial: i64,
        /// How long the sum stays fresh, in milliseconds; none leaves a key that is there its time.
        ttl_ms: Option<u64>,
        /// As `ttl_ms`, for a key that was absent; none is for ever.
        new_ttl_ms: Option<u64>,
    },
    /// Gives a value another time to live, in milliseconds, at least 1; none is for ever.
    Touch {
        /// The time.
        ttl_ms: Option<u64>,
    },
    /// Forgets a key, also what is stale there.
    Delete,
}

/// What must hold for a value to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Any,
    /// The key has no fresh value.
    Absent,
    /// The key has a fresh value.
    Present,
    /// The key has a fresh value with this etag.
    Etag(Etag),
    /// The lease with this token was given for the key, holds still, and nobody has written the key since.
    Lease(Bytes),
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done(Done),
    /// It was not, and nothing changed.
    Refused(Refusal),
}

/// A write that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Whether the key had a fresh value before. A touch without one changed nothing.
    pub existed: bool,
    /// The sum, of an `Add`.
    pub number: Option<i64>,
    /// How long the value stays fresh, in milliseconds; none is for ever, or without a value.
    pub ttl_ms: Option<i64>,
    /// Keys that left to make room, expired ones included.
    pub evicted: u32,
}

/// Why a write was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The key has a fresh value, and the namespace refuses to overwrite. Of `Put` and `Add`, before anything else.
    Exists,
    /// The condition does not hold.
    NotMet {
        /// The etag of the key's fresh value, if it has one.
        current: Option<Etag>,
    },
    /// The value is no decimal integer of 64 bits.
    NotANumber,
    /// The sum passes 64 bits.
    Overflow,
}

/// What is known of a queued write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueuedWrite {
    /// It waits.
    Waiting,
    /// Its turn came.
    Ended(Outcome),
}

/// Why writes were not queued.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnqueueError {
    /// As many wait as may: none of them was queued.
    #[error("{waiting} writes wait, which is the most")]
    Full {
        /// Writes that wait.
        waiting: u64,
    },
    /// The store failed. Whether they were queued is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
}
