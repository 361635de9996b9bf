use std::sync::Arc;
use std::time::Duration;

use headwater_processor::{Outside, Processor, ProcessorOptions};
use headwater_serving::Settings;

use super::start::Start;
use super::{Stage, topic_spec};

/// The processor.
pub(super) fn start(stage: &mut Stage<'_>, outside: &Outside) {
    let start = Start::new(stage.readiness, "processor", &["headwater.processor"]);
    let troubles = stage.readiness.clone();
    let conditions = Arc::new(move |name: &str, reason: Option<String>| {
        // What comes and goes later is shown: the process still serves.
        if start.is_met() {
            troubles.trouble(name, reason);
        } else if name == "processor" || reason.is_some() {
            start.tell(reason);
        }
    });
    let processor = Processor::new(
        options(stage.settings),
        Arc::clone(&stage.contracts),
        outside.clone(),
        conditions,
        &stage.metrics.meter("headwater.processor"),
    );
    let drain = stage.drain.clone();
    stage.tasks.spawn(async move {
        processor.run(drain).await;
        Ok(())
    });
}

fn options(settings: &Settings) -> ProcessorOptions {
    let processor = &settings.processor;
    ProcessorOptions {
        group: settings.kafka.group.clone(),
        owner: owner(),
        topic: topic_spec(settings),
        dead_letter_suffix: processor.dead_letter_topic_suffix.clone(),
        batch_records_max: processor.batch_records_max,
        batch_bytes_max: processor.batch_bytes_max,
        batch_linger: Duration::from_millis(processor.batch_linger_ms),
        retry_max: Duration::from_millis(processor.retry_max_ms),
        rule_spans_max: processor.rule_spans_max,
        window_max_ms: settings.stats.window_max_s * 1000,
        shards: settings.redis.shards,
        live_queue_max: processor.live_queue_max,
        batches_kept_ms: i64::try_from(processor.batches_kept_s * 1000).unwrap_or(i64::MAX),
        events_kept_days: processor.events_kept_days,
        upkeep_interval: Duration::from_secs(processor.upkeep_interval_s),
    }
}

/// Names this process for people: its host's name and its id.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}:{}", if host.is_empty() { "localhost" } else { host }, std::process::id())
}
