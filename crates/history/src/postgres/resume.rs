use deadpool_postgres::Object;
use headwater_domain::StreamSchema;

use super::error::classify;
use crate::{HistoryError, Resumed};

/// Moves a stopped partition to where its log is read on. The gap, where there is one, is remembered as an empty batch,
/// so that live statistics follow over it.
pub(super) async fn resume(
    client: &mut Object,
    schema: &StreamSchema,
    partition: i32,
    from: i64,
) -> Result<Resumed, HistoryError> {
    let db = |error: tokio_postgres::Error| classify(&error);
    let transaction = client.transaction().await.map_err(db)?;
    let sql = "SELECT next_offset, log_shift FROM offsets
               WHERE stream = $1 AND partition = $2 AND next_offset IS NOT NULL FOR UPDATE";
    let row = transaction.query_opt(sql, &[&schema.name, &partition]).await.map_err(db)?;
    let row = row.ok_or_else(|| Resumed::nothing_stored(&schema.name, partition))?;
    let next: i64 = row.get(0);
    let resumed = Resumed::new(next, row.get(1), from);
    // The last record is forgotten: the log that goes on may never have had it.
    let sql = "UPDATE offsets SET epoch = epoch + 1, next_offset = $3, log_shift = $4, last_offset = NULL,
                   last_checksum = NULL
               WHERE stream = $1 AND partition = $2";
    let moved = transaction.execute(sql, &[&schema.name, &partition, &resumed.next, &resumed.log_shift]).await;
    moved.map_err(db)?;
    if resumed.skipped > 0 {
        let sql =
            "INSERT INTO batches (stream, partition, first_offset, next_offset, epoch, is_start, last_appended_ms,
                       last_checksum, stored, flagged, dead, duplicates)
                   SELECT stream, partition, $3, next_offset, epoch, false, last_appended_ms, 0, 0, 0, 0, 0 FROM offsets
                   WHERE stream = $1 AND partition = $2";
        transaction.execute(sql, &[&schema.name, &partition, &next]).await.map_err(db)?;
    }
    transaction.commit().await.map_err(db)?;
    Ok(resumed)
}
