//! Sends events, and writes down everything about it before and after.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use headwater_client::v1::ingest::RecordResult;
use headwater_client::v1::ingest::record_result::Result as Answered;
use headwater_client::{Client, ConnectOptions, RetryPolicy};

use super::now_ms;
use crate::event::{Body, Event, Fate, Stream};
use crate::journal::{Line, Lines, Outcome};

/// Longer than ingest waits for Kafka, so that its own answer is heard.
const CALL_MAX: Duration = Duration::from_secs(6);
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Pause before what was not acknowledged is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// An event that has no number yet.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) stream: Stream,
    pub(super) id: String,
    pub(super) time_us: i64,
    pub(super) fate: Fate,
    pub(super) body: Body,
}

/// What was acknowledged of events that were sent together.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// One for each answer that has one.
    pub(super) tokens: Vec<String>,
    /// Number and partition of what was acknowledged.
    pub(super) acknowledged: Vec<(u64, i32)>,
}

/// The one way to the ingests.
pub(super) struct Sender {
    journal: Lines,
    ingests: Vec<(String, Client)>,
    first: AtomicUsize,
    calls: AtomicU64,
    events: Mutex<u64>,
}

impl Sender {
    /// A sender to ingests by name and endpoint.
    pub(super) fn new(journal: Lines, ingests: &[(String, String)]) -> Result<Self> {
        let client = |endpoint: &String| {
            let options = ConnectOptions {
                deadline: CALL_MAX,
                connect_timeout: CONNECT_MAX,
                retry: RetryPolicy::none(),
                ..ConnectOptions::new(endpoint)
            };
            Client::connect_lazy(&options)
        };
        let ingests =
            ingests.iter().map(|(name, endpoint)| Ok((name.clone(), client(endpoint)?))).collect::<Result<_>>()?;
        Ok(Self { journal, ingests, first: AtomicUsize::new(0), calls: AtomicU64::new(0), events: Mutex::new(0) })
    }

    /// Gives events their numbers and writes them down.
    pub(super) fn declare(&self, drafts: Vec<Draft>) -> Result<Vec<Event>> {
        // Held while they are written: numbers are in the order of the lines.
        let mut next = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = Vec::with_capacity(drafts.len());
        for Draft { stream, id, time_us, fate, body } in drafts {
            events.push(Event { n: *next, stream, id, time_us, fate, body });
            *next += 1;
        }
        let lines: Vec<Line> = events.iter().cloned().map(Line::Event).collect();
        self.journal.add(&lines)?;
        Ok(events)
    }

    /// Sends events of one stream until each has an answer for good, or the time is over. Who sends events of one key waits
    /// for one call before the next.
    pub(super) async fn send(&self, stream: Stream, events: &[Event], until: Instant) -> Result<Sent> {
        let mut sent = Sent::default();
        let mut rest: Vec<&Event> = events.iter().collect();
        let mut at = self.first.fetch_add(1, Ordering::Relaxed);
        while !rest.is_empty() && Instant::now() < until {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let (name, client) = &self.ingests[at % self.ingests.len()];
            at += 1;
            let numbers = rest.iter().map(|event| event.n).collect();
            self.journal.add(&[Line::Send { call, at_ms: now_ms(), to: name.clone(), events: numbers }])?;
            let records = rest.iter().map(|event| event.record()).collect();
            let answer = client.publish(stream.name(), records).await;
            let at_ms = now_ms();
            match answer {
                Ok(answer) if answer.results.len() == rest.len() => {
                    let outcomes: Vec<Outcome> = answer.results.iter().map(outcome).collect();
                    self.journal.add(&[Line::Answer { call, at_ms, outcomes: outcomes.clone() }])?;
                    if !answer.consistency_token.is_empty() {
                        sent.tokens.push(answer.consistency_token);
                    }
                    let mut again = Vec::new();
                    for (event, outcome) in rest.into_iter().zip(outcomes) {
                        match outcome {
                            Outcome::At(partition, _) => sent.acknowledged.push((event.n, partition)),
                            Outcome::Refused(_) => {}
                            Outcome::Again(_) => again.push(event),
                        }
                    }
                    rest = again;
                }
                Ok(answer) => {
                    let why = format!("{} results for {} records", answer.results.len(), rest.len());
                    self.journal.add(&[Line::Unanswered { call, at_ms, why }])?;
                }
                Err(error) => self.journal.add(&[Line::Unanswered { call, at_ms, why: error.to_string() }])?,
            }
            if !rest.is_empty() {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
        Ok(sent)
    }
}

fn outcome(result: &RecordResult) -> Outcome {
    match &result.result {
        Some(Answered::Accepted(at)) => Outcome::At(at.partition, at.offset),
        Some(Answered::Rejected(rejected)) => Outcome::Refused(rejected.reason().as_str_name().to_owned()),
        Some(Answered::Retry(retry)) => Outcome::Again(retry.reason().as_str_name().to_owned()),
        None => Outcome::Again("no result".to_owned()),
    }
}
