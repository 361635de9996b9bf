use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use super::Accounts;
use crate::Failed;

/// How long it waits for another member that has the file.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Pause between two tries, where SQLite does not wait by itself.
const BUSY_AGAIN: Duration = Duration::from_millis(20);
const TABLES: &str = r#"
CREATE TABLE IF NOT EXISTS meta (state_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sums ("group" TEXT NOT NULL, topic TEXT NOT NULL, account TEXT NOT NULL,
  units TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY ("group", topic, account));
CREATE TABLE IF NOT EXISTS offsets ("group" TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
  next INTEGER NOT NULL, PRIMARY KEY ("group", topic, partition));
"#;
const NEXT: &str = r#"SELECT next FROM offsets WHERE "group" = ? AND topic = ? AND partition = ?"#;
const BEGIN: &str = "INSERT OR IGNORE INTO offsets VALUES (?, ?, ?, ?)";
const MOVE: &str = r#"UPDATE offsets SET next = ?4 WHERE "group" = ?1 AND topic = ?2 AND partition = ?3 AND next = ?5"#;
const SUM: &str = r#"SELECT units, count FROM sums WHERE "group" = ? AND topic = ? AND account = ?"#;
const SET: &str = "INSERT OR REPLACE INTO sums VALUES (?, ?, ?, ?, ?)";
const SUMS: &str = r#"SELECT account, units, count FROM sums WHERE "group" = ? AND topic = ?"#;

/// Sums and next offsets in one SQLite file, which members of a group on a machine share, whatever their language.
///
/// A batch is one transaction: it adds the sums and moves `next` only where that is what this member expects. Of two
/// members which believe that they own a partition one is turned away. Kafka's committed offsets are a hint.
pub(super) struct State {
    db: Mutex<Connection>,
    pub(super) path: String,
    group: String,
    topic: String,
    /// Tells this file from every other.
    pub(super) id: String,
}

impl State {
    pub(super) fn open(path: &Path, group: &str, topic: &str) -> Result<Self, Failed> {
        let shown = path.display().to_string();
        let (db, id) = open(path).map_err(|error| unusable(&shown, &error))?;
        Ok(Self { db: Mutex::new(db), path: shown, group: group.to_owned(), topic: topic.to_owned(), id })
    }

    /// Where a partition goes on; none where it was never read.
    pub(super) fn next(&self, partition: i32) -> Result<Option<i64>, Failed> {
        let db = self.db.lock();
        let next = db.query_row(NEXT, params![self.group, self.topic, partition], |row| row.get(0)).optional();
        next.map_err(|error| unusable(&self.path, &error))
    }

    /// Where a partition goes on that begins here if it was never read: another member may be first.
    pub(super) fn begin(&self, partition: i32, first: i64) -> Result<i64, Failed> {
        let begun = self.db.lock().execute(BEGIN, params![self.group, self.topic, partition, first]);
        begun.map_err(|error| unusable(&self.path, &error))?;
        Ok(self.next(partition)?.unwrap_or(first))
    }

    /// Adds what a batch counted, and moves partitions from one offset to another: all or nothing. The sums of the batch's
    /// accounts from now on, or none where a partition is not where it is expected.
    pub(super) fn add(&self, added: &Accounts, moves: &BTreeMap<i32, (i64, i64)>) -> Result<Option<Accounts>, Failed> {
        self.try_add(added, moves).map_err(|error| unusable(&self.path, &error))
    }

    fn try_add(&self, added: &Accounts, moves: &BTreeMap<i32, (i64, i64)>) -> rusqlite::Result<Option<Accounts>> {
        let mut db = self.db.lock();
        // At once with the lock: two that read first and write then would turn each other away.
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (partition, (expected, next)) in moves {
            let moved = transaction.execute(MOVE, params![self.group, self.topic, partition, next, expected])?;
            if moved != 1 {
                return Ok(None);
            }
        }
        let mut after = Accounts::new();
        for (account, (cents, count)) in added {
            let before = transaction.query_row(SUM, params![self.group, self.topic, account], |row| {
                Ok((units(row, 0)?, row.get::<_, i64>(1)?))
            });
            let (sum, so_far) = before.optional()?.unwrap_or_default();
            let (sum, total) = (sum + cents, so_far + count);
            transaction.execute(SET, params![self.group, self.topic, account, sum.to_string(), total])?;
            after.insert(account.clone(), (sum, total));
        }
        transaction.commit()?;
        Ok(Some(after))
    }

    /// Every account's.
    pub(super) fn sums(&self) -> Result<Accounts, Failed> {
        let read = || -> rusqlite::Result<Accounts> {
            let db = self.db.lock();
            let mut query = db.prepare(SUMS)?;
            let rows = query
                .query_map(params![self.group, self.topic], |row| Ok((row.get(0)?, (units(row, 1)?, row.get(2)?))))?;
            rows.collect()
        };
        read().map_err(|error| unusable(&self.path, &error))
    }
}

fn open(path: &Path) -> rusqlite::Result<(Connection, String)> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(BUSY_MAX)?;
    write_ahead(&db)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    let id = uuid::Uuid::new_v4().to_string();
    transaction.execute("INSERT INTO meta (state_id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM meta)", [id])?;
    let id = transaction.query_row("SELECT state_id FROM meta", (), |row| row.get(0))?;
    transaction.commit()?;
    Ok((db, id))
}

