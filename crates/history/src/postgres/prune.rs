use headwater_domain::StreamSchema;

use super::connection::{Database, OldDays};
use super::error::classify;
use super::partitions::parts;
use super::prepare::stream_lock;
use super::table::{Table, quoted};
use super::value::Moment;
use crate::HistoryError;

/// Longest wait, in milliseconds, for those who use a table of which a part is to be dropped: everyone else waits behind.
const DROP_WAIT_MS_MAX: i64 = 2000;

/// Detached parts of one day at most: each time that a day was detached, and an event of it came later.
const DETACHED_MAX: i32 = 9999;

/// Forgets old batches and duplicates, then takes away the parts of the table that are old whole.
pub(super) async fn prune(
    db: &Database,
    schema: &StreamSchema,
    batches_before_ms: i64,
    events_before_us: Option<i64>,
) -> Result<u64, HistoryError> {
    let before = Moment(batches_before_ms.saturating_mul(1000));
    let mut removed = db.bounded(forget_batches(db, schema, before)).await?;
    if let Some(events_before_us) = events_before_us {
        let until_us = db.bounded(unneeded_until(db, schema, before)).await?.min(events_before_us);
        loop {
            let taken = db.bounded(take_oldest(db, schema, until_us)).await?;
            let Some(rows) = taken else { break };
            removed += rows;
        }
    }
    Ok(removed)
}

async fn forget_batches(db: &Database, schema: &StreamSchema, before: Moment) -> Result<u64, HistoryError> {
    // The newest batch of a partition stays, whatever its age.
    let batches = "DELETE FROM batches AS b WHERE stream = $1 AND committed_at < $2 AND first_offset <
        (SELECT max(first_offset) FROM batches AS newest WHERE newest.stream = $1 AND newest.partition = b.partition)";
    let duplicates = "DELETE FROM duplicates WHERE stream = $1 AND committed_at < $2";
    let client = db.client().await?;
    let mut removed = 0;
    for sql in [batches, duplicates] {
        removed += client.execute(sql, &[&schema.name, &before]).await.map_err(|error| classify(&error))?;
    }
    Ok(removed)
}

/// Up to which time no batch that can be replayed has an event.
async fn unneeded_until(db: &Database, schema: &StreamSchema, before: Moment) -> Result<i64, HistoryError> {
    let sql = "SELECT min(min_time_us) FROM batches WHERE stream = $1 AND committed_at >= $2";
    let client = db.client().await?;
    let row = client.query_one(sql, &[&schema.name, &before]).await.map_err(|error| classify(&error))?;
    Ok(row.get::<_, Option<i64>>(0).unwrap_or(i64::MAX))
}

/// Drops or detaches the oldest part that ends by then, and says how many events it had; none where there is none.
async fn take_oldest(db: &Database, schema: &StreamSchema, until_us: i64) -> Result<Option<u64>, HistoryError> {
    let db_error = |error: tokio_postgres::Error| classify(&error);
    let mut client = db.client().await?;
    let transaction = client.transaction().await.map_err(db_error)?;
    stream_lock(&*transaction, &db.namespace, schema).await?;
    let Some(part) = parts(&*transaction, schema).await?.into_iter().find(|part| part.end_us <= until_us) else {
        return Ok(None);
    };
    let name = quoted(&part.name);
    let row = transaction.query_one(&format!("SELECT count(*) FROM {name}"), &[]).await.map_err(db_error)?;
    let take = match db.old_days {
        OldDays::Drop => format!("DROP TABLE {name}"),
        OldDays::Detach => {
            let sql =
                "SELECT min(n) FROM generate_series(1, $2) AS n WHERE to_regclass(quote_ident($1 || '_' || n)) IS NULL";
            let row = transaction.query_one(sql, &[&part.name, &DETACHED_MAX]).await.map_err(db_error)?;
            let Some(number) = row.get::<_, Option<i32>>(0) else {
                return Err(HistoryError::Refused(format!(
                    "{} was detached {DETACHED_MAX} times: drop some",
                    part.name
                )));
            };
            let apart = quoted(&format!("{}_{number}", part.name));
            format!(
                "ALTER TABLE {} DETACH PARTITION {name}; ALTER TABLE {name} RENAME TO {apart}",
                Table::of(schema).name
            )
        }
    };
    transaction
        .batch_execute(&format!("SET LOCAL lock_timeout = {DROP_WAIT_MS_MAX}; {take}"))
        .await
        .map_err(db_error)?;
    let sql = "UPDATE contracts SET dropped_before = greatest(dropped_before, $2) WHERE stream = $1";
    if row.get::<_, i64>(0) > 0 {
        transaction.execute(sql, &[&schema.name, &Moment(part.end_us)]).await.map_err(db_error)?;
    }
    transaction.commit().await.map_err(db_error)?;
    Ok(Some(row.get::<_, i64>(0).unsigned_abs()))
}
