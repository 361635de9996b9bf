//! The history in SQLite: one file, or memory. For one process; a second one may read the file.
//!
//! The tables are those of the history in Postgres, with SQLite's types: times are integers (microseconds since the Unix
//! epoch), `uint64` is its decimal text, a double that is NaN is the text `NaN`, and JSON is text.

mod commit;
mod explain;
mod generations;
mod prepare;
mod prune;
mod read;
mod resume;
mod table;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headwater_domain::{BatchCommit, RecordedBatch, SpanAsk, StoredEvent, StreamSchema};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};

use crate::{
    AllTimeQuery, BuildOutcome, CommitOutcome, ExplainPage, ExplainQuery, Generation, GenerationRecord, History,
    HistoryError, HistoryPage, HistoryQuery, Ownership, PartitionProgress, Resumed,
};

/// Longest wait for another process that writes to the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements that each connection keeps ready at most.
const STATEMENTS_MAX: usize = 128;

/// The history in SQLite. Writes go one after the other; where there is a file, reads do not wait for them.
///
/// The file is safe against the end of the process at any moment. When the machine loses power the last transactions
/// may be gone, whole ones and in order: their records are then read and stored once more.
pub struct SqliteHistory {
    writer: Arc<Mutex<Connection>>,
    /// The writer itself where the history is in memory.
    reader: Arc<Mutex<Connection>>,
    /// Whether the caller's thread does the work.
    in_place: bool,
}

impl SqliteHistory {
    /// Opens the file, which is made where it is missing, or a history in memory.
    ///
    /// # Errors
    /// `Refused` where the file is not a history or cannot be opened.
    pub fn open(path: Option<&Path>) -> Result<Self, HistoryError> {
        let Some(path) = path else {
            let only = Connection::open_in_memory().map_err(|error| refused(&error))?;
            configure(&only).map_err(|error| classify(&error))?;
            let only = Arc::new(Mutex::new(only));
            return Ok(Self { writer: only.clone(), reader: only, in_place: false });
        };
        let open = || {
            let connection = Connection::open(path).map_err(|error| refused(&error))?;
            configure(&connection).map_err(|error| classify(&error))?;
            Ok(Arc::new(Mutex::new(connection)))
        };
        Ok(Self { writer: open()?, reader: open()?, in_place: false })
    }

    /// A history in a connection of the caller's, worked on by the thread that calls, so that the order of all steps is
    /// the caller's: for simulations. It holds the thread up.
    ///
    /// # Errors
    /// `Refused` where the connection cannot be used.
    pub fn in_place(only: Arc<Mutex<Connection>>) -> Result<Self, HistoryError> {
        configure(&only.lock()).map_err(|error| classify(&error))?;
        Ok(Self { writer: only.clone(), reader: only, in_place: true })
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        self.on(&self.writer, work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        self.on(&self.reader, work).await
    }

    async fn on<T: Send + 'static>(
        &self,
        connection: &Arc<Mutex<Connection>>,
        work: impl FnOnce(&mut Connection) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        if self.in_place {
            return work(&mut connection.lock());
        }
        let connection = Arc::clone(connection);
        let done = tokio::task::spawn_blocking(move || work(&mut connection.lock())).await;
        done.map_err(|error| HistoryError::Unavailable(format!("the process is ending: {error}")))?
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", -32_768)
}

/// What an error of SQLite means to a caller: whether retrying can help.
fn classify(error: &rusqlite::Error) -> HistoryError {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, OperationInterrupted, OutOfMemory, SystemIoFailure,
    };
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(
            DatabaseBusy | DatabaseLocked | DiskFull | SystemIoFailure | OperationInterrupted | OutOfMemory
            | CannotOpen,
        ) => HistoryError::Unavailable(text),
        // A table that is missing is about to be made by `prepare`.
        _ if text.starts_with("no such table") => HistoryError::Unavailable(text),
        _ => HistoryError::Refused(text),
    }
}

fn refused(error: &rusqlite::Error) -> HistoryError {
    HistoryError::Refused(error.to_string())
}

#[async_trait]
impl History for SqliteHistory {
    async fn prepare(&self, streams: &[Arc<StreamSchema>]) -> Result<(), HistoryError> {
        let streams = streams.to_vec();
        self.write(move |connection| prepare::prepare(connection, &streams)).await
    }

    async fn take(&self, schema: &StreamSchema, partition: i32, owner: &str) -> Result<Ownership, HistoryError> {
        let (stream, owner) = (schema.name.clone(), owner.to_owned());
        self.write(move |connection| commit::take(connection, &stream, partition, &owner)).await
    }

    async fn commit(&self, schema: &StreamSchema, batch: &BatchCommit) -> Result<CommitOutcome, HistoryError> {
        crate::storable::check(schema, batch)?;
        let (schema, batch) = (schema.clone(), batch.clone());
        self.write(move |connection| commit::commit(connection, &schema, &batch)).await
    }

