use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;
use tokio::{sync::mpsc, time::Instant};

use crate::{EnqueueError, Entry, Got, LeaseAsk, Outcome, QueuedWrite, Space, Write};

/// Why a store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It is away, or did not answer in time: what was asked may have been done, or be done yet. Retrying can help.
    #[error("the cache's store is unavailable: {0}")]
    Unavailable(String),
    /// It answered that it cannot do this now, for example since it is read-only. Nothing was done, and other calls may
    /// be. Retrying can help.
    #[error("the cache's store cannot do that now: {0}")]
    Declined(String),
    /// It takes no more. Nothing was done.
    #[error("the cache's store is full: {0}")]
    Full(String),
    /// It refused, for a reason that retrying does not mend, for example a wrong password. Nothing was done.
    #[error("the cache's store refused: {0}")]
    Refused(String),
}

/// What a store tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreInfo {
    /// What a crash of it may lose, for people: a sentence.
    pub durability: String,
    /// What is doubtful in how it is set, for people: sentences.
    pub doubts: Vec<String>,
}

/// How much a namespace holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Entries, where the layout is ranked.
    pub entries: Option<u64>,
    /// Queued writes that wait.
    pub queued: u64,
}

/// Whoever applies the queued writes of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Stands for the replica; no two share it.
    pub id: String,
    /// How long it is the only one after each call, in milliseconds.
    pub lease_ms: u64,
}

/// What a call of `apply_queued` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// So many were applied or refused, and so many wait still.
    Ended {
        /// Writes whose turn came.
        count: u64,
        /// Writes that wait still.
        waiting: u64,
    },
    /// Another holder has the lease.
    HeldByOther,
}

/// A namespace that was saved in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredNamespace {
    /// Its name.
    pub name: String,
    /// Counts its changes, from 1.
    pub revision: i64,
    /// What was saved.
    pub body: Bytes,
}

/// What is expected of a namespace that is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is none of that name.
    Absent,
    /// It has this revision.
    Revision(i64),
}

/// How saving a namespace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It has this revision now.
    Revision(i64),
    /// It is not as expected: it has this revision, or there is none. Nothing changed.
    Differs(Option<i64>),
    /// There are as many as may be. Nothing changed.
    TooMany,
}

/// What whoever follows a store is told. Whatever changes a value tells it: writes through any replica or straight to the
/// store, expiry, eviction, flushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// From now on changes are told. Any may have been missed before.
    Begun,
    /// The values at these keys of the store (with their prefixes) changed, were made or are gone.
    Changed(Vec<Bytes>),
    /// Any value may have changed.
    Everything,
    /// Every change that the store made before this moment has been told.
    Heard(Instant),
}

/// A store of values that all replicas of the cache share.
///
/// Reads and writes of a key are linearizable while the same primary has it; a failover may lose the last of them. Calls
/// take as long as the store's own timeouts at most. No call is repeated once it may have been done, unless repeating it
/// changes nothing.
#[async_trait]
pub trait CacheStore: Send + Sync + 'static {
    /// Reads a key, and asks for the right to fill it where it has no fresh value. In a ranked layout a fresh value's rank
    /// is raised by one.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn get(&self, space: &Space, key: &[u8], lease: Option<&LeaseAsk>) -> Result<Got, StoreError>;

    /// Reads keys, in as few round trips as the topology allows: one result per key, in order. Ranks are raised as by
    /// `get`.
    async fn batch_get(&self, space: &Space, keys: &[Bytes]) -> Vec<Result<Option<Entry>, StoreError>>;

    /// Does writes at once, each atomically, in order where they are of one key: one result per write, in order. Each takes
    /// its key's lease and what was denied away, unless it is refused.
    async fn write(&self, space: &Space, writes: &[Write]) -> Vec<Result<Outcome, StoreError>>;

    /// Gives a lease up: another may have it.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn release(&self, space: &Space, key: &[u8], token: &[u8]) -> Result<(), StoreError>;

    /// Remembers for so many milliseconds that there is nothing at a key, and why, where the lease with this token still
    /// holds, which ends with it. `get` tells it until it expires or the key is written. Does nothing without the lease.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn deny(&self, space: &Space, key: &[u8], token: &[u8], why: &[u8], for_ms: u64) -> Result<(), StoreError>;

    /// Raises ranks, of keys that the namespace has, by so many reads each. Does nothing where the layout is not ranked.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn raise(&self, space: &Space, reads: &[(Bytes, u64)]) -> Result<(), StoreError>;

    /// Makes a ranked namespace no larger than its capacity, and forgets which of its keys are gone. For when the capacity
    /// was lowered; does nothing in other layouts. Gives the keys that left.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn shrink(&self, space: &Space) -> Result<u64, StoreError>;

    /// Forgets every key, lease and denial of a namespace, step by step. Gives the number of values that it forgot. Queued
    /// writes stay.
    ///
    /// # Errors
    /// As [`StoreError`] says; some keys may be gone.
    async fn flush(&self, space: &Space) -> Result<u64, StoreError>;

    /// How much a namespace holds.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn held(&self, space: &Space) -> Result<Held, StoreError>;

    /// Queues writes, all of them or none, in order: the id of each. Not for a spread layout.
    ///
    /// # Errors
    /// As [`EnqueueError`] says.
    async fn enqueue(&self, space: &Space, writes: &[Write]) -> Result<Vec<String>, EnqueueError>;

    /// Applies queued writes in the order in which they were queued, so many at most, each with its own outcome and in one
    /// atomic step with leaving the queue. Only one holder at a time does.
    ///
    /// # Errors
    /// As [`StoreError`] says. `Full` leaves the write whose turn it is at the head of the queue.
    async fn apply_queued(&self, space: &Space, holder: &Holder, writes_max: u64) -> Result<Applied, StoreError>;

    /// What became of a queued write. None: it is not known, or no more: the outcomes of the last 10,000 are kept, for an
    /// hour at least unless more followed.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn queued(&self, space: &Space, id: &str) -> Result<Option<QueuedWrite>, StoreError>;

    /// Every namespace that was saved.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn namespaces(&self) -> Result<Vec<StoredNamespace>, StoreError>;

    /// Saves a namespace, where it is as expected and there are not too many.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn save_namespace(
        &self,
        name: &str,
        body: &[u8],
        expected: Expected,
        namespaces_max: usize,
    ) -> Result<Saved, StoreError>;

    /// Tells what changes at keys that begin with one of the prefixes (none of which begins another; one that is empty is
    /// all keys), until that fails: `Begun` first, and `Heard` at least every `heard_every`. A slow receiver slows it down.
    async fn follow(
        &self,
        prefixes: &[Bytes],
        heard_every: std::time::Duration,
        notices: mpsc::Sender<Notice>,
    ) -> StoreError;

    /// Whether the store answers now, and what it says of itself.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    async fn check(&self) -> Result<StoreInfo, StoreError>;
}
