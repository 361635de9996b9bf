use std::time::{SystemTime, UNIX_EPOCH};

use headwater_domain::{BatchCommit, Duplicate, StreamSchema, Verdict};
use headwater_planted::{self as planted, Bug};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::classify;
use super::table::{Table, bind_row};
use crate::storable::letter_id;
use crate::{CommitOutcome, HistoryError, Ownership, Remembered};

/// SQLite's code of a row that a unique index has already, other than the primary key's.
const UNIQUE_VIOLATION: i32 = rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE;

/// Takes a partition. There is no session to end: a transaction of the former owner cannot be open here.
pub(super) fn take(
    connection: &mut Connection,
    stream: &str,
    partition: i32,
    owner: &str,
) -> Result<Ownership, HistoryError> {
    let sql = "INSERT INTO offsets (stream, partition, epoch, owner) VALUES (?1, ?2, 1, ?3)
               ON CONFLICT (stream, partition) DO UPDATE SET epoch = epoch + 1, owner = excluded.owner
               RETURNING epoch, next_offset, last_offset, last_appended_ms, last_checksum, newest_us, log_shift";
    let ownership = |row: &rusqlite::Row<'_>| {
        let last = match (row.get(2)?, row.get(3)?, row.get(4)?) {
            (Some(offset), Some(appended_ms), Some(checksum)) => Some(Remembered { offset, appended_ms, checksum }),
            _ => None,
        };
        let (epoch, next, newest_us, log_shift) = (row.get(0)?, row.get(1)?, row.get(5)?, row.get(6)?);
        Ok(Ownership { epoch, next, last, newest_us, log_shift })
    };
    connection.query_row(sql, params![stream, partition, owner], ownership).map_err(|error| classify(&error))
}

/// Stores a batch in one transaction.
pub(super) fn commit(
    connection: &mut Connection,
    schema: &StreamSchema,
    batch: &BatchCommit,
) -> Result<CommitOutcome, HistoryError> {
    let db = |error: rusqlite::Error| classify(&error);
    let moved = planted::is(Bug::OffsetBeforeRows) && moved_alone(connection, schema, batch).map_err(db)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(db)?;
    if !moved && !advance(&transaction, schema, batch).map_err(db)? {
        return standing(&transaction, schema, batch).map_err(db);
    }
    if let Err(error) = fill(&transaction, schema, batch) {
        let is_duplicate =
            matches!(&error, rusqlite::Error::SqliteFailure(code, _) if code.extended_code == UNIQUE_VIOLATION);
        if !is_duplicate {
            return Err(classify(&error));
        }
        transaction.rollback().map_err(db)?;
        let found = stored_already(connection, schema, batch).map_err(db)?;
        if found.is_empty() {
            return Err(HistoryError::Refused(format!(
                "stream {}, partition {}, batch [{}, {}): an event stands in it twice",
                schema.name, batch.partition, batch.first, batch.next
            )));
        }
        return Ok(CommitOutcome::Duplicates(found));
    }
    transaction.commit().map_err(db)?;
    Ok(CommitOutcome::Committed)
}

/// The planted bug: moves the offset of a batch without duplicates in a transaction of its own.
fn moved_alone(connection: &mut Connection, schema: &StreamSchema, batch: &BatchCommit) -> rusqlite::Result<bool> {
    if !stored_already(connection, schema, batch)?.is_empty() {
        return Ok(false);
    }
    let transaction = connection.transaction()?;
    let moved = advance(&transaction, schema, batch)?;
    transaction.commit().map(|()| moved)
}