    async fn resume(&self, schema: &StreamSchema, partition: i32, from: i64) -> Result<Resumed, HistoryError> {
        let stream = schema.name.clone();
        self.write(move |connection| resume::resume(connection, &stream, partition, from)).await
    }

    async fn span_counts(
        &self,
        schema: &StreamSchema,
        partition: i32,
        asks: &[SpanAsk],
    ) -> Result<Vec<u64>, HistoryError> {
        let (schema, asks) = (schema.clone(), asks.to_vec());
        self.read(move |connection| read::span_counts(connection, &schema, partition, &asks)).await
    }

    async fn batches(
        &self,
        schema: &StreamSchema,
        partition: i32,
        from: Option<i64>,
        limit: usize,
    ) -> Result<Vec<RecordedBatch>, HistoryError> {
        let schema = schema.clone();
        self.read(move |connection| read::batches(connection, &schema, partition, from, limit)).await
    }

    async fn rows(
        &self,
        schema: &StreamSchema,
        partition: i32,
        first: i64,
        before: i64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, HistoryError> {
        let schema = schema.clone();
        self.read(move |connection| read::rows(connection, &schema, partition, first, before, limit)).await
    }

    async fn progress(&self, schema: &StreamSchema) -> Result<Vec<PartitionProgress>, HistoryError> {
        let stream = schema.name.clone();
        self.read(move |connection| read::progress(connection, &stream)).await
    }

    async fn generation(
        &self,
        schema: &StreamSchema,
        shards: u32,
        fingerprint: &str,
    ) -> Result<Generation, HistoryError> {
        let (stream, fingerprint) = (schema.name.clone(), fingerprint.to_owned());
        self.write(move |connection| generations::ensure(connection, &stream, shards, &fingerprint)).await
    }

    async fn generations(&self, schema: &StreamSchema) -> Result<Vec<GenerationRecord>, HistoryError> {
        let stream = schema.name.clone();
        self.read(move |connection| generations::generations(connection, &stream)).await
    }

    async fn build_generation(&self, schema: &StreamSchema, request_id: &str) -> Result<BuildOutcome, HistoryError> {
        let (stream, request_id) = (schema.name.clone(), request_id.to_owned());
        self.write(move |connection| generations::build(connection, &stream, &request_id)).await
    }

    async fn switch_generation(&self, schema: &StreamSchema, number: i64) -> Result<bool, HistoryError> {
        let stream = schema.name.clone();
        self.write(move |connection| generations::switch(connection, &stream, number)).await
    }

    async fn cancel_generation(&self, schema: &StreamSchema, number: i64) -> Result<bool, HistoryError> {
        let stream = schema.name.clone();
        self.write(move |connection| generations::cancel(connection, &stream, number)).await
    }

    async fn forget_generation(&self, schema: &StreamSchema, number: i64) -> Result<(), HistoryError> {
        let stream = schema.name.clone();
        self.write(move |connection| generations::forget(connection, &stream, number)).await
    }

    async fn dropped_before_us(&self, schema: &StreamSchema) -> Result<Option<i64>, HistoryError> {
        let schema = schema.clone();
        self.read(move |connection| generations::dropped_before_us(connection, &schema)).await
    }

    async fn query(&self, schema: &StreamSchema, query: &HistoryQuery) -> Result<HistoryPage, HistoryError> {
        let (schema, query) = (schema.clone(), query.clone());
        self.read(move |connection| read::query(connection, &schema, &query)).await
    }

    async fn explain(&self, schema: &StreamSchema, query: &ExplainQuery) -> Result<ExplainPage, HistoryError> {
        let (schema, query) = (schema.clone(), query.clone());
        self.read(move |connection| explain::explain(connection, &schema, &query)).await
    }

    async fn all_time_distinct(
        &self,
        schema: &StreamSchema,
        query: &AllTimeQuery,
    ) -> Result<(Vec<(String, u64)>, u64), HistoryError> {
        let (schema, query) = (schema.clone(), query.clone());
        self.read(move |connection| read::all_time_distinct(connection, &schema, &query)).await
    }

    async fn prune(
        &self,
        schema: &StreamSchema,
        batches_before_ms: i64,
        events_before_us: Option<i64>,
    ) -> Result<u64, HistoryError> {
        let schema = schema.clone();
        self.write(move |connection| prune::prune(connection, &schema, batches_before_ms, events_before_us)).await
    }

    async fn check(&self) -> Result<(), HistoryError> {
        let work = |connection: &mut Connection| {
            connection.query_row("SELECT 1", [], |_| Ok(())).map_err(|error| classify(&error))
        };
        self.read(work).await
    }
}
