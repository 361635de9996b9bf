use deadpool_postgres::Object;
use headwater_domain::{Duplicate, Reason, StreamSchema, Verdict};
use tokio_postgres::Row;

use super::error::classify;
use super::table::Table;
use super::value::Moment;
use crate::explain::{Looked, Spelling, statement};
use crate::{ExplainPage, ExplainQuery, Explained, Fate, HistoryError};

pub(super) async fn explain(
    client: &Object,
    schema: &StreamSchema,
    query: &ExplainQuery,
) -> Result<ExplainPage, HistoryError> {
    if query.limit == 0 {
        return Ok(ExplainPage::default());
    }
    let table = Table::of(schema);
    let sql = statement(&Spelling {
        mark: '$',
        table: &table.name,
        id: &table.id,
        time: &table.time,
        key: &table.key_text(schema.key),
        appended_ms: "(extract(epoch FROM _appended_at) * 1000)::bigint",
        committed_ms: "(extract(epoch FROM committed_at) * 1000)::bigint",
    });
    let looked = Looked::after(query.after);
    let (duplicates, dead) = (looked.duplicates_after.unzip(), looked.dead_after.unzip());
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let statement = client.prepare_cached(&sql).await.map_err(|error| classify(&error))?;
    let rows = client
        .query(
            &statement,
            &[
                &query.id,
                &schema.name,
                &looked.stored_from_us.map(Moment),
                &duplicates.0,
                &duplicates.1,
                &dead.0,
                &dead.1,
                &limit,
            ],
        )
        .await
        .map_err(|error| classify(&error))?;
    let records = rows.iter().map(|row| explained(query, row).map_err(|error| classify(&error)));
    Ok(ExplainPage::of(records.collect::<Result<_, _>>()?, query.limit))
}

fn explained(query: &ExplainQuery, row: &Row) -> Result<Explained, tokio_postgres::Error> {
    let (partition, offset): (i32, i64) = (row.try_get(2)?, row.try_get(3)?);
    let time_us = || row.try_get::<_, Moment>(1).map(|time| time.0);
    let fate = match row.try_get::<_, i32>(0)? {
        0 => Fate::Stored {
            time_us: time_us()?,
            appended_ms: row.try_get(4)?,
            key: row.try_get(5)?,
            verdict: match row.try_get::<_, Option<String>>(6)? {
                None => Verdict::Counted,
                Some(rule) => Verdict::Flagged {
                    rule,
                    version: row.try_get::<_, i32>(7)?.unsigned_abs(),
                    count: row.try_get::<_, i64>(8)?.unsigned_abs(),
                },
            },
        },
        1 => Fate::Duplicate(Duplicate {
            offset,
            id: query.id.clone(),
            time_us: time_us()?,
            of_partition: row.try_get(9)?,
            of_offset: row.try_get(10)?,
        }),
        _ => Fate::Dead {
            appended_ms: row.try_get(4)?,
            reason: Reason::from_name(row.try_get(11)?),
            field: row.try_get(12)?,
            detail: row.try_get(13)?,
        },
    };
    Ok(Explained { partition, offset, committed_ms: row.try_get(14)?, fate })
}
