use std::sync::Arc;
use std::time::Duration;

use headwater_event_log::{EventLog, SchemaRegistry, TopicSpec};
use headwater_history::History;
use headwater_live::LiveStatistics;

/// The outside systems that a processor works with.
#[derive(Clone)]
pub struct Outside {
    /// Where records come from.
    pub log: Arc<dyn EventLog>,
    /// Whose schemas the frames name.
    pub registry: Arc<dyn SchemaRegistry>,
    /// Where events go.
    pub history: Arc<dyn History>,
    /// Where statistics go.
    pub live: Arc<dyn LiveStatistics>,
}

/// Told when a condition of the processor's readiness is met (none) or is not (the reason).
pub type Conditions = Arc<dyn Fn(&str, Option<String>) + Send + Sync>;

/// How a processor works. Every bound is a setting of the same name.
#[derive(Clone, Debug)]
pub struct ProcessorOptions {
    /// Consumer group that shares the partitions.
    pub group: String,
    /// Names this process in the history, for people.
    pub owner: String,
    /// How a stream's topic is made where it is missing; the name is set for each.
    pub topic: TopicSpec,
    /// What is put behind a stream's name for the topic of its dead letters.
    pub dead_letter_suffix: String,
    /// Records in a batch at most.
    pub batch_records_max: usize,
    /// Bytes in a batch, about, at most.
    pub batch_bytes_max: usize,
    /// How long a batch waits for more records after its first.
    pub batch_linger: Duration,
    /// Longest pause between two tries of what an outage stopped.
    pub retry_max: Duration,
    /// Spans of rules that a partition remembers.
    pub rule_spans_max: usize,
    /// Longest window of live statistics, in milliseconds.
    pub window_max_ms: i64,
    /// Shards of a new generation of live statistics.
    pub shards: u32,
    /// Batches that wait for live statistics, per partition; what comes on top is replayed from the history.
    pub live_queue_max: usize,
    /// How long batch rows are kept, in milliseconds.
    pub batches_kept_ms: i64,
    /// How long events are kept, in days; 0 is for ever.
    pub events_kept_days: u32,
    /// Pause between two looks for what is kept no longer.
    pub upkeep_interval: Duration,
}
