//! The history in Postgres 14 or newer.
//!
//! # Tables
//! All lie in one Postgres schema, `headwater` by default. The platform's own are in `migrations/postgres`. Each stream
//! has a table of its name, partitioned by event time, with a column per field:
//!
//! | kind of field | SQL type |
//! |---|---|
//! | bool | `boolean` |
//! | int32, sint32, sfixed32, uint32, fixed32, int64, sint64, sfixed64 | `bigint` |
//! | uint64, fixed64 | `numeric(20)` |
//! | float, double | `double precision` |
//! | string, enum (its value's name) | `text COLLATE "C"` |
//! | bytes | `bytea` |
//! | google.protobuf.Timestamp | `timestamptz` (microseconds) |
//! | any other message, repeated, map | `jsonb`, which keeps what the text says and not how it is spelled |
//!
//! and after them `_partition`, `_offset`, `_appended_at`, `_rule`, `_rule_version`, `_rule_count` (null where the event
//! counts) and `_unknown` (fields that the contract does not know, as they stood on the wire). A field is known by its
//! number: a new one adds a column, a renamed one renames it, and of one that is gone the column stays.
//!
//! # Parts
//! A table has one part per UTC day. A day that is 92 days older than the batch that brings it, or more, shares a part
//! with the rest of its month (unless days of that month have parts already), and everything before the year 2000 shares
//! one: so a stream has some 400 parts after the wildest backfill. Parts are made before they are needed, beside the
//! table, and attached; that stops no writer. (id, time) is unique in the table, since an event's time tells its part.
//!
//! # Owners
//! Each partition that is taken has a connection of its own for its commits. The row of `offsets` names it by process id,
//! start and application name, so that the next owner can end exactly that session, and no other that got its id.

mod commit;
mod connection;
mod copy;
mod error;
mod explain;
mod generations;
mod partitions;
mod prepare;
mod prune;
mod read;
mod resume;
mod session;
mod table;
mod value;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headwater_domain::{BatchCommit, RecordedBatch, SpanAsk, StoredEvent, StreamSchema};

pub use connection::{OldDays, PostgresOptions};

use crate::{
    AllTimeQuery, BuildOutcome, CommitOutcome, ExplainPage, ExplainQuery, Generation, GenerationRecord, History,
    HistoryError, HistoryPage, HistoryQuery, Ownership, PartitionProgress, Resumed,
};
use connection::{Database, within};
use error::classify;
use partitions::KnownParts;
use session::Sessions;

/// Longest wait of `check`.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The history in Postgres. Needs the database only when it is asked something: while that is away, every call answers
/// `Unavailable` within a bounded time, and the next one after its return finds it again.
pub struct PostgresHistory {
    db: Database,
    known: KnownParts,
    sessions: Sessions,
}

impl PostgresHistory {
    /// Gets ready to connect; nothing is sent yet.
    ///
    /// # Errors
    /// `Refused` where the URL or the name of the schema is not one.
    pub fn connect(options: &PostgresOptions) -> Result<Self, HistoryError> {
        Ok(Self { db: Database::new(options)?, known: KnownParts::default(), sessions: Sessions::default() })
    }
}

#[async_trait]
impl History for PostgresHistory {
    async fn prepare(&self, streams: &[Arc<StreamSchema>]) -> Result<(), HistoryError> {
        for schema in streams {
            self.known.forget(&schema.name);
        }
        prepare::prepare(&self.db, streams).await
    }

    async fn take(&self, schema: &StreamSchema, partition: i32, owner: &str) -> Result<Ownership, HistoryError> {
        let (ownership, client) = self.db.bounded(session::take(&self.db, schema, partition, owner)).await?;
        self.sessions.hold(&schema.name, partition, ownership.epoch, client);
        Ok(ownership)
    }

    async fn commit(&self, schema: &StreamSchema, batch: &BatchCommit) -> Result<CommitOutcome, HistoryError> {
        self.commit_batch(schema, batch).await
    }

    async fn resume(&self, schema: &StreamSchema, partition: i32, from: i64) -> Result<Resumed, HistoryError> {
        let work = async { resume::resume(&mut self.db.client().await?, schema, partition, from).await };
        self.db.bounded(work).await
    }

