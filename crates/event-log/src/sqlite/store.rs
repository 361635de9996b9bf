use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::sync::watch;

use super::options::{Clock, Durability, SqliteLogOptions};
use super::worker::Append;
use crate::{EventLogError, LogRecord, Position, TopicPartition, TopicSpec, Watermarks};

/// Version of the tables, in the file's `user_version`.
const VERSION: i64 = 1;
/// Records of a partition that are deleted at a time.
const DELETE_RECORDS_MAX: i64 = 5_000;
/// Statements that are kept prepared: two or three per partition.
const STATEMENTS_MAX: usize = 512;

/// How long a file that another process is about to leave is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

const TABLES: &str = "
    CREATE TABLE topics (name TEXT PRIMARY KEY, retention_ms INTEGER NOT NULL) WITHOUT ROWID;
    -- The records of a partition are in the table records_<id>, so that each grows at its end only.
    CREATE TABLE partitions (
        id INTEGER PRIMARY KEY,
        topic TEXT NOT NULL REFERENCES topics,
        partition INTEGER NOT NULL,
        low INTEGER NOT NULL,
        high INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        UNIQUE (topic, partition)
    );
    CREATE TABLE hints (
        \"group\" TEXT, topic TEXT, partition INTEGER, next INTEGER NOT NULL,
        PRIMARY KEY (\"group\", topic, partition)
    ) WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// The database: used by one thread.
pub(super) struct Store {
    connection: Connection,
    topics: HashMap<String, StoredTopic>,
    clock: Clock,
    retention_ms_max: i64,
    retention_records_max: i64,
    retention_interval_ms: i64,
    retention_done_ms: i64,
    hints: HashMap<(String, TopicPartition), i64>,
}

struct StoredTopic {
    partitions: Vec<StoredPartition>,
    retention_ms: i64,
}

struct StoredPartition {
    id: i64,
    marks: watch::Sender<Watermarks>,
    last_ms: i64,
    insert: String,
    select: String,
}

/// What is to be read.
pub(super) struct ReadAsk {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) from: i64,
    pub(super) records_max: usize,
    pub(super) bytes_max: usize,
}

impl Store {
    pub(super) fn open(path: Option<&Path>, options: &SqliteLogOptions) -> Result<Self, EventLogError> {
        let refused = |error: rusqlite::Error| match path {
            Some(path) => EventLogError::Refused(format!("the log {} cannot be opened: {error}", path.display())),
            None => EventLogError::Refused(error.to_string()),
        };
        let connection = match path {
            Some(path) => Connection::open(path),
            None => Connection::open_in_memory(),
        };
        let connection = connection.and_then(|c| prepare(c, options.durability)).map_err(refused)?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(refused)?;
        match version {
            0 => connection.execute_batch(&format!("BEGIN; {TABLES} COMMIT;")).map_err(refused)?,
            VERSION => {}
            newer => {
                return Err(EventLogError::Refused(format!("the log's version is {newer}, and {VERSION} is known")));
            }
        }
        let mut store = Self {
            connection,
            topics: HashMap::new(),
            clock: options.clock.clone(),
            retention_ms_max: options.retention_ms,
            retention_records_max: i64::try_from(options.retention_records_max).unwrap_or(i64::MAX),
            retention_interval_ms: options.retention_interval.as_millis() as i64,
            retention_done_ms: i64::MIN,
            hints: HashMap::new(),
        };
        store.load().map_err(refused)?;
        Ok(store)
    }

    /// The topics, each with the watermarks of its partitions.
    pub(super) fn topics(&self) -> impl Iterator<Item = (&String, Vec<watch::Receiver<Watermarks>>)> {
        self.topics.iter().map(|(name, topic)| (name, topic.marks()))
    }

    /// Makes the topic where it is missing.
    pub(super) fn ensure(&mut self, spec: &TopicSpec) -> Result<Vec<watch::Receiver<Watermarks>>, EventLogError> {
        if let Some(topic) = self.topics.get(&spec.name) {
            return Ok(topic.marks());
        }
        let partitions = in_transaction(&mut self.connection, |transaction| {
            let retention_ms = if spec.retention_ms < 0 { i64::MAX } else { spec.retention_ms };
            transaction.execute("INSERT INTO topics VALUES (?, ?)", params![spec.name, retention_ms])?;
            let mut partitions = Vec::new();
            for partition in 0..spec.partitions {
                transaction.execute(
                    "INSERT INTO partitions (topic, partition, low, high, last_ms) VALUES (?, ?, 0, 0, 0)",
                    params![spec.name, partition],
                )?;
                let id = transaction.last_insert_rowid();
                transaction.execute_batch(&format!(
                    "CREATE TABLE records_{id} (offset INTEGER PRIMARY KEY, appended_ms INTEGER NOT NULL, key BLOB, value BLOB)"
                ))?;
                partitions.push(StoredPartition::new(id, Watermarks { low: 0, high: 0 }, 0));
            }
            Ok(StoredTopic { partitions, retention_ms })
        });
        let topic = partitions.map_err(unavailable)?;
        let marks = topic.marks();
        self.topics.insert(spec.name.clone(), topic);
        Ok(marks)
    }

