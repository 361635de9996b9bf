//! Forgetting what the bounds allow.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tracing::{debug, warn};

use crate::assignment::Shared;
use crate::generations::Filled;

const EVERY: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;

/// Trims live statistics and prunes the history from time to time. Several processors doing so do no harm.
pub(crate) async fn run(shared: Arc<Shared>, filled: watch::Receiver<Filled>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let now_ms = now_ms();
        for stream in shared.contracts.streams() {
            let schema = &stream.schema;
            let generations = filled.borrow().get(&schema.name).cloned().unwrap_or_default();
            for generation in &generations {
                if let Err(error) = shared.outside.live.trim(generation, now_ms).await {
                    warn!(stream = schema.name, %error, "live statistics were not trimmed");
                }
            }
            let kept_days = i64::from(shared.options.events_kept_days);
            let events_before_us = (kept_days > 0).then(|| (now_ms - kept_days * DAY_MS) * 1000);
            let batches_before_ms = now_ms - shared.options.batches_kept_ms;
            match shared.outside.history.prune(schema, batches_before_ms, events_before_us).await {
                Ok(rows) => debug!(stream = schema.name, rows, "pruned"),
                Err(error) => warn!(stream = schema.name, %error, "the history was not pruned"),
            }
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
