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
    let sql = statement_of(schema);
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

fn statement_of(schema: &StreamSchema) -> String {
    let table = Table::of(schema);
    statement(&Spelling {
        mark: '?',
        table: &table.name,
        id: &table.id,
        time: &table.time,
        // It would rather read every duplicate of the stream, which are in the order that is wanted.
        duplicates: r#"duplicates INDEXED BY "duplicates$by_id""#,
        dead_letters: r#"dead_letters INDEXED BY "dead_letters$by_id""#,
        key: &table.key_text(schema.key),
        appended_ms: "_appended_ms",
        committed_ms: "committed_ms",
    })
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

#[cfg(test)]
mod tests {
    use headwater_domain::{Column, ColumnType};

    use super::*;
    use crate::sqlite::prepare::prepare;

    #[test]
    fn nothing_is_read_through_to_find_an_id() {
        let column = |number, name: &str, kind| Column { number, name: name.to_owned(), kind };
        let schema = StreamSchema {
            name: "clicks".to_owned(),
            table: "clicks".to_owned(),
            message: "a.Click".to_owned(),
            columns: vec![column(1, "id", ColumnType::Text), column(2, "offset", ColumnType::Time)],
            id: 0,
            key: 0,
            time: 1,
            indexes: vec![],
            stats: vec![],
            rules: vec![],
        };
        let mut connection = Connection::open_in_memory().expect("memory");
        prepare(&mut connection, &[schema.clone().into()]).expect("prepared");
        let plan = format!("EXPLAIN QUERY PLAN {}", statement_of(&schema));
        let mut statement = connection.prepare(&plan).expect("a statement");
        for at in 1..=8 {
            statement.raw_bind_parameter(at, 1).expect("a parameter");
        }
        let (mut steps, mut rows) = (Vec::new(), statement.raw_query());
        while let Some(row) = rows.next().expect("a row") {
            steps.push(row.get::<_, String>(3).expect("a step"));
        }
        for searched in [
            "clicks USING INDEX clicks$identity (id=? AND ",
            "duplicates USING INDEX duplicates$by_id (stream=? AND id=? AND ",
            "dead_letters USING INDEX dead_letters$by_id (stream=? AND id=? AND ",
            "batches USING PRIMARY KEY (stream=? AND partition=? AND ",
        ] {
            let step = format!("SEARCH {searched}");
            assert!(steps.iter().any(|found| found.starts_with(&step)), "{step}: {steps:#?}");
        }
        assert_eq!(steps.iter().filter(|step| step.starts_with("SEARCH ")).count(), 4, "{steps:#?}");
        // Only what was found is put in order.
        assert_eq!(steps.iter().filter(|step| step.contains("TEMP B-TREE")).count(), 1, "{steps:#?}");
    }
}