    /// Appends all in one transaction; the results are those of each call.
    pub(super) fn append(
        &mut self,
        appends: &mut [Append],
    ) -> Result<Vec<Vec<Result<Position, EventLogError>>>, EventLogError> {
        let now_ms = (self.clock)();
        let topics = &mut self.topics;
        // What the partitions become, once it is committed: by topic and partition.
        let mut moved: HashMap<(String, i32), (Watermarks, i64)> = HashMap::new();
        let results = in_transaction(&mut self.connection, |transaction| {
            let mut all = Vec::with_capacity(appends.len());
            for append in appends.iter() {
                let mut results: Vec<_> = append.records.iter().map(|_| Err(EventLogError::QueueFull)).collect();
                // By partition, so that each statement is looked up once.
                let mut order: Vec<(i32, usize)> = Vec::with_capacity(append.records.len());
                for (index, record) in append.records.iter().enumerate() {
                    match record {
                        Ok((partition, _)) => order.push((*partition, index)),
                        Err(error) => results[index] = Err(error.clone()),
                    }
                }
                order.sort_unstable();
                for group in order.chunk_by(|a, b| a.0 == b.0) {
                    let number = group[0].0;
                    let stored = topics.get(&append.topic).and_then(|topic| topic.partitions.get(number as usize));
                    let Some(stored) = stored else {
                        for &(_, index) in group {
                            results[index] = Err(EventLogError::UnknownTopic(append.topic.clone()));
                        }
                        continue;
                    };
                    let (marks, last_ms) = moved
                        .entry((append.topic.clone(), number))
                        .or_insert_with(|| (*stored.marks.borrow(), stored.last_ms));
                    *last_ms = now_ms.max(*last_ms);
                    let mut insert = transaction.prepare_cached(&stored.insert)?;
                    for &(partition, index) in group {
                        let Ok((_, record)) = &append.records[index] else { continue };
                        let key = (!record.key.is_empty()).then_some(&record.key[..]);
                        insert.execute(params![marks.high, *last_ms, key, &record.value[..]])?;
                        results[index] = Ok(Position { partition, offset: marks.high });
                        marks.high += 1;
                    }
                }
                all.push(results);
            }
            let mut update = transaction.prepare_cached("UPDATE partitions SET high = ?, last_ms = ? WHERE id = ?")?;
            for ((topic, partition), (marks, last_ms)) in &moved {
                update.execute(params![marks.high, last_ms, topics[topic].partitions[*partition as usize].id])?;
            }
            Ok(all)
        });
        let results = results.map_err(unavailable)?;
        for ((topic, partition), (marks, last_ms)) in moved {
            if let Some(topic) = topics.get_mut(&topic) {
                let partition = &mut topic.partitions[partition as usize];
                partition.last_ms = last_ms;
                partition.marks.send_replace(marks);
            }
        }
        Ok(results)
    }

    /// Reads a partition, from an offset that it holds.
    pub(super) fn read(&self, ask: &ReadAsk) -> Result<Vec<LogRecord>, EventLogError> {
        let topic = self.topics.get(&ask.topic);
        let partition = topic.and_then(|topic| topic.partitions.get(ask.partition as usize));
        let partition = partition.ok_or_else(|| EventLogError::UnknownTopic(ask.topic.clone()))?;
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut select = self.connection.prepare_cached(&partition.select).map_err(unavailable)?;
        let limit = i64::try_from(ask.records_max.max(1)).unwrap_or(i64::MAX);
        let mut rows = select.query(params![ask.from, limit]).map_err(unavailable)?;
        while let Some(row) = rows.next().map_err(unavailable)? {
            let record = record_of(row).map_err(unavailable)?;
            bytes +=
                record.key.as_ref().map_or(0, |key| key.len()) + record.value.as_ref().map_or(0, |value| value.len());
            records.push(record);
            if bytes >= ask.bytes_max {
                break;
            }
        }
        Ok(records)
    }

    /// Remembers how far a group is, until it is kept with the next care.
    pub(super) fn hint(&mut self, group: String, partition: TopicPartition, next: i64) {
        self.hints.insert((group, partition), next);
    }