/// Two that open a new file at once turn each other away here, and SQLite does not wait by itself.
fn write_ahead(db: &Connection) -> rusqlite::Result<()> {
    let began = Instant::now();
    loop {
        match db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && began.elapsed() < BUSY_MAX => {
                sleep(BUSY_AGAIN);
            }
            made => return made,
        }
    }
}

/// A sum, which is a text: it may be greater than SQLite's integers.
fn units(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<i128> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn unusable(path: &str, error: &rusqlite::Error) -> Failed {
    let hint = "see that it is a state file, that it can be written, and that nobody holds it for long";
    Failed::State { path: path.to_owned(), error: format!("{error}: {hint}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn of(account: &str, cents: i128) -> Accounts {
        Accounts::from([(account.to_owned(), (cents, 1))])
    }

    #[test]
    fn a_batch_counts_once_and_where_its_member_expects_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums.sqlite3");
        let [one, other] = [(); 2].map(|()| State::open(&path, "g", "t").unwrap());
        assert_eq!(one.id, other.id);
        assert_eq!((one.next(0).unwrap(), one.begin(0, 7).unwrap(), other.begin(0, 9).unwrap()), (None, 7, 7));
        let moved = BTreeMap::from([(0, (7, 10))]);
        assert_eq!(one.add(&of("a", 250), &moved).unwrap(), Some(of("a", 250)));
        assert_eq!(other.add(&of("a", 250), &moved).unwrap(), None);
        // One that may not move takes the other's with it.
        let both = BTreeMap::from([(0, (10, 11)), (1, (0, 1))]);
        assert_eq!(other.add(&of("a", 1), &both).unwrap(), None);
        assert_eq!((other.next(0).unwrap(), other.sums().unwrap()), (Some(10), of("a", 250)));
        let more = other.add(&of("a", i128::from(i64::MAX)), &BTreeMap::from([(0, (10, 11))])).unwrap().unwrap();
        assert_eq!(more["a"], (i128::from(i64::MAX) + 250, 2));
        assert_eq!(one.sums().unwrap(), more);
        assert_eq!(State::open(&path, "other", "t").unwrap().sums().unwrap(), Accounts::new());
    }

    #[test]
    fn members_may_make_the_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..50 {
            let (path, begin) = (folder.path().join(number.to_string()), Barrier::new(4));
            let ids = std::thread::scope(|scope| {
                let open = || {
                    begin.wait();
                    State::open(&path, "g", "t").unwrap().id
                };
                [(); 4].map(|()| scope.spawn(open)).map(|member| member.join().unwrap())
            });
            assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_state_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "this is no database, and is longer than a header of one would be: ".repeat(40)).unwrap();
        let Err(error) = State::open(&path, "g", "t") else { panic!("it was opened") };
        assert!(error.to_string().contains("notes.txt"), "{error}");
    }
}
