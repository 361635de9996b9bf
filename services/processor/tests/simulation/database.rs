//! The database of a simulation: the real embedded history in memory, and what it holds in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use headwater_domain::{StreamSchema, Verdict};
use headwater_event_log::TopicPartition;
use headwater_history::sqlite::SqliteHistory;
use headwater_history::{History, Ownership, Resumed};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Stream and partition.
pub(crate) type Place = (String, i32);

/// Steps of SQLite's machine between two looks whether the transaction is to be broken off.
const STEPS_A_LOOK: i32 = 20;

/// What became of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Its row has this id and this time, in microseconds since the Unix epoch.
    Stored {
        verdict: Verdict,
        id: String,
        time_us: i64,
    },
    Dead,
    Duplicate {
        of: (i32, i64),
    },
}

/// A batch row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BatchRow {
    pub(crate) epoch: i64,
    pub(crate) next: i64,
    pub(crate) is_start: bool,
    /// Rows it says to have: stored, dead and duplicates.
    pub(crate) rows: [i64; 3],
}

/// A stretch of a partition in the history, of one log.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Which of the topics of that name has it.
    pub(crate) made: u32,
    /// What is added to an offset of the log.
    pub(crate) shift: i64,
    /// Its offsets in the history.
    pub(crate) first: i64,
    pub(crate) next: i64,
}

/// Everything that the database holds, and what was pruned of it.
#[derive(Default)]
pub(crate) struct Evidence {
    /// Who took a partition, and at which offset, in order.
    pub(crate) taken: Vec<(Place, Ownership)>,
    /// By place and first offset.
    pub(crate) batches: BTreeMap<(Place, i64), BatchRow>,
    /// By place and offset; a record that is in two places is there twice.
    pub(crate) outcomes: BTreeMap<(Place, i64), Vec<Outcome>>,
    /// Where each partition stands.
    pub(crate) offsets: BTreeMap<Place, i64>,
    /// What each partition has of which log.
    pub(crate) segments: BTreeMap<Place, Vec<Segment>>,
}

/// The database.
pub(crate) struct Database {
    connection: Arc<Mutex<Connection>>,
    pub(crate) history: SqliteHistory,
    schemas: Vec<Arc<StreamSchema>>,
    /// Looks until the transaction is broken off; none where negative.
    break_off: Arc<AtomicI64>,
    kept: Mutex<Kept>,
}

/// What the database does not hold, or not for ever.
#[derive(Default)]
struct Kept {
    taken: Vec<(Place, Ownership)>,
    batches: BTreeMap<(Place, i64), BatchRow>,
    duplicates: BTreeMap<(Place, i64), (i32, i64)>,
    /// All but the last of each partition have ended.
    segments: BTreeMap<Place, Vec<Segment>>,
}

impl Database {
    pub(crate) fn new(schemas: Vec<Arc<StreamSchema>>) -> Self {
        let connection = Connection::open_in_memory().unwrap();
        let break_off = Arc::new(AtomicI64::new(-1));
        let looks = Arc::clone(&break_off);
        let breaks_off = move || looks.load(Ordering::Relaxed) >= 0 && looks.fetch_sub(1, Ordering::Relaxed) == 0;
        connection.progress_handler(STEPS_A_LOOK, Some(breaks_off)).unwrap();
        let connection = Arc::new(Mutex::new(connection));
        let history = SqliteHistory::in_place(Arc::clone(&connection)).unwrap();
        Self { connection, history, schemas, break_off, kept: Mutex::default() }
    }

    /// Breaks off what is done next after so many looks, unless it is done by then; none: leaves it alone.
    pub(crate) fn break_off_after(&self, looks: Option<u64>) {
        self.break_off.store(looks.map_or(-1, |looks| looks as i64), Ordering::Relaxed);
    }

    /// Whether it was, since it was asked for.
    pub(crate) fn broke_off(&self) -> bool {
        self.break_off.load(Ordering::Relaxed) < 0
    }

    pub(crate) fn took(&self, place: Place, ownership: Ownership) {
        self.kept.lock().taken.push((place, ownership));
    }

    /// Whether a process has made the tables.
    fn is_made(&self) -> bool {
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'batches')";
        self.connection.lock().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The partition's offset.
    pub(crate) fn next(&self, place: &Place) -> Option<i64> {
        let connection = self.connection.lock();
        let sql = "SELECT next_offset FROM offsets WHERE stream = ?1 AND partition = ?2";
        // Before a process has made the tables there is none.
        let mut statement = connection.prepare_cached(sql).ok()?;
        statement.query_row(params![place.0, place.1], |row| row.get(0)).optional().unwrap().flatten()
    }

    /// What a partition has of the log that it reads; none where it has nothing.
    pub(crate) fn segment(&self, place: &TopicPartition) -> Option<Segment> {
        let place = (place.topic.clone(), place.partition);
        let next = self.next(&place)?;
        let last = self.kept.lock().segments.get(&place).and_then(|all| all.last().cloned());
        Some(Segment { next, ..last.unwrap_or(Segment { made: 0, shift: 0, first: 0, next }) })
    }

    /// The offset before which everything of a log is stored, of the log that went furthest: a late owner's hint may be for
    /// one that is gone.
    pub(crate) fn stored(&self, place: &TopicPartition) -> Option<i64> {
        let last = self.segment(place)?;
        let kept = self.kept.lock();
        let ended = kept.segments.get(&(place.topic.clone(), place.partition)).into_iter().flatten();
        ended.chain([&last]).map(|segment| segment.next - segment.shift).max()
    }