    /// Deletes old records, some at a time, and keeps the hints; at most so often as the options say.
    pub(super) fn care(&mut self) -> rusqlite::Result<()> {
        let now_ms = (self.clock)();
        // The clock may step back; it is as good a reason as any.
        if (0..self.retention_interval_ms).contains(&now_ms.saturating_sub(self.retention_done_ms)) {
            return Ok(());
        }
        self.keep_hints()?;
        let mut done = true;
        for topic in self.topics.values() {
            let oldest_ms = now_ms.saturating_sub(topic.retention_ms.min(self.retention_ms_max));
            for partition in &topic.partitions {
                let marks = *partition.marks.borrow();
                let low = self.low_after(partition, marks, oldest_ms)?;
                if low > marks.low {
                    in_transaction(&mut self.connection, |transaction| {
                        let delete = format!("DELETE FROM records_{} WHERE offset < ?", partition.id);
                        transaction.prepare_cached(&delete)?.execute([low])?;
                        let mut update = transaction.prepare_cached("UPDATE partitions SET low = ? WHERE id = ?")?;
                        update.execute([low, partition.id]).map(|_| ())
                    })?;
                    partition.marks.send_modify(|marks| marks.low = low);
                    // More may be too old: then the rest is deleted after the next request, and not all at once.
                    done &= low - marks.low < DELETE_RECORDS_MAX;
                }
            }
        }
        if done {
            self.retention_done_ms = now_ms;
        }
        Ok(())
    }

    /// Writes down how far the groups are.
    pub(super) fn keep_hints(&mut self) -> rusqlite::Result<()> {
        if self.hints.is_empty() {
            return Ok(());
        }
        let hints = std::mem::take(&mut self.hints);
        in_transaction(&mut self.connection, |transaction| {
            let mut replace = transaction.prepare_cached("INSERT OR REPLACE INTO hints VALUES (?, ?, ?, ?)")?;
            for ((group, partition), next) in &hints {
                replace.execute(params![group, partition.topic, partition.partition, next])?;
            }
            Ok(())
        })
    }

    /// The oldest offset that is to be kept, or as near to it as may be deleted at a time.
    fn low_after(&self, partition: &StoredPartition, marks: Watermarks, oldest_ms: i64) -> rusqlite::Result<i64> {
        let end = marks.high.min(marks.low + DELETE_RECORDS_MAX);
        let low = end.min(marks.high.saturating_sub(self.retention_records_max)).max(marks.low);
        // Times do not step back within a partition, so that the first record that is young enough ends the search.
        let young = format!(
            "SELECT offset FROM records_{} WHERE offset >= ? AND offset < ? AND appended_ms >= ? ORDER BY offset LIMIT 1",
            partition.id
        );
        let mut young = self.connection.prepare_cached(&young)?;
        let young: Option<i64> = young.query_row([low, end, oldest_ms], |row| row.get(0)).optional()?;
        Ok(young.unwrap_or(end))
    }

    fn load(&mut self) -> rusqlite::Result<()> {
        let mut topics = self.connection.prepare("SELECT name, retention_ms FROM topics")?;
        let rows = topics.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for row in rows {
            let (name, retention_ms): (String, i64) = row?;
            let mut partitions = self
                .connection
                .prepare("SELECT id, low, high, last_ms FROM partitions WHERE topic = ? ORDER BY partition")?;
            let partitions = partitions.query_map([&name], |row| {
                let marks = Watermarks { low: row.get(1)?, high: row.get(2)? };
                Ok(StoredPartition::new(row.get(0)?, marks, row.get(3)?))
            })?;
            let partitions = partitions.collect::<rusqlite::Result<_>>()?;
            self.topics.insert(name, StoredTopic { partitions, retention_ms });
        }
        Ok(())
    }
}

impl StoredTopic {
    fn marks(&self) -> Vec<watch::Receiver<Watermarks>> {
        self.partitions.iter().map(|partition| partition.marks.subscribe()).collect()
    }
}

impl StoredPartition {
    fn new(id: i64, marks: Watermarks, last_ms: i64) -> Self {
        Self {
            id,
            marks: watch::Sender::new(marks),
            last_ms,
            insert: format!("INSERT INTO records_{id} VALUES (?, ?, ?, ?)"),
            select: format!(
                "SELECT offset, appended_ms, key, value FROM records_{id} WHERE offset >= ? ORDER BY offset LIMIT ?"
            ),
        }
    }
}

fn prepare(connection: Connection, durability: Durability) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match durability {
        Durability::Machine => "FULL",
        Durability::Process => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // Each checkpoint writes pages that many commits have changed: rarely is cheaper. 16 MiB.
    connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

fn record_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<LogRecord> {
    let key: Option<Vec<u8>> = row.get(2)?;
    let value: Option<Vec<u8>> = row.get(3)?;
    Ok(LogRecord {
        offset: row.get(0)?,
        appended_ms: row.get(1)?,
        key: key.map(Into::into),
        value: value.map(Into::into),
    })
}

fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction()?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

fn unavailable(error: rusqlite::Error) -> EventLogError {
    EventLogError::Unavailable(error.to_string())
}
