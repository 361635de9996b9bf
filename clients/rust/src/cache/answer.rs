use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::Error;
use crate::v1::cache::{CacheStatus, Found, GetResponse, GetWriteResponse, Outcome, WriteState, Written};
use crate::v1::error::Reason;

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The value. None: there is none.
    pub value: Option<Bytes>,
    /// What was found, where, and how long it stays fresh.
    pub status: CacheStatus,
    /// Stands for the value in [`When::Etag`](super::When::Etag), where it was asked for and there is a value.
    pub etag: Option<Bytes>,
    /// The right to write the key ([`When::Lease`](super::When::Lease)), where it was asked for and nobody else has it. Any
    /// write takes it away.
    pub lease: Option<Bytes>,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write<T> {
    /// It was done.
    Applied(T),
    /// The namespace queues writes: it waits for those before it. [`Cache::get_write`](super::Cache::get_write) follows it.
    Queued {
        /// Its id.
        write_id: String,
    },
}

/// A value that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Stands for the value in [`When::Etag`](super::When::Etag).
    pub etag: Bytes,
    /// How long the value stays fresh. None: it does not expire.
    pub ttl: Option<Duration>,
    /// Whether the key had a value before.
    pub replaced: bool,
    /// Keys that had to leave a namespace of fixed capacity to make room.
    pub evicted: u32,
}

/// What became of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conditional {
    /// The condition held: the value was written.
    Met(Stored),
    /// It did not: nothing changed.
    NotMet {
        /// The etag of the key's value, if it has one.
        current_etag: Option<Bytes>,
    },
}

/// A number that was added to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The value after.
    pub value: i64,
    /// What was written.
    pub stored: Stored,
}

/// What became of a touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Whether the key has a value.
    pub found: bool,
    /// How long it stays fresh from now on. None: it does not expire, or there is none.
    pub ttl: Option<Duration>,
}

/// What became of a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Whether the key had a value.
    pub found: bool,
}

/// How far a queued write is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueuedWrite {
    /// It waits for those before it.
    Waiting,
    /// It was applied.
    Applied {
        /// What was written; of a touch or a delete the etag is empty.
        stored: Stored,
        /// Whether the key had a value before.
        found: bool,
        /// The value after an increment.
        value: Option<i64>,
    },
    /// Its turn came, and it could not be applied. A condition that did not hold is here too.
    Refused {
        /// Why.
        error: KeyError,
        /// Whether the key had a value.
        found: bool,
    },
}

/// Why something was not done with a key of a batch, or why a queued write was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}: {detail}")]
pub struct KeyError {
    /// The platform's reason, for example `KEY_EXISTS`.
    pub reason: String,
    /// A sentence for people.
    pub detail: String,
    /// When a retry can help: how long to wait.
    pub retry_after: Option<Duration>,
}

impl Read {
    /// Whether there is a value, fresh or stale.
    pub fn is_found(&self) -> bool {
        self.value.is_some()
    }

    /// Whether the value is past its time to live, and served as the namespace allows it.
    pub fn is_stale(&self) -> bool {
        self.status.outcome() == Outcome::Stale
    }

    /// The value where it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.value.as_deref().and_then(|value| std::str::from_utf8(value).ok())
    }
}

impl<T> Write<T> {
    /// What was done; none where it is queued.
    pub fn applied(self) -> Option<T> {
        match self {
            Self::Applied(done) => Some(done),
            Self::Queued { .. } => None,
        }
    }

    /// Its id, where it is queued.
    pub fn write_id(&self) -> Option<&str> {
        match self {
            Self::Applied(_) => None,
            Self::Queued { write_id } => Some(write_id),
        }
    }

    pub(super) fn map<U>(self, with: impl FnOnce(T) -> U) -> Write<U> {
        match self {
            Self::Applied(done) => Write::Applied(with(done)),
            Self::Queued { write_id } => Write::Queued { write_id },
        }
    }
}

impl Write<Stored> {
    pub(super) fn of(written: Written) -> Self {
        if written.write_id.is_empty() {
            Self::Applied(written.into())
        } else {
            Self::Queued { write_id: written.write_id }
        }
    }
}

impl QueuedWrite {
    pub(super) fn of(answer: GetWriteResponse) -> Result<Self, Error> {
        let found = answer.found;
        match answer.state() {
            WriteState::Queued => Ok(Self::Waiting),
            WriteState::Applied => {
                let stored = answer.written.unwrap_or_default().into();
                Ok(Self::Applied { stored, found, value: answer.value })
            }
            WriteState::Refused => Ok(Self::Refused { error: answer.error.unwrap_or_default().into(), found }),
            WriteState::Unspecified => Err(Error::Protocol("GetWrite answered without a state".into())),
        }
    }
}

impl From<GetResponse> for Read {
    fn from(GetResponse { value, status, etag, lease }: GetResponse) -> Self {
        Self { value, status: status.unwrap_or_default(), etag: unless_empty(etag), lease: unless_empty(lease) }
    }
}

impl From<Found> for Read {
    fn from(Found { value, status, etag }: Found) -> Self {
        Self { value, status: status.unwrap_or_default(), etag: unless_empty(etag), lease: None }
    }
}

/// The contract says "none" by no bytes.
pub(super) fn unless_empty(bytes: Bytes) -> Option<Bytes> {
    Some(bytes).filter(|bytes| !bytes.is_empty())
}

impl From<Written> for Stored {
    fn from(Written { etag, ttl_ms, replaced, evicted, .. }: Written) -> Self {
        Self { etag, ttl: ttl_ms.map(|ms| Duration::from_millis(ms.unsigned_abs())), replaced, evicted }
    }
}

impl From<crate::v1::cache::KeyError> for KeyError {
    fn from(error: crate::v1::cache::KeyError) -> Self {
        let reason = match Reason::try_from(error.reason) {
            Ok(reason) => reason.as_str_name().trim_start_matches("REASON_").to_owned(),
            // One of a newer platform.
            Err(_) => format!("REASON_{}", error.reason),
        };
        let retry_after = error.retry_delay.and_then(|delay| Duration::try_from(delay).ok());
        Self { reason, detail: error.detail, retry_after }
    }
}
