use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{Ack, PublishOptions};
use crate::retry::Backoff;
use crate::v1::ingest::{Record, RecordResult, record_result};

/// A batch from its sending to its last result.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) sequence: u64,
    records: Vec<Record>,
    results: Vec<Option<RecordResult>>,
    /// Indexes of the records that are sent again; none while all are sent for the first time.
    again: Option<Vec<usize>>,
    tokens: Vec<String>,
    attempts: u32,
    resent: usize,
    backoff: Option<Backoff>,
    give_up_at: Option<Instant>,
    room: OwnedSemaphorePermit,
}

/// What an answer made of a batch.
#[derive(Debug)]
pub(super) enum Settled {
    /// Every record has its last result.
    All,
    /// Some are to be sent again after this time.
    Again(Duration),
}

impl Batch {
    pub(super) fn new(sequence: u64, records: Vec<Record>, room: OwnedSemaphorePermit) -> Self {
        Self {
            sequence,
            results: vec![None; records.len()],
            records,
            again: None,
            tokens: Vec::new(),
            attempts: 0,
            resent: 0,
            backoff: None,
            give_up_at: None,
            room,
        }
    }

    /// The records that have no last result yet, for sending.
    pub(super) fn take_up(&mut self, options: &PublishOptions, now: Instant) -> Vec<Record> {
        if self.attempts > 0 {
            self.resent += self.again.as_ref().map_or(self.records.len(), Vec::len);
        }
        self.attempts += 1;
        self.give_up_at.get_or_insert(now + options.give_up_after);
        match &self.again {
            None => self.records.clone(),
            Some(indexes) => indexes.iter().map(|&index| self.records[index].clone()).collect(),
        }
    }

    /// Takes in the results of what was sent.
    ///
    /// # Errors
    /// A sentence, where they are not as many as the records.
    pub(super) fn settle(
        &mut self,
        results: Vec<RecordResult>,
        token: String,
        options: &PublishOptions,
        now: Instant,
    ) -> Result<Settled, String> {
        let sent = self.again.as_ref().map_or(self.records.len(), Vec::len);
        if results.len() != sent {
            return Err(format!("{} results for {sent} records of batch {}", results.len(), self.sequence));
        }
        let mut open = Vec::new();
        let mut asked = Duration::ZERO;
        for (place, result) in results.into_iter().enumerate() {
            let index = self.again.as_ref().map_or(place, |indexes| indexes[place]);
            match &result.result {
                Some(record_result::Result::Retry(retry)) => {
                    let delay = retry.retry_delay.and_then(|delay| Duration::try_from(delay).ok());
                    asked = asked.max(delay.unwrap_or_default());
                    open.push(index);
                }
                Some(_) => {}
                None => return Err(format!("a result of batch {} says nothing", self.sequence)),
            }
            self.results[index] = Some(result);
        }
        if !token.is_empty() {
            self.tokens.push(token);
        }
        if open.is_empty() {
            return Ok(Settled::All);
        }
        let wait = self.backoff.get_or_insert_with(|| options.retry.backoff()).next_wait(Some(asked));
        match wait {
            Some(wait) if self.give_up_at.is_none_or(|end| now + wait < end) => {
                self.again = Some(open);
                Ok(Settled::Again(wait))
            }
            _ => Ok(Settled::All),
        }
    }

    /// The acknowledgement, with its part of the window.
    pub(super) fn into_ack(self) -> (Ack, OwnedSemaphorePermit) {
        let ack = Ack {
            sequence: self.sequence,
            results: self.results.into_iter().map(Option::unwrap_or_default).collect(),
            consistency_tokens: self.tokens,
            attempts: self.attempts,
            resent: self.resent,
        };
        (ack, self.room)
    }
}
