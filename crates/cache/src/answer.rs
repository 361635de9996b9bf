use bytes::Bytes;
use headwater_cache_store::{Etag, Refusal};

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A fresh value.
    Hit,
    /// No value.
    Miss,
    /// A value past its time to live, or one that nobody can vouch for now, served as the namespace allows it.
    Stale,
}

/// Where an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The memory of this process.
    L1,
    /// The store that all replicas share.
    L2,
    /// The namespace's loader.
    Loader,
}

/// Why L1 did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// It does not have the key.
    Miss,
    /// What it has is past its time to live.
    Stale,
    /// The call asked for the store's own answer.
    Request,
    /// It could not vouch for what it has.
    Bypass,
}

/// What a read asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The store's own answer, whatever L1 has.
    pub no_cache: bool,
    /// Where there is no fresh value: the right to write one, for so many milliseconds (1 to 60,000).
    pub lease_ms: Option<u64>,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The value. None: there is none.
    pub value: Option<Bytes>,
    /// What was found.
    pub outcome: Outcome,
    /// Where it is from.
    pub layer: Layer,
    /// Why L1 did not answer; none where it did.
    pub forward: Option<Forward>,
    /// How long the value stays fresh, in milliseconds; negative: how long it has been stale.
    pub ttl_ms: Option<i64>,
    /// Whether it was read once for this call and others.
    pub is_collapsed: bool,
    /// The right to write the key, where it was asked for and given.
    pub lease: Option<Bytes>,
    /// What went wrong where a stale value is served instead of an error.
    pub detail: Option<String>,
}

impl Answer {
    pub(crate) fn miss(layer: Layer) -> Self {
        Self {
            value: None,
            outcome: Outcome::Miss,
            layer,
            forward: None,
            ttl_ms: None,
            is_collapsed: false,
            lease: None,
            detail: None,
        }
    }
}

/// A write that was done, or queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was done.
    Done(WriteDone),
    /// It waits under this id.
    Queued(String),
}

/// A write that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteDone {
    /// Whether the key had a fresh value before. A touch or a delete without one changed nothing.
    pub existed: bool,
    /// Stands for the value that was written, where one was.
    pub etag: Option<Etag>,
    /// The sum, of an increment.
    pub number: Option<i64>,
    /// How long the value stays fresh, in milliseconds. None: for ever, or there is none.
    pub ttl_ms: Option<i64>,
    /// Keys that left to make room.
    pub evicted: u32,
}

/// How far a queued write is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueuedState {
    /// It waits.
    Waiting,
    /// It was applied.
    Applied(WriteDone),
    /// Its turn came, and it was not done.
    Refused(Refusal),
}