    async fn span_counts(
        &self,
        schema: &StreamSchema,
        partition: i32,
        asks: &[SpanAsk],
    ) -> Result<Vec<u64>, HistoryError> {
        if asks.is_empty() {
            return Ok(Vec::new());
        }
        let work = async { read::span_counts(&self.db.client().await?, schema, partition, asks).await };
        self.db.bounded(work).await
    }

    async fn batches(
        &self,
        schema: &StreamSchema,
        partition: i32,
        from: Option<i64>,
        limit: usize,
    ) -> Result<Vec<RecordedBatch>, HistoryError> {
        let work = async { read::batches(&self.db.client().await?, schema, partition, from, limit).await };
        self.db.bounded(work).await
    }

    async fn rows(
        &self,
        schema: &StreamSchema,
        partition: i32,
        first: i64,
        before: i64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, HistoryError> {
        let work = async { read::rows(&self.db.client().await?, schema, partition, first, before, limit).await };
        self.db.bounded(work).await
    }

    async fn progress(&self, schema: &StreamSchema) -> Result<Vec<PartitionProgress>, HistoryError> {
        let work = async { read::progress(&self.db.client().await?, schema).await };
        self.db.bounded(work).await
    }

    async fn generation(
        &self,
        schema: &StreamSchema,
        shards: u32,
        fingerprint: &str,
    ) -> Result<Generation, HistoryError> {
        let namespace = &self.db.namespace;
        let work =
            async { generations::ensure(&mut self.db.client().await?, namespace, schema, shards, fingerprint).await };
        self.db.bounded(work).await
    }

    async fn generations(&self, schema: &StreamSchema) -> Result<Vec<GenerationRecord>, HistoryError> {
        self.db.bounded(async { generations::generations(&**self.db.client().await?, schema).await }).await
    }

    async fn build_generation(&self, schema: &StreamSchema, request_id: &str) -> Result<BuildOutcome, HistoryError> {
        let namespace = &self.db.namespace;
        let work = async { generations::build(&mut self.db.client().await?, namespace, schema, request_id).await };
        self.db.bounded(work).await
    }

    async fn switch_generation(&self, schema: &StreamSchema, number: i64) -> Result<bool, HistoryError> {
        let namespace = &self.db.namespace;
        let work = async { generations::switch(&mut self.db.client().await?, namespace, schema, number).await };
        self.db.bounded(work).await
    }

    async fn cancel_generation(&self, schema: &StreamSchema, number: i64) -> Result<bool, HistoryError> {
        let namespace = &self.db.namespace;
        let work = async { generations::cancel(&mut self.db.client().await?, namespace, schema, number).await };
        self.db.bounded(work).await
    }

    async fn forget_generation(&self, schema: &StreamSchema, number: i64) -> Result<(), HistoryError> {
        self.db.bounded(async { generations::forget(&**self.db.client().await?, schema, number).await }).await
    }

    async fn dropped_before_us(&self, schema: &StreamSchema) -> Result<Option<i64>, HistoryError> {
        self.db.bounded(async { generations::dropped_before_us(&**self.db.client().await?, schema).await }).await
    }

    async fn query(&self, schema: &StreamSchema, query: &HistoryQuery) -> Result<HistoryPage, HistoryError> {
        let work = async { read::query(&self.db.client().await?, schema, query).await };
        self.db.bounded(work).await
    }

    async fn explain(&self, schema: &StreamSchema, query: &ExplainQuery) -> Result<ExplainPage, HistoryError> {
        let work = async { explain::explain(&self.db.client().await?, schema, query).await };
        self.db.bounded(work).await
    }

    async fn all_time_distinct(
        &self,
        schema: &StreamSchema,
        query: &AllTimeQuery,
    ) -> Result<(Vec<(String, u64)>, u64), HistoryError> {
        let work = async { read::all_time_distinct(&self.db.client().await?, schema, query).await };
        self.db.bounded(work).await
    }

    async fn prune(
        &self,
        schema: &StreamSchema,
        batches_before_ms: i64,
        events_before_us: Option<i64>,
    ) -> Result<u64, HistoryError> {
        self.known.forget(&schema.name);
        prune::prune(&self.db, schema, batches_before_ms, events_before_us).await
    }

    async fn check(&self) -> Result<(), HistoryError> {
        let work = async {
            let client = self.db.client().await?;
            client.simple_query("SELECT 1").await.map(drop).map_err(|error| classify(&error))
        };
        within(CHECK_TIMEOUT, work).await
    }
}
