use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time, in milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What an acknowledged record outlives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the machine: each commit waits for the disk (`synchronous=FULL`). The default, since the history has a
    /// file of its own: without it, after a power cut it could hold events at offsets that the log has forgotten, and
    /// those partitions would have to stop.
    #[default]
    Machine,
    /// The end of the process only (`synchronous=NORMAL`): faster, and what was acknowledged shortly before a power cut
    /// may be gone. The file stays whole.
    Process,
}

/// The bounds of an embedded log.
#[derive(Clone)]
pub struct SqliteLogOptions {
    /// Records are kept no longer than this, in milliseconds, whatever their topic says.
    pub retention_ms: i64,
    /// Records that are kept per partition.
    pub retention_records_max: u64,
    /// How often old records are deleted, at most; it happens along with appends.
    pub retention_interval: Duration,
    /// Records that may wait to be committed, over all topics.
    pub queue_records_max: usize,
    /// Greatest size of a record, key and value together.
    pub record_bytes_max: usize,
    /// What an acknowledged record outlives, where there is a file.
    pub durability: Durability,
    /// What tells when a record was appended. It may step back: within a partition the times do not.
    pub clock: Clock,
}

impl Default for SqliteLogOptions {
    fn default() -> Self {
        Self {
            retention_ms: i64::MAX,
            retention_records_max: 1_000_000,
            retention_interval: Duration::from_secs(1),
            queue_records_max: 200_000,
            record_bytes_max: 1_000_000,
            durability: Durability::default(),
            clock: Arc::new(|| {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
            }),
        }
    }
}

impl fmt::Debug for SqliteLogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLogOptions")
            .field("retention_ms", &self.retention_ms)
            .field("retention_records_max", &self.retention_records_max)
            .field("retention_interval", &self.retention_interval)
            .field("queue_records_max", &self.queue_records_max)
            .field("record_bytes_max", &self.record_bytes_max)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
