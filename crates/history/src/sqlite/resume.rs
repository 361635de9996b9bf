use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::classify;
use super::commit::now_ms;
use crate::{HistoryError, Resumed};

/// Moves a stopped partition to where its log is read on. The gap, where there is one, is remembered as an empty batch,
/// so that live statistics follow over it.
pub(super) fn resume(
    connection: &mut Connection,
    stream: &str,
    partition: i32,
    from: i64,
) -> Result<Resumed, HistoryError> {
    let db = |error: rusqlite::Error| classify(&error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(db)?;
    let sql = "SELECT next_offset, log_shift FROM offsets
               WHERE stream = ?1 AND partition = ?2 AND next_offset IS NOT NULL";
    let stands = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let stood: Option<(i64, i64)> =
        transaction.query_row(sql, params![stream, partition], stands).optional().map_err(db)?;
    let (next, log_shift) = stood.ok_or_else(|| Resumed::nothing_stored(stream, partition))?;
    let resumed = Resumed::new(next, log_shift, from);
    // The last record is forgotten: the log that goes on may never have had it.
    let sql = "UPDATE offsets SET epoch = epoch + 1, next_offset = ?3, log_shift = ?4, last_offset = NULL,
                   last_checksum = NULL
               WHERE stream = ?1 AND partition = ?2";
    transaction.execute(sql, params![stream, partition, resumed.next, resumed.log_shift]).map_err(db)?;
    if resumed.skipped > 0 {
        let sql =
            "INSERT INTO batches (stream, partition, first_offset, next_offset, epoch, is_start, last_appended_ms,
                       last_checksum, stored, flagged, dead, duplicates, committed_ms)
                   SELECT stream, partition, ?3, next_offset, epoch, 0, last_appended_ms, 0, 0, 0, 0, 0, ?4 FROM offsets
                   WHERE stream = ?1 AND partition = ?2";
        transaction.execute(sql, params![stream, partition, next, now_ms()]).map_err(db)?;
    }
    transaction.commit().map_err(db)?;
    Ok(resumed)
}
