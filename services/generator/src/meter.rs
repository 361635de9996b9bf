use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use headwater_client::{Ack, Error, PublishAcks};
use headwater_contracts::v1::error::Reason;
use headwater_contracts::v1::ingest::record_result::Result as Outcome;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Kind, Latency};

/// Longest latency that is told apart, in microseconds: ten minutes.
const LATENCY_MAX_US: u64 = 600_000_000;

/// A batch that was sent: its number, and the kind of each event and when it was due.
pub(crate) type SentBatch = (u64, Vec<(Kind, Instant)>);

/// Takes the answers and counts them.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) answers: BTreeMap<String, u64>,
    pub(crate) surprises: u64,
    pub(crate) last_answer: Option<Instant>,
    pub(crate) failure: Option<Error>,
    latency: Histogram<u64>,
    answered: Arc<AtomicU64>,
}

impl Meter {
    pub(crate) fn new(answered: Arc<AtomicU64>) -> Self {
        // Three digits are one part in a thousand.
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("the bounds are in order");
        Self { answers: BTreeMap::new(), surprises: 0, last_answer: None, failure: None, latency, answered }
    }

    /// Counts until the stream has ended, or until it is told that nobody waits any longer.
    pub(crate) async fn run(
        mut self,
        mut acks: PublishAcks,
        mut sent: mpsc::UnboundedReceiver<SentBatch>,
        give_up: CancellationToken,
    ) -> Self {
        let mut batches: HashMap<u64, Vec<(Kind, Instant)>> = HashMap::new();
        loop {
            let taken = tokio::select! {
                taken = acks.next() => taken,
                () = give_up.cancelled() => return self,
            };
            match taken {
                Ok(Some(ack)) => {
                    let now = Instant::now();
                    // The sender tells of a batch just after it is sent; the answer can be faster.
                    while !batches.contains_key(&ack.sequence) {
                        let Some((sequence, batch)) = sent.recv().await else { return self };
                        batches.insert(sequence, batch);
                    }
                    let batch = batches.remove(&ack.sequence).unwrap_or_default();
                    self.take(&ack, &batch, now);
                }
                Ok(None) => return self,
                Err(error) => {
                    self.failure = Some(error);
                    return self;
                }
            }
        }
    }

    fn take(&mut self, ack: &Ack, batch: &[(Kind, Instant)], now: Instant) {
        for (result, (kind, due)) in ack.results.iter().zip(batch) {
            let (name, fits) = match &result.result {
                Some(Outcome::Accepted(_)) => ("accepted".to_owned(), !matches!(kind, Kind::Invalid(_))),
                Some(Outcome::Rejected(rejected)) => {
                    let fits = matches!(kind, Kind::Invalid(reason) if *reason == rejected.reason());
                    (format!("rejected {}", reason_name(rejected.reason())), fits)
                }
                Some(Outcome::Retry(retry)) => (format!("retry {}", reason_name(retry.reason())), true),
                None => ("none".to_owned(), false),
            };
            *self.answers.entry(name).or_default() += 1;
            self.surprises += u64::from(!fits);
            let latency_us = u64::try_from(now.saturating_duration_since(*due).as_micros()).unwrap_or(LATENCY_MAX_US);
            self.latency.saturating_record(latency_us);
        }
        self.last_answer = Some(now);
        self.answered.fetch_add(batch.len() as u64, Ordering::Relaxed);
    }

    pub(crate) fn latency(&self) -> Latency {
        if self.latency.is_empty() {
            return Latency::default();
        }
        let at = |quantile: f64| self.latency.value_at_quantile(quantile) as f64 / 1000.0;
        Latency {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.latency.max() as f64 / 1000.0,
        }
    }
}

fn reason_name(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("REASON_")
}
