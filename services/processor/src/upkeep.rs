//! Forgetting what the bounds allow.

use std::sync::Arc;

use headwater_domain::StreamSchema;
use headwater_history::HistoryError;
use headwater_live::{GenerationKey, LiveError};
use tracing::{debug, warn};

use crate::assignment::Shared;
use crate::generations::FilledNow;

const DAY_MS: i64 = 86_400_000;

/// Trims live statistics and prunes the history from time to time. Several processors doing so do no harm.
pub(crate) async fn run(shared: Arc<Shared>, filled: Arc<FilledNow>) {
    loop {
        tokio::time::sleep(shared.options.upkeep_interval).await;
        check(&shared).await;
        for stream in shared.contracts.streams() {
            let schema = &stream.schema;
            for generation in &filled.of(&schema.name) {
                if let Err(error) = trim(&shared, generation).await {
                    warn!(stream = schema.name, %error, "live statistics were not trimmed");
                }
            }
            match prune(&shared, schema).await {
                Ok(rows) => debug!(stream = schema.name, rows, "pruned"),
                Err(error) => warn!(stream = schema.name, %error, "the history was not pruned"),
            }
        }
    }
}

/// What was looked at before the start may have been changed since.
async fn check(shared: &Shared) {
    let unsuitable = match shared.outside.live.check().await {
        Err(LiveError::Unsuitable(reason)) => Some(reason),
        _ => None,
    };
    if let Some(reason) = &unsuitable {
        warn!(reason, "live statistics are not safe");
    }
    (shared.conditions)("processor: live statistics' store", unsuitable);
}

/// By the store's clock, which its windows end at.
async fn trim(shared: &Shared, generation: &GenerationKey) -> Result<(), LiveError> {
    let now_ms = shared.outside.live.now_ms().await?;
    shared.outside.live.trim(generation, now_ms).await
}

/// By the log's time, that of the newest record: a host with a wrong clock forgets nothing too early. A stream that gets
/// nothing keeps what it has.
async fn prune(shared: &Shared, schema: &StreamSchema) -> Result<u64, HistoryError> {
    let history = &shared.outside.history;
    let progress = history.progress(schema).await?;
    let Some(newest_ms) = progress.iter().map(|partition| partition.last_appended_ms).max() else { return Ok(0) };
    let kept_days = i64::from(shared.options.events_kept_days);
    let events_before_us = (kept_days > 0).then(|| (newest_ms - kept_days * DAY_MS) * 1000);
    history.prune(schema, newest_ms - shared.options.batches_kept_ms, events_before_us).await
}
