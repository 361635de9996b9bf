use headwater_domain::{BatchCommit, Reason, Verdict};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};

/// What the processor counts.
#[derive(Clone)]
pub(crate) struct Metrics {
    records: Counter<u64>,
    dead: Counter<u64>,
    commit_s: Histogram<f64>,
    retries: Counter<u64>,
    replayed: Counter<u64>,
    stopped: Gauge<u64>,
    elsewhere: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            records: meter
                .u64_counter("headwater.processor.records")
                .with_description("Records by stream and outcome: stored, flagged, duplicate, dead")
                .with_unit("{record}")
                .build(),
            dead: meter
                .u64_counter("headwater.processor.dead_letters")
                .with_description("Dead letters by stream and reason")
                .with_unit("{record}")
                .build(),
            commit_s: meter
                .f64_histogram("headwater.processor.commit.duration")
                .with_description("Time that a batch's transaction took")
                .with_unit("s")
                .with_boundaries(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
                .build(),
            retries: meter
                .u64_counter("headwater.processor.retries")
                .with_description("Tries that an outage of an outside system cost, by system")
                .with_unit("{try}")
                .build(),
            replayed: meter
                .u64_counter("headwater.processor.replayed_batches")
                .with_description("Batches replayed from the history to live statistics, by stream")
                .with_unit("{batch}")
                .build(),
            elsewhere: meter
                .u64_counter("headwater.processor.misplaced_records")
                .with_description("Events on another partition than their key's, by stream")
                .with_unit("{record}")
                .build(),
            stopped: meter
                .u64_gauge("headwater.processor.stopped_partitions")
                .with_description(
                    "Partitions that cannot go on, by stream, partition and reason: 1 where it is stopped",
                )
                .with_unit("{partition}")
                .build(),
        }
    }

    pub(crate) fn committed(&self, stream: &str, commit: &BatchCommit, duration_s: f64) {
        let flagged = commit.stored.iter().filter(|row| row.verdict != Verdict::Counted).count();
        let outcomes = [
            ("stored", commit.stored.len() - flagged),
            ("flagged", flagged),
            ("duplicate", commit.duplicates.len()),
            ("dead", commit.dead.len()),
        ];
        for (outcome, count) in outcomes.into_iter().filter(|(_, count)| *count > 0) {
            let labels = [KeyValue::new("stream", stream.to_owned()), KeyValue::new("outcome", outcome)];
            self.records.add(count as u64, &labels);
        }
        for letter in &commit.dead {
            let labels = [KeyValue::new("stream", stream.to_owned()), KeyValue::new("reason", letter.reason.name())];
            self.dead.add(1, &labels);
        }
        self.commit_s.record(duration_s, &[KeyValue::new("stream", stream.to_owned())]);
    }

    pub(crate) fn retried(&self, system: &'static str) {
        self.retries.add(1, &[KeyValue::new("system", system)]);
    }

    pub(crate) fn stopped(&self, stream: &str, partition: i32, reason: Reason, is_stopped: bool) {
        let labels = [
            KeyValue::new("stream", stream.to_owned()),
            KeyValue::new("partition", i64::from(partition)),
            KeyValue::new("reason", reason.name()),
        ];
        self.stopped.record(u64::from(is_stopped), &labels);
    }

    pub(crate) fn misplaced(&self, stream: &str, records: u64) {
        self.elsewhere.add(records, &[KeyValue::new("stream", stream.to_owned())]);
    }

    pub(crate) fn replayed(&self, stream: &str, batches: u64) {
        self.replayed.add(batches, &[KeyValue::new("stream", stream.to_owned())]);
    }
}
