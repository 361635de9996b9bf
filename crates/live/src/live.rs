use std::collections::BTreeMap;

use async_trait::async_trait;
use headwater_domain::{LiveBatch, StatKind, Window};
use thiserror::Error;

/// Which build of which stream's statistics, and the shards that its keys lie on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GenerationKey {
    /// Name of the stream.
    pub stream: String,
    /// Number of the generation, from 1.
    pub generation: i64,
    /// Shards, at least 1: fixed for the generation.
    pub shards: u32,
}

/// How an `apply` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// Every shard has the batch, now or already.
    Applied,
    /// Some shard misses earlier batches and took nothing; others may have taken it. Replay from the lowest offset, or
    /// from the partition's beginning where a shard has none.
    Gap {
        /// The lowest offset of a shard for the partition; none where a shard has no offset for it.
        next: Option<i64>,
    },
}

/// Asks for the figures of one statistic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Index of the statistic.
    pub stat: usize,
    /// How it is counted.
    pub kind: StatKind,
    /// Only this key.
    pub key: Option<String>,
    /// How far back; none is all time, which a distinct does not have.
    pub window: Option<Window>,
    /// The moment that the window ends at, in milliseconds since the Unix epoch.
    pub as_of_ms: i64,
    /// Keys to leave out, greatest first.
    pub skip: usize,
    /// Keys at most.
    pub limit: usize,
}

/// A figure, in units of the statistic's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The figure.
    Units(i64),
    /// It passed 64 bits, in its window or in all; it sorts first.
    Overflowed,
}

/// The figures of one statistic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Greatest first, equals by key. Without keys: one entry with an empty key. A key that was asked for and has no
    /// figure is there with 0.
    pub entries: Vec<(String, Figure)>,
    /// Keys that have a figure, in `entries` or not. A distinct's key has one when its count is not 0; a top's or a sum's
    /// when anything was added in the window, even where it adds up to 0.
    pub key_count: u64,
    /// Partition to the offset that every shard has applied: the lowest of the shards. A partition that some shard has no
    /// offset for is not there.
    pub applied: BTreeMap<i32, i64>,
}

/// Why live statistics did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LiveError {
    /// The store is away. Retrying can help.
    #[error("the live statistics are unavailable: {0}")]
    Unavailable(String),
    /// The store is there and not as Headwater needs it; the text says which setting, and the command that changes it.
    #[error("{0}")]
    Unsuitable(String),
    /// The store refused, for a reason that retrying does not mend.
    #[error("the live statistics refused: {0}")]
    Refused(String),
}

/// A store of live statistics.
///
/// Each shard of a generation keeps one applied offset per partition. A batch changes a shard in one atomic step, and
/// only where the shard's offset is the batch's `first` (or the shard has none and the batch is the partition's start):
/// at or past `next` it is skipped, and anything else is a gap that changes nothing. So a redelivery changes nothing, and
/// lost state is found.
#[async_trait]
pub trait LiveStatistics: Send + Sync + 'static {
    /// Applies a batch to every shard, also to those that none of its operations is for.
    /// The caller gives one partition's batches one at a time.
    ///
    /// # Errors
    /// `Unavailable`: some shards may have taken it; apply it again. `Refused`.
    async fn apply(&self, generation: &GenerationKey, batch: &LiveBatch) -> Result<ApplyOutcome, LiveError>;

    /// Partition to the offset that every shard has applied, as in [`Figures::applied`].
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn applied(&self, generation: &GenerationKey) -> Result<BTreeMap<i32, i64>, LiveError>;

    /// Reads the figures of a statistic. Not for a distinct over all time, which the history answers.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn read(&self, generation: &GenerationKey, request: &ReadRequest) -> Result<Figures, LiveError>;

    /// The store's own clock, in milliseconds since the Unix epoch: one for all who read, whatever their hosts' clocks say.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn now_ms(&self) -> Result<i64, LiveError>;

    /// Forgets members that no window reaches any more. Called from time to time.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn trim(&self, generation: &GenerationKey, now_ms: i64) -> Result<(), LiveError>;

    /// Forgets a generation whole.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn remove(&self, generation: &GenerationKey) -> Result<(), LiveError>;

    /// Whether the store answers now, and is as Headwater needs it.
    ///
    /// # Errors
    /// `Unavailable` where it does not within two seconds; `Unsuitable`.
    async fn check(&self) -> Result<(), LiveError>;
}
