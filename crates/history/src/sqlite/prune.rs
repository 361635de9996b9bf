use headwater_domain::StreamSchema;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::classify;
use super::table::Table;
use crate::HistoryError;
use crate::day::{DAY_US, day_of};

/// Forgets old batches and duplicates, then the events of whole days that are old.
pub(super) fn prune(
    connection: &mut Connection,
    schema: &StreamSchema,
    batches_before_ms: i64,
    events_before_us: Option<i64>,
) -> Result<u64, HistoryError> {
    let db = |error: rusqlite::Error| classify(&error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(db)?;
    let removed = forget(&transaction, schema, batches_before_ms, events_before_us).map_err(db)?;
    transaction.commit().map_err(db)?;
    Ok(removed as u64)
}

fn forget(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    batches_before_ms: i64,
    events_before_us: Option<i64>,
) -> rusqlite::Result<usize> {
    // The newest batch of a partition stays, whatever its age.
    let batches = "DELETE FROM batches WHERE stream = ?1 AND committed_ms < ?2 AND first_offset <
        (SELECT max(newest.first_offset) FROM batches AS newest
         WHERE newest.stream = ?1 AND newest.partition = batches.partition)";
    let mut removed = transaction.execute(batches, params![schema.name, batches_before_ms])?;
    let duplicates = "DELETE FROM duplicates WHERE stream = ?1 AND committed_ms < ?2";
    removed += transaction.execute(duplicates, params![schema.name, batches_before_ms])?;
    if let Some(events_before_us) = events_before_us {
        // What a batch that can be replayed has stays.
        let needed = "SELECT min(min_time_us) FROM batches WHERE stream = ?1 AND committed_ms >= ?2";
        let needed: Option<i64> =
            transaction.query_row(needed, params![schema.name, batches_before_ms], |row| row.get(0))?;
        let until_us = needed.map_or(events_before_us, |needed| needed.min(events_before_us));
        let table = Table::of(schema);
        let sql = format!("DELETE FROM {} WHERE {} < ?1", table.name, table.time);
        let until_us = day_of(until_us).saturating_mul(DAY_US);
        let events = transaction.execute(&sql, [until_us])?;
        if events > 0 {
            let sql =
                "UPDATE contracts SET dropped_before_us = max(ifnull(dropped_before_us, ?2), ?2) WHERE stream = ?1";
            transaction.execute(sql, params![schema.name, until_us])?;
        }
        removed += events;
    }
    Ok(removed)
}