/// Moves the partition's offset and remembers the batch. False where the epoch or the offset is another.
fn advance(transaction: &Transaction<'_>, schema: &StreamSchema, batch: &BatchCommit) -> rusqlite::Result<bool> {
    let times = || batch.stored.iter().map(|row| schema.time_us_of(&row.event));
    let (min_us, max_us) = (times().min(), times().max());
    let BatchCommit { partition, epoch, first, next, last_appended_ms, last_checksum, .. } = *batch;
    let fence = match planted::is(Bug::NoFencing) {
        false => "epoch = ?3 AND (next_offset IS NULL OR next_offset = ?4)",
        true => "?3 = ?3 AND next_offset IS NOT ?5",
    };
    let moved = format!(
        "UPDATE offsets SET start_offset = ifnull(start_offset, ?4), next_offset = ?5, last_offset = ?5 - 1,
            last_appended_ms = ?6, last_checksum = ?7, newest_us = max(ifnull(newest_us, ?8), ifnull(?8, newest_us))
        WHERE stream = ?1 AND partition = ?2 AND {fence}
        RETURNING start_offset = ?4"
    );
    let is_start: Option<bool> = transaction
        .prepare_cached(&moved)?
        .query_row(
            params![schema.name, partition, epoch, first, next, last_appended_ms, last_checksum, max_us],
            |row| row.get(0),
        )
        .optional()?;
    let Some(is_start) = is_start else { return Ok(false) };
    let flagged = batch.stored.iter().filter(|row| row.verdict != Verdict::Counted).count();
    let [stored, flagged, dead, duplicates] = [batch.stored.len(), flagged, batch.dead.len(), batch.duplicates.len()]
        .map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let remember =
        "INSERT INTO batches (stream, partition, epoch, first_offset, next_offset, is_start, last_appended_ms,
            last_checksum, min_time_us, max_time_us, stored, flagged, dead, duplicates, committed_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    transaction.prepare_cached(remember)?.execute(params![
        schema.name,
        partition,
        epoch,
        first,
        next,
        is_start,
        last_appended_ms,
        last_checksum,
        min_us,
        max_us,
        stored,
        flagged,
        dead,
        duplicates,
        now_ms(),
    ])?;
    Ok(true)
}

fn fill(transaction: &Transaction<'_>, schema: &StreamSchema, batch: &BatchCommit) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(&Table::of(schema).insert())?;
    for row in &batch.stored {
        bind_row(&mut insert, batch.partition, row)?;
        insert.raw_execute()?;
    }
    let dead =
        "INSERT INTO dead_letters (stream, partition, \"offset\", appended_ms, reason, field, detail, key, value,
            id)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";
    for letter in &batch.dead {
        let (offset, appended_ms, reason) = (letter.offset, letter.appended_ms, letter.reason.name());
        let (field, detail) = (letter.field.replace('\0', "\u{fffd}"), letter.detail.replace('\0', "\u{fffd}"));
        let to = (&schema.name, batch.partition);
        transaction.prepare_cached(dead)?.execute(params![
            to.0,
            to.1,
            offset,
            appended_ms,
            reason,
            field,
            detail,
            letter.key,
            letter.value,
            letter_id(letter)
        ])?;
    }
    let duplicates =
        "INSERT INTO duplicates (stream, partition, \"offset\", id, time, of_partition, of_offset, committed_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
    for duplicate in &batch.duplicates {
        let Duplicate { offset, id, time_us, of_partition, of_offset } = duplicate;
        let values = params![schema.name, batch.partition, offset, id, time_us, of_partition, of_offset, now_ms()];
        transaction.prepare_cached(duplicates)?.execute(values)?;
    }
    Ok(())
}

/// Why a batch did not move the offset: it did so before, or the partition has another owner.
fn standing(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    batch: &BatchCommit,
) -> rusqlite::Result<CommitOutcome> {
    let BatchCommit { partition, first, next, last_checksum, .. } = *batch;
    let at: Option<(i64, Option<i64>)> = transaction
        .query_row(
            "SELECT epoch, next_offset FROM offsets WHERE stream = ?1 AND partition = ?2",
            params![schema.name, partition],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let (epoch, at) = at.unwrap_or((0, None));
    let same = transaction
        .query_row(
            "SELECT 1 FROM batches WHERE stream = ?1 AND partition = ?2 AND first_offset = ?3 AND next_offset = ?4
                 AND epoch = ?5 AND last_checksum = ?6",
            params![schema.name, partition, first, next, batch.epoch, last_checksum],
            |_| Ok(()),
        )
        .optional()?;
    if epoch == batch.epoch && at == Some(next) && same.is_some() {
        Ok(CommitOutcome::Committed)
    } else {
        Ok(CommitOutcome::Fenced { epoch, next: at })
    }
}

/// Which of the batch's events are stored already, by offset.
fn stored_already(
    connection: &Connection,
    schema: &StreamSchema,
    batch: &BatchCommit,
) -> rusqlite::Result<Vec<Duplicate>> {
    let table = Table::of(schema);
    let sql = format!("SELECT _partition, _offset FROM {} WHERE {} = ?1 AND {} = ?2", table.name, table.id, table.time);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = Vec::new();
    for row in &batch.stored {
        let (id, time_us) = (schema.id_of(&row.event), schema.time_us_of(&row.event));
        let of = statement.query_row(params![id, time_us], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if let Some((of_partition, of_offset)) = of {
            found.push(Duplicate { offset: row.offset, id: id.to_owned(), time_us, of_partition, of_offset });
        }
    }
    Ok(found)
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
