use headwater_domain::{Duplicate, Reason, StreamSchema, Verdict};
use rusqlite::{Connection, Row, params};

use super::classify;
use super::table::Table;
use crate::explain::{Looked, Spelling, statement};
use crate::{ExplainPage, ExplainQuery, Explained, Fate, HistoryError};

pub(super) fn explain(
    connection: &Connection,
    schema: &StreamSchema,
    query: &ExplainQuery,
) -> Result<ExplainPage, HistoryError> {
    if query.limit == 0 {
        return Ok(ExplainPage::default());
    }
    let table = Table::of(schema);
    let sql = statement(&Spelling {
        mark: '?',
        table: &table.name,
        id: &table.id,
        time: &table.time,
        key: &table.key_text(schema.key),
        appended_ms: "_appended_ms",
        committed_ms: "committed_ms",
    });
    let looked = Looked::after(query.after);
    let (duplicates, dead) = (looked.duplicates_after.unzip(), looked.dead_after.unzip());
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let values =
        params![query.id, schema.name, looked.stored_from_us, duplicates.0, duplicates.1, dead.0, dead.1, limit];
    let read = || {
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(values, |row| explained(query, row))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    Ok(ExplainPage::of(read().map_err(|error| classify(&error))?, query.limit))
}

fn explained(query: &ExplainQuery, row: &Row<'_>) -> rusqlite::Result<Explained> {
    let (partition, offset) = (row.get(2)?, row.get(3)?);
    let fate = match row.get(0)? {
        0 => Fate::Stored {
            time_us: row.get(1)?,
            appended_ms: row.get(4)?,
            key: row.get(5)?,
            verdict: match row.get(6)? {
                None => Verdict::Counted,
                Some(rule) => {
                    Verdict::Flagged { rule, version: row.get(7)?, count: row.get::<_, i64>(8)?.unsigned_abs() }
                }
            },
        },
        1 => Fate::Duplicate(Duplicate {
            offset,
            id: query.id.clone(),
            time_us: row.get(1)?,
            of_partition: row.get(9)?,
            of_offset: row.get(10)?,
        }),
        _ => Fate::Dead {
            appended_ms: row.get(4)?,
            reason: Reason::from_name(&row.get::<_, String>(11)?),
            field: row.get(12)?,
            detail: row.get(13)?,
        },
    };
    Ok(Explained { partition, offset, committed_ms: row.get(14)?, fate })
}
