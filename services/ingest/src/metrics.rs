use headwater_contracts::v1::ingest::{RecordResult, record_result};
use headwater_serving::opentelemetry::KeyValue;
use headwater_serving::opentelemetry::metrics::{Counter, Meter};

/// What ingest counts.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    records: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let records = meter
            .u64_counter("headwater.ingest.records")
            .with_description("Records by stream and answer: accepted, rejected, retry")
            .with_unit("{record}")
            .build();
        Self { records }
    }

    pub(crate) fn answered(&self, stream: &str, results: &[RecordResult]) {
        let mut counts = [("accepted", 0), ("rejected", 0), ("retry", 0)];
        for result in results {
            match &result.result {
                Some(record_result::Result::Accepted(_)) => counts[0].1 += 1,
                Some(record_result::Result::Rejected(_)) => counts[1].1 += 1,
                Some(record_result::Result::Retry(_)) => counts[2].1 += 1,
                None => {}
            }
        }
        for (answer, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            self.records.add(count, &[KeyValue::new("stream", stream.to_owned()), KeyValue::new("answer", answer)]);
        }
    }
}