    /// Says that a partition which has something goes on at an offset of a log.
    pub(crate) async fn resume(&self, place: &TopicPartition, made: u32, from: i64) {
        let ended = self.segment(place).unwrap();
        let schema = self.schemas.iter().find(|schema| schema.name == place.topic).unwrap();
        let Resumed { next, log_shift, skipped } = self.history.resume(schema, place.partition, from).await.unwrap();
        assert_eq!(ended.next + skipped, next);
        let place = (place.topic.clone(), place.partition);
        let (epoch, last, newest_us) = (self.epoch(&place), None, None);
        let mut kept = self.kept.lock();
        let segments = kept.segments.entry(place.clone()).or_default();
        segments.pop();
        segments.extend([ended.clone(), Segment { made, shift: log_shift, first: next, next }]);
        kept.taken.push((place, Ownership { epoch, next: Some(ended.next), last, log_shift, newest_us }));
    }

    fn epoch(&self, place: &Place) -> i64 {
        let sql = "SELECT epoch FROM offsets WHERE stream = ?1 AND partition = ?2";
        self.connection.lock().query_row(sql, params![place.0, place.1], |row| row.get(0)).unwrap()
    }

    /// Forgets batches and duplicates but for the newest batch of each partition: true where there were any.
    pub(crate) async fn prune(&self) -> bool {
        if !self.is_made() {
            return false;
        }
        self.keep();
        let mut removed = 0;
        for schema in &self.schemas {
            removed += self.history.prune(schema, i64::MAX, None).await.unwrap();
        }
        removed > 0
    }

    pub(crate) fn evidence(&self) -> Evidence {
        self.keep();
        let mut evidence = Evidence::default();
        let connection = self.connection.lock();
        for schema in &self.schemas {
            let column = |index: usize| format!("\"{}\"", schema.columns[index].name);
            let sql = format!(
                "SELECT _partition, _offset, _rule, _rule_version, _rule_count, {}, {} FROM \"{}\"",
                column(schema.id),
                column(schema.time),
                schema.table
            );
            let row = |row: &Row<'_>| {
                let verdict = match row.get::<_, Option<String>>(2)? {
                    None => Verdict::Counted,
                    Some(rule) => {
                        let count = row.get::<_, i64>(4)?.unsigned_abs();
                        Verdict::Flagged { rule, version: row.get(3)?, count }
                    }
                };
                let at = ((schema.name.clone(), row.get(0)?), row.get(1)?);
                Ok((at, Outcome::Stored { verdict, id: row.get(5)?, time_us: row.get(6)? }))
            };
            evidence.add(&connection, &sql, row);
        }
        let dead = |row: &Row<'_>| Ok((((row.get(0)?, row.get(1)?), row.get(2)?), Outcome::Dead));
        evidence.add(&connection, "SELECT stream, partition, \"offset\" FROM dead_letters", dead);
        let offsets = "SELECT stream, partition, next_offset FROM offsets WHERE next_offset IS NOT NULL";
        let offset = |row: &Row<'_>| Ok(((row.get(0)?, row.get(1)?), row.get(2)?));
        evidence.offsets = all(&connection, offsets, offset).into_iter().collect();
        drop(connection);
        let mut kept = self.kept.lock();
        for (at, of) in &kept.duplicates {
            evidence.outcomes.entry(at.clone()).or_default().push(Outcome::Duplicate { of: *of });
        }
        evidence.batches = std::mem::take(&mut kept.batches);
        evidence.taken = std::mem::take(&mut kept.taken);
        for (place, next) in &evidence.offsets {
            let mut segments = kept.segments.remove(place).unwrap_or_default();
            let last = segments.pop().unwrap_or(Segment { made: 0, shift: 0, first: 0, next: 0 });
            segments.push(Segment { next: *next, ..last });
            evidence.segments.insert(place.clone(), segments);
        }
        evidence
    }

    /// Keeps what pruning forgets.
    fn keep(&self) {
        let connection = self.connection.lock();
        let mut kept = self.kept.lock();
        let batches = "SELECT stream, partition, first_offset, epoch, next_offset, is_start, stored, dead, duplicates
                       FROM batches";
        let batch = |row: &Row<'_>| {
            let rows = [row.get(6)?, row.get(7)?, row.get(8)?];
            let batch = BatchRow { epoch: row.get(3)?, next: row.get(4)?, is_start: row.get(5)?, rows };
            Ok((((row.get(0)?, row.get(1)?), row.get(2)?), batch))
        };
        kept.batches.extend(all(&connection, batches, batch));
        let duplicates = "SELECT stream, partition, \"offset\", of_partition, of_offset FROM duplicates";
        let duplicate = |row: &Row<'_>| Ok((((row.get(0)?, row.get(1)?), row.get(2)?), (row.get(3)?, row.get(4)?)));
        kept.duplicates.extend(all(&connection, duplicates, duplicate));
    }
}

impl Evidence {
    fn add(
        &mut self,
        connection: &Connection,
        sql: &str,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<((Place, i64), Outcome)>,
    ) {
        for (at, outcome) in all(connection, sql, row) {
            self.outcomes.entry(at).or_default().push(outcome);
        }
    }
}

fn all<T>(connection: &Connection, sql: &str, row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut statement = connection.prepare_cached(sql).unwrap();
    statement.query_map([], row).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}
