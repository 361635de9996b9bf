//! The work on one partition: from its reader to the history.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use headwater_contracts::StreamContract;
use headwater_domain::{BatchCommit, DeadLetter, RuleCounts};
use headwater_event_log::{EventLogError, LogRecord, NewRecord, PartitionReader, RegistryError, TopicPartition};
use headwater_history::{CommitOutcome, HistoryError, Ownership, Remembered};
use headwater_planted::{self as planted, Bug};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, watch};
use tracing::warn;

use crate::assignment::{Hint, Shared};
use crate::batch::Batch;
use crate::decode::{Arrived, Decoded, decode};
use crate::follow::CommittedBatch;
use crate::schema_ids::UnknownIds;

/// A topic cannot be deleted and made anew within less: the controller writes down each by itself.
const MADE_ANEW_MS_MIN: i64 = 20;

/// Why the work on a partition ended.
#[derive(Debug, Error)]
pub(crate) enum Stop {
    /// Another owner has it.
    #[error("another owner has the partition: epoch {epoch}, offset {next:?}")]
    Fenced { epoch: i64, next: Option<i64> },
    /// The reader is done.
    #[error(transparent)]
    Log(#[from] EventLogError),
    /// The history refuses for good.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The registry refuses for good.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The topic may not be the one that was read: it has to be looked at anew.
    #[error("everything that the log has may be newer than offset {offset}, which was read")]
    MaybeOtherTopic { offset: i64 },
    /// The topic is not the one that was read.
    #[error("the record at offset {offset} is not the one that was read: the topic was made anew")]
    OtherTopic { offset: i64 },
}

/// What the work on a partition needs.
pub(crate) struct PartitionWork {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stream: Arc<StreamContract>,
    pub(crate) place: TopicPartition,
    pub(crate) ownership: Ownership,
    /// Offset of the first record that is not stored, in the history.
    pub(crate) next: i64,
    /// The record before it, where the reader begins with it. Its offset is the log's.
    pub(crate) remembered: Option<Remembered>,
    /// Hints for the log, lossy.
    pub(crate) hints: mpsc::Sender<Hint>,
    /// Batches for live statistics, lossy: what a slow follower misses is replayed from the history.
    pub(crate) batches: broadcast::Sender<Arc<CommittedBatch>>,
    /// The offset that the history has.
    pub(crate) committed: watch::Sender<Option<i64>>,
    /// Offset in the log, and time, of the last record up to which the log was seen to be the same.
    pub(crate) last_read: Option<(i64, i64)>,
    /// Whether it was told that events lie on another partition than their key's.
    pub(crate) has_told_misplaced: bool,
}

impl PartitionWork {
    /// Works until the partition is lost or cannot go on.
    pub(crate) async fn run(mut self, mut reader: Box<dyn PartitionReader>) -> Stop {
        let mut counts = RuleCounts::new(self.ownership.newest_us, self.shared.options.rule_spans_max);
        loop {
            match self.step(reader.as_mut(), &mut counts).await {
                Ok(()) => {}
                Err(stop) => return stop,
            }
        }
    }

    async fn step(&mut self, reader: &mut dyn PartitionReader, counts: &mut RuleCounts) -> Result<(), Stop> {
        let options = &self.shared.options;
        let read = reader.read(options.batch_records_max, options.batch_bytes_max, options.batch_linger).await;
        let records = read.map_err(|error| match error {
            // Only the record that was read before was removed, since the log's ends were looked at.
            EventLogError::OffsetOutOfRange { offset, low, high, .. }
                if self.remembered.is_some() && (low..=high).contains(&(self.next - self.ownership.log_shift)) =>
            {
                Stop::MaybeOtherTopic { offset }
            }
            error => Stop::Log(error),
        })?;
        let records = self.verified(records)?;
        self.check_log(&records).await?;
        let records = self.shifted(records);
        let Some(last) = records.last() else { return Ok(()) };
        let last = (last.offset, last.appended_ms, checksum(last));
        let decoded = self.decoded(&records).await?;
        let batch = Batch::new(&self.stream.schema, self.place.partition, self.next, last, decoded);
        self.copy_dead_letters(batch.dead()).await?;
        if planted::is(Bug::OffsetBeforeRows) {
            let _ = self.hints.try_send((self.place.clone(), last.0 + 1));
        }
        let misplaced = self.misplaced(&batch);
        let commit = self.store(batch, counts).await?;
        self.tell_misplaced(misplaced);
        let is_start = self.ownership.next.is_none();
        self.ownership.next = Some(commit.next);
        self.next = commit.next;
        self.committed.send_replace(Some(commit.next));
        let batch = CommittedBatch { first: commit.first, next: commit.next, is_start, stored: commit.stored };
        // Nobody listens where no generation is filled.
        let _ = self.batches.send(Arc::new(batch));
        // A hint that does not fit is made up for by the next.
        let _ = self.hints.try_send((self.place.clone(), self.next - self.ownership.log_shift));
        Ok(())
    }

    /// Drops the remembered record, which only shows that the topic is still the same one.
    fn verified(&mut self, mut records: Vec<LogRecord>) -> Result<Vec<LogRecord>, Stop> {
        if let Some(remembered) = self.remembered.take()
            && let Some(first) = records.first()
        {
            let same = first.offset == remembered.offset
                && first.appended_ms == remembered.appended_ms
                && checksum(first) == remembered.checksum;
            if !same {
                return Err(Stop::OtherTopic { offset: remembered.offset });
            }
            records.remove(0);
        }
        Ok(records)
    }

