//! The real embedded history, with faults around each call and in the middle of commits.

use std::sync::Arc;

use async_trait::async_trait;
use headwater_domain::{BatchCommit, RecordedBatch, SpanAsk, StoredEvent, StreamSchema};
use headwater_history::{
    AllTimeQuery, BuildOutcome, CommitOutcome, ExplainPage, ExplainQuery, Generation, GenerationRecord, History,
    HistoryError, HistoryPage, HistoryQuery, Ownership, PartitionProgress, Resumed,
};

use crate::database::Database;
use crate::world::World;

/// Looks, of some 20 steps of SQLite's machine each, after which a commit is broken off, at most: some take fewer.
const LOOKS_MAX: u64 = 60;

/// The history as one process sees it.
pub(crate) struct SimHistory {
    pub(crate) world: Arc<World>,
    pub(crate) database: Arc<Database>,
    pub(crate) process: u64,
}

impl SimHistory {
    async fn call<T>(
        &self,
        name: &'static str,
        act: impl Future<Output = Result<T, HistoryError>>,
    ) -> Result<T, HistoryError> {
        self.world.call(self.process, name, HistoryError::Unavailable, act).await
    }

    fn real(&self) -> &impl History {
        &self.database.history
    }

    /// Commits, or is ended in the middle of it.
    async fn committed(&self, schema: &StreamSchema, batch: &BatchCommit) -> Result<CommitOutcome, HistoryError> {
        let before = self.database.next(&(schema.name.clone(), batch.partition));
        self.database.break_off_after(self.world.chance(20).then(|| self.world.below(LOOKS_MAX)));
        let outcome = self.real().commit(schema, batch).await;
        let broke_off = outcome.is_err() && self.database.broke_off();
        self.database.break_off_after(None);
        if broke_off {
            self.world.hit("commit", "broken off within");
            if self.world.fault("commit", "crash within", 500) {
                self.world.kill(self.process);
                self.world.alive(self.process).await;
            }
        }
        match &outcome {
            Ok(CommitOutcome::Committed) if before == Some(batch.next) => self.world.hit("commit", "found done"),
            Ok(CommitOutcome::Fenced { .. }) => self.world.hit("commit", "fenced"),
            Ok(CommitOutcome::Duplicates(_)) => self.world.hit("commit", "duplicates"),
            _ => {}
        }
        outcome
    }
}

#[async_trait]
impl History for SimHistory {
    async fn prepare(&self, streams: &[Arc<StreamSchema>]) -> Result<(), HistoryError> {
        self.call("prepare", self.real().prepare(streams)).await
    }

    async fn take(&self, schema: &StreamSchema, partition: i32, owner: &str) -> Result<Ownership, HistoryError> {
        let act = async {
            let ownership = self.real().take(schema, partition, owner).await?;
            self.database.took((schema.name.clone(), partition), ownership);
            Ok(ownership)
        };
        self.call("take", act).await
    }

    async fn commit(&self, schema: &StreamSchema, batch: &BatchCommit) -> Result<CommitOutcome, HistoryError> {
        self.call("commit", self.committed(schema, batch)).await
    }

    async fn span_counts(
        &self,
        schema: &StreamSchema,
        partition: i32,
        asks: &[SpanAsk],
    ) -> Result<Vec<u64>, HistoryError> {
        self.call("span_counts", self.real().span_counts(schema, partition, asks)).await
    }

    async fn batches(
        &self,
        schema: &StreamSchema,
        partition: i32,
        from: Option<i64>,
        limit: usize,
    ) -> Result<Vec<RecordedBatch>, HistoryError> {
        self.call("batches", self.real().batches(schema, partition, from, limit)).await
    }

    async fn rows(
        &self,
        schema: &StreamSchema,
        partition: i32,
        first: i64,
        before: i64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, HistoryError> {
        self.call("rows", self.real().rows(schema, partition, first, before, limit)).await
    }

    async fn resume(&self, schema: &StreamSchema, partition: i32, from: i64) -> Result<Resumed, HistoryError> {
        self.call("resume", self.real().resume(schema, partition, from)).await
    }

    async fn progress(&self, schema: &StreamSchema) -> Result<Vec<PartitionProgress>, HistoryError> {
        self.call("progress", self.real().progress(schema)).await
    }

    async fn generation(
        &self,
        schema: &StreamSchema,
        shards: u32,
        fingerprint: &str,
    ) -> Result<Generation, HistoryError> {
        self.call("generation", self.real().generation(schema, shards, fingerprint)).await
    }

    async fn generations(&self, schema: &StreamSchema) -> Result<Vec<GenerationRecord>, HistoryError> {
        self.call("generations", self.real().generations(schema)).await
    }

    async fn build_generation(&self, schema: &StreamSchema, request_id: &str) -> Result<BuildOutcome, HistoryError> {
        self.call("build_generation", self.real().build_generation(schema, request_id)).await
    }

    async fn switch_generation(&self, schema: &StreamSchema, number: i64) -> Result<bool, HistoryError> {
        self.call("switch_generation", self.real().switch_generation(schema, number)).await
    }

    async fn cancel_generation(&self, schema: &StreamSchema, number: i64) -> Result<bool, HistoryError> {
        self.call("cancel_generation", self.real().cancel_generation(schema, number)).await
    }

    async fn forget_generation(&self, schema: &StreamSchema, number: i64) -> Result<(), HistoryError> {
        self.call("forget_generation", self.real().forget_generation(schema, number)).await
    }

    async fn dropped_before_us(&self, schema: &StreamSchema) -> Result<Option<i64>, HistoryError> {
        self.call("dropped_before_us", self.real().dropped_before_us(schema)).await
    }

    async fn query(&self, schema: &StreamSchema, query: &HistoryQuery) -> Result<HistoryPage, HistoryError> {
        self.call("query", self.real().query(schema, query)).await
    }

    async fn explain(&self, schema: &StreamSchema, query: &ExplainQuery) -> Result<ExplainPage, HistoryError> {
        self.call("explain", self.real().explain(schema, query)).await
    }

    async fn all_time_distinct(
        &self,
        schema: &StreamSchema,
        query: &AllTimeQuery,
    ) -> Result<(Vec<(String, u64)>, u64), HistoryError> {
        self.call("all_time_distinct", self.real().all_time_distinct(schema, query)).await
    }

    /// By its bounds nothing would ever be old enough: the simulation prunes by itself.
    async fn prune(&self, _: &StreamSchema, _: i64, _: Option<i64>) -> Result<u64, HistoryError> {
        self.call("prune", async { Ok(0) }).await
    }

    async fn check(&self) -> Result<(), HistoryError> {
        self.call("history check", self.real().check()).await
    }
}
