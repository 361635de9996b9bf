use std::collections::BTreeMap;
use std::time::Duration;

use headwater_client::Error;
use serde_json::{Value, json};

/// How a run went. Counts are of events.
#[derive(Debug)]
pub struct Report {
    /// The stream.
    pub stream: &'static str,
    /// The seed that makes the same events again.
    pub seed: u64,
    /// Events that were due.
    pub due: u64,
    /// Events sent, by the name of their kind.
    pub sent: BTreeMap<&'static str, u64>,
    /// Of the bots' events sent, those that the rule flags.
    pub sent_flagged: u64,
    /// Answers: `accepted`, `rejected` with the reason, `retry` with the reason where all attempts were used up.
    pub answers: BTreeMap<String, u64>,
    /// Sent, and neither answered nor refused by the end.
    pub unanswered: u64,
    /// Due and not sent, because too many were in flight.
    pub skipped: u64,
    /// Sent more than 100 ms after they were due.
    pub late: u64,
    /// Answers that do not fit the event's kind: a good one rejected, an invalid one accepted or rejected for another reason.
    pub surprises: u64,
    /// From the first moment due to the last answer.
    pub elapsed: Duration,
    /// Events asked for in a second.
    pub rate: f64,
    /// Answers in a second of `elapsed`.
    pub rate_achieved: f64,
    /// From the moment due to the answer.
    pub latency: Latency,
    /// What ended the run early.
    pub failure: Option<Error>,
}

/// Milliseconds from the moment that an event was due to its answer, so that a slow server cannot hide by slowing the
/// sender. All 0 where there was no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// Half are at most this.
    pub p50_ms: f64,
    /// 90 % are at most this.
    pub p90_ms: f64,
    /// 99 % are at most this.
    pub p99_ms: f64,
    /// 99.9 % are at most this.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Report {
    /// Events sent.
    pub fn sent_all(&self) -> u64 {
        self.sent.values().sum()
    }

    /// Events answered.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// As one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "stream": self.stream,
            "seed": self.seed,
            "due": self.due,
            "sent": self.sent,
            "sent_flagged": self.sent_flagged,
            "answers": self.answers,
            "unanswered": self.unanswered,
            "skipped": self.skipped,
            "late": self.late,
            "surprises": self.surprises,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "rate": self.rate,
            "rate_achieved": self.rate_achieved,
            "latency_ms": {
                "p50": self.latency.p50_ms,
                "p90": self.latency.p90_ms,
                "p99": self.latency.p99_ms,
                "p999": self.latency.p999_ms,
                "max": self.latency.max_ms,
            },
            "failure": self.failure.as_ref().map(ToString::to_string),
        })
    }
}