    /// Looks whether the log still is the one that was read, where it may have been made anew between two records: a log
    /// that is read on at an offset says nothing of that. One that does not answer now is looked at with the next batch:
    /// what was read before an outage is not to wait for its end.
    async fn check_log(&mut self, records: &[LogRecord]) -> Result<(), Stop> {
        let Some(last) = records.last() else { return Ok(()) };
        let Some((offset, appended_ms)) = self.last_read else {
            self.last_read = Some((last.offset, last.appended_ms));
            return Ok(());
        };
        let mut before_ms = appended_ms;
        let after_gap = |record: &LogRecord| {
            record.appended_ms - std::mem::replace(&mut before_ms, record.appended_ms) > MADE_ANEW_MS_MIN
        };
        if records.iter().any(after_gap) {
            match self.shared.outside.log.may_be_anew(&self.place, offset, appended_ms).await {
                Ok(false) => {}
                Ok(true) => return Err(Stop::MaybeOtherTopic { offset }),
                Err(EventLogError::Unavailable(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.last_read = Some((last.offset, last.appended_ms));
        Ok(())
    }

    /// Gives records their offsets in the history: the log's, until a topic was made anew.
    fn shifted(&self, mut records: Vec<LogRecord>) -> Vec<LogRecord> {
        if self.ownership.log_shift != 0 {
            records.iter_mut().for_each(|record| record.offset += self.ownership.log_shift);
        }
        records
    }

    /// Events of a batch that their keys belong to another partition of.
    fn misplaced(&self, batch: &Batch) -> u64 {
        let schema = &self.stream.schema;
        let elsewhere =
            |arrived: &&Arrived| self.shared.spread.is_elsewhere(&self.place, schema.key_of(&arrived.event).as_bytes());
        batch.events.iter().filter(elsewhere).count() as u64
    }

    fn tell_misplaced(&mut self, events: u64) {
        if events == 0 {
            return;
        }
        self.shared.metrics.misplaced(&self.place.topic, events);
        if !self.has_told_misplaced {
            self.has_told_misplaced = true;
            warn!(
                topic = self.place.topic,
                partition = self.place.partition,
                "events lie on another partition than their key's: rules count each partition by itself"
            );
        }
    }

    async fn decoded(&self, records: &[LogRecord]) -> Result<Vec<Decoded>, Stop> {
        let (mut decoded, unknown) = (Vec::with_capacity(records.len()), UnknownIds::default());
        for record in records {
            let call = || decode(&self.stream, &self.shared.schemas, &unknown, record);
            decoded.push(self.shared.registry(call).await?);
        }
        Ok(decoded)
    }

    async fn store(&self, mut batch: Batch, counts: &mut RuleCounts) -> Result<BatchCommit, Stop> {
        let schema = &self.stream.schema;
        let history = &self.shared.outside.history;
        loop {
            let asks = counts.unknown(schema, batch.events.iter().map(|arrived| &arrived.event));
            if !asks.is_empty() {
                let ask = || history.span_counts(schema, self.place.partition, &asks);
                let answers = self.shared.history(ask).await?;
                for (ask, count) in asks.iter().cloned().zip(answers) {
                    counts.learn(ask, count);
                }
            }
            let commit = batch.judged(schema, counts, self.ownership.epoch);
            let began = Instant::now();
            match self.shared.history(|| history.commit(schema, &commit)).await? {
                CommitOutcome::Committed => {
                    counts.keep();
                    self.shared.metrics.committed(&schema.name, &commit, began.elapsed().as_secs_f64());
                    return Ok(commit);
                }
                CommitOutcome::Fenced { epoch, next } => return Err(Stop::Fenced { epoch, next }),
                CommitOutcome::Duplicates(stored) => {
                    counts.undo();
                    batch.take_out(stored);
                }
            }
        }
    }

    /// The dead letters' topic has each at least once: it is written before the history is.
    async fn copy_dead_letters(&self, letters: &[DeadLetter]) -> Result<(), Stop> {
        let topic = format!("{}{}", self.stream.schema.name, self.shared.options.dead_letter_suffix);
        for chunk in letters.chunks(self.shared.options.batch_records_max) {
            let records: Vec<NewRecord> = chunk.iter().map(|letter| self.dead_letter_record(letter)).collect();
            self.shared
                .log(|| async {
                    let results = self.shared.outside.log.append(&topic, records.clone()).await;
                    results
                        .into_iter()
                        .find_map(|result| match result {
                            // Too large with its headers: the history has it whole, and the copy cannot be had.
                            Ok(_) | Err(EventLogError::RecordTooLarge { .. }) => None,
                            Err(error) => Some(error),
                        })
                        .map_or(Ok(()), Err)
                })
                .await?;
        }
        Ok(())
    }

    /// The copy of a dead letter. It names the place in the log.
    fn dead_letter_record(&self, letter: &DeadLetter) -> NewRecord {
        let text = |text: String| Bytes::from(text.into_bytes());
        let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(Bytes::from).unwrap_or_default();
        NewRecord {
            key: bytes(&letter.key),
            value: bytes(&letter.value),
            headers: vec![
                ("headwater-topic".into(), text(self.place.topic.clone())),
                ("headwater-partition".into(), text(self.place.partition.to_string())),
                ("headwater-offset".into(), text((letter.offset - self.ownership.log_shift).to_string())),
                ("headwater-reason".into(), text(letter.reason.name().to_owned())),
                ("headwater-field".into(), text(letter.field.clone())),
                ("headwater-detail".into(), text(letter.detail.clone())),
            ],
        }
    }
}

fn checksum(record: &LogRecord) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(record.key.as_deref().unwrap_or_default());
    hasher.update(&[0]);
    hasher.update(record.value.as_deref().unwrap_or_default());
    hasher.finalize()
}
