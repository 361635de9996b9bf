//! A history in memory that keeps the trait's contract, and a journal of what it did for the checker.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_domain::{
    BatchCommit, Duplicate, RecordedBatch, SpanAsk, StoredEvent, StreamSchema, Verdict, span_start_us,
};
use headwater_history::{
    AllTimeQuery, CommitOutcome, Generation, History, HistoryError, HistoryPage, HistoryQuery, Ownership,
    PartitionProgress, Remembered,
};
use parking_lot::Mutex;

use crate::world::World;

/// Stream and partition.
pub(crate) type Place = (String, i32);

/// What became of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Stored(Verdict),
    Dead,
    Duplicate { of: (i32, i64) },
}

/// What the database did, in its order. Never pruned.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Taken { place: Place, epoch: i64 },
    Committed { place: Place, epoch: i64, first: i64, next: i64, outcomes: Vec<(i64, Outcome)> },
}

/// The database.
#[derive(Default)]
pub(crate) struct Database {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    offsets: BTreeMap<Place, Offsets>,
    batches: BTreeMap<(Place, i64), Recorded>,
    /// Stream, id and time to the place and offset.
    identities: BTreeMap<(String, String, i64), (i32, i64)>,
    rows: BTreeMap<(Place, i64), StoredEvent>,
    journal: Vec<Entry>,
}

#[derive(Clone, Default)]
struct Offsets {
    epoch: i64,
    next: Option<i64>,
    last: Option<Remembered>,
    newest_us: Option<i64>,
}

struct Recorded {
    batch: RecordedBatch,
    epoch: i64,
    checksum: u32,
    committed_ms: i64,
}

/// The history as one process sees it.
pub(crate) struct SimHistory {
    pub(crate) world: Arc<World>,
    pub(crate) database: Arc<Database>,
    pub(crate) process: u64,
}

impl Database {
    pub(crate) fn journal(&self) -> Vec<Entry> {
        self.state.lock().journal.clone()
    }

    pub(crate) fn next(&self, place: &Place) -> Option<i64> {
        self.state.lock().offsets.get(place).and_then(|offsets| offsets.next)
    }

    /// Forgets the batches that were committed before that time, but the newest of each partition: true where there
    /// were any.
    pub(crate) fn prune(&self, before_ms: i64) -> bool {
        let mut state = self.state.lock();
        let held = state.batches.len();
        let newest: BTreeMap<Place, i64> = state.batches.keys().cloned().collect();
        state.batches.retain(|(place, first), recorded| recorded.committed_ms >= before_ms || newest[place] == *first);
        state.batches.len() < held
    }

    fn commit(&self, world: &World, schema: &StreamSchema, batch: &BatchCommit) -> CommitOutcome {
        let place = (schema.name.clone(), batch.partition);
        let mut state = self.state.lock();
        let offsets = state.offsets.get(&place).cloned().unwrap_or_default();
        if offsets.epoch != batch.epoch || offsets.next.is_some_and(|next| next != batch.first) {
            let same = state.batches.get(&(place, batch.first)).is_some_and(|recorded| {
                recorded.batch.next == batch.next
                    && recorded.epoch == batch.epoch
                    && recorded.checksum == batch.last_checksum
            });
            if same && offsets.epoch == batch.epoch && offsets.next == Some(batch.next) {
                world.hit("commit: found done");
                return CommitOutcome::Committed;
            }
            world.hit("commit: fenced");
            return CommitOutcome::Fenced { epoch: offsets.epoch, next: offsets.next };
        }
        let identity = |row: &StoredEvent| {
            (schema.name.clone(), schema.id_of(&row.event).to_owned(), schema.time_us_of(&row.event))
        };
        let stored_already: Vec<Duplicate> = batch
            .stored
            .iter()
            .filter_map(|row| {
                let (stream, id, time_us) = identity(row);
                let &(of_partition, of_offset) = state.identities.get(&(stream, id.clone(), time_us))?;
                Some(Duplicate { offset: row.offset, id, time_us, of_partition, of_offset })
            })
            .collect();
        if !stored_already.is_empty() {
            world.hit("commit: duplicates");
            return CommitOutcome::Duplicates(stored_already);
        }
        let last =
            Remembered { offset: batch.next - 1, appended_ms: batch.last_appended_ms, checksum: batch.last_checksum };
        let newest_us = batch.stored.iter().map(|row| schema.time_us_of(&row.event)).max().max(offsets.newest_us);
        let moved = Offsets { epoch: offsets.epoch, next: Some(batch.next), last: Some(last), newest_us };
        state.offsets.insert(place.clone(), moved);
        let recorded = RecordedBatch {
            partition: batch.partition,
            first: batch.first,
            next: batch.next,
            is_start: offsets.next.is_none(),
            stored: batch.stored.clone(),
        };
        let (epoch, checksum, committed_ms) = (batch.epoch, batch.last_checksum, world.now_ms());
        state.batches.insert((place.clone(), batch.first), Recorded { batch: recorded, epoch, checksum, committed_ms });
        for row in &batch.stored {
            state.identities.insert(identity(row), (batch.partition, row.offset));
            state.rows.insert((place.clone(), row.offset), row.clone());
        }
        let stored = batch.stored.iter().map(|row| (row.offset, Outcome::Stored(row.verdict.clone())));
        let dead = batch.dead.iter().map(|letter| (letter.offset, Outcome::Dead));
        let duplicates = batch.duplicates.iter().map(|duplicate| {
            (duplicate.offset, Outcome::Duplicate { of: (duplicate.of_partition, duplicate.of_offset) })
        });
        let outcomes = stored.chain(dead).chain(duplicates).collect();
        state.journal.push(Entry::Committed { place, epoch, first: batch.first, next: batch.next, outcomes });
        CommitOutcome::Committed
    }
}

