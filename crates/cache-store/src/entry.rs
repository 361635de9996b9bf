use bytes::Bytes;
use sha1::{Digest, Sha1};

/// Stands for a value: the SHA-1 of its bytes, which a script in Redis can compute too.
pub type Etag = [u8; 20];

/// The etag of a value.
pub fn etag_of(value: &[u8]) -> Etag {
    Sha1::digest(value).into()
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// How long it stays fresh, in milliseconds; 0 or less: how long it has been stale. None: it does not expire.
    pub ttl_ms: Option<i64>,
}

impl Entry {
    /// Whether it is within its time to live.
    pub fn is_fresh(&self) -> bool {
        self.ttl_ms.is_none_or(|ttl_ms| ttl_ms > 0)
    }
}

/// Asks for the right to fill a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAsk {
    /// Stands for whoever asks; never used twice.
    pub token: Bytes,
    /// How long the right holds, in milliseconds, at least 1.
    pub for_ms: u64,
}

/// What a key holds, and whether the caller may fill it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Got {
    /// What it holds, fresh or stale.
    pub entry: Option<Entry>,
    /// Without an entry: what was remembered instead of one (`deny`), and for how many milliseconds still.
    pub denied: Option<(Bytes, i64)>,
    /// Whether the lease that was asked for was given. Never with a fresh entry or while something is denied.
    pub is_leased: bool,
}