impl SimHistory {
    async fn call<T>(&self, name: &str, act: impl FnOnce() -> T) -> Result<T, HistoryError> {
        self.world.call(self.process, name, HistoryError::Unavailable, async { Ok(act()) }).await
    }
}

#[async_trait]
impl History for SimHistory {
    async fn prepare(&self, _streams: &[Arc<StreamSchema>]) -> Result<(), HistoryError> {
        self.call("prepare", || ()).await
    }

    async fn take(&self, schema: &StreamSchema, partition: i32, _owner: &str) -> Result<Ownership, HistoryError> {
        self.call("take", || {
            let place = (schema.name.clone(), partition);
            let mut state = self.database.state.lock();
            let offsets = state.offsets.entry(place.clone()).or_default();
            offsets.epoch += 1;
            let Offsets { epoch, next, last, newest_us } = offsets.clone();
            state.journal.push(Entry::Taken { place, epoch });
            Ownership { epoch, next, last, newest_us }
        })
        .await
    }

    async fn commit(&self, schema: &StreamSchema, batch: &BatchCommit) -> Result<CommitOutcome, HistoryError> {
        self.call("commit", || self.database.commit(&self.world, schema, batch)).await
    }

    async fn span_counts(
        &self,
        schema: &StreamSchema,
        partition: i32,
        asks: &[SpanAsk],
    ) -> Result<Vec<u64>, HistoryError> {
        self.call("span_counts", || {
            let place = (schema.name.clone(), partition);
            let state = self.database.state.lock();
            let count = |ask: &SpanAsk| {
                let rule = &schema.rules[ask.rule];
                let counted = |row: &StoredEvent| {
                    rule.filter.as_ref().is_none_or(|filter| filter.matches(&row.event))
                        && row.event.values[rule.per].key_text() == ask.key
                        && span_start_us(schema.time_us_of(&row.event), rule.every_s) == ask.start_us
                };
                let rows = state.rows.range((place.clone(), i64::MIN)..=(place.clone(), i64::MAX));
                rows.filter(|(_, row)| counted(row)).count() as u64
            };
            asks.iter().map(count).collect()
        })
        .await
    }

    async fn batches(
        &self,
        schema: &StreamSchema,
        partition: i32,
        from: Option<i64>,
        limit: usize,
    ) -> Result<Vec<RecordedBatch>, HistoryError> {
        self.call("batches", || {
            let place = (schema.name.clone(), partition);
            let state = self.database.state.lock();
            let kept = state.batches.range((place.clone(), from.unwrap_or(i64::MIN))..=(place, i64::MAX));
            kept.take(limit).map(|(_, recorded)| recorded.batch.clone()).collect()
        })
        .await
    }

    async fn rows(
        &self,
        schema: &StreamSchema,
        partition: i32,
        first: i64,
        before: i64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, HistoryError> {
        self.call("rows", || {
            let place = (schema.name.clone(), partition);
            let state = self.database.state.lock();
            let rows = state.rows.range((place.clone(), first)..(place, before.max(first)));
            rows.take(limit).map(|(_, row)| row.clone()).collect()
        })
        .await
    }

    async fn progress(&self, _schema: &StreamSchema) -> Result<Vec<PartitionProgress>, HistoryError> {
        Err(HistoryError::Refused("not asked for".into()))
    }

    async fn generation(&self, _: &StreamSchema, shards: u32, _: &str) -> Result<Generation, HistoryError> {
        self.call("generation", || Generation { number: 1, shards }).await
    }

    async fn current_generation(&self, _schema: &StreamSchema) -> Result<Option<Generation>, HistoryError> {
        Err(HistoryError::Refused("not asked for".into()))
    }

    async fn query(&self, _schema: &StreamSchema, _query: &HistoryQuery) -> Result<HistoryPage, HistoryError> {
        Err(HistoryError::Refused("not asked for".into()))
    }

    async fn all_time_distinct(
        &self,
        _schema: &StreamSchema,
        _query: &AllTimeQuery,
    ) -> Result<(Vec<(String, u64)>, u64), HistoryError> {
        Err(HistoryError::Refused("not asked for".into()))
    }

    /// The times are of the machine's clock, which the simulation does not look at: it prunes by its own.
    async fn prune(&self, _: &StreamSchema, _: i64, _: Option<i64>) -> Result<u64, HistoryError> {
        self.call("prune", || 0).await
    }

    async fn check(&self) -> Result<(), HistoryError> {
        Ok(())
    }
}
