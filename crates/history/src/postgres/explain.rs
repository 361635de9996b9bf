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
    let sql = statement_of(schema);
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

fn statement_of(schema: &StreamSchema) -> String {
    let table = Table::of(schema);
    statement(&Spelling {
        mark: '$',
        table: &table.name,
        id: &table.id,
        time: &table.time,
        duplicates: "duplicates",
        dead_letters: "dead_letters",
        key: &table.key_text(schema.key),
        appended_ms: "(extract(epoch FROM _appended_at) * 1000)::bigint",
        committed_ms: "(extract(epoch FROM committed_at) * 1000)::bigint",
    })
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

#[cfg(test)]
mod tests {
    use headwater_domain::{BatchCommit, Column, ColumnType, Event, StoredEvent, Value};
    use headwater_testkit::{POSTGRES, require, unique};

    use super::*;
    use crate::History;
    use crate::postgres::{PostgresHistory, PostgresOptions};

    const DAY_US: i64 = 86_400_000_000;

    fn event(offset: i64, id: &str, time_us: i64) -> StoredEvent {
        let event = Event { values: vec![Value::Text(id.to_owned()), Value::Time(time_us)], unknown: vec![] };
        StoredEvent { offset, appended_ms: 0, event, verdict: Verdict::Counted }
    }

    /// A stream with events of a few days, in a Postgres schema of its own.
    async fn filled(history: &PostgresHistory) -> StreamSchema {
        let column = |number, name: &str, kind| Column { number, name: name.to_owned(), kind };
        let schema = StreamSchema {
            name: "clicks".to_owned(),
            table: "clicks".to_owned(),
            message: "a.Click".to_owned(),
            // The name of a column that the answer has too.
            columns: vec![column(1, "id", ColumnType::Text), column(2, "offset", ColumnType::Time)],
            id: 0,
            key: 0,
            time: 1,
            indexes: vec![],
            stats: vec![],
            rules: vec![],
        };
        history.prepare(&[schema.clone().into()]).await.expect("prepared");
        history.take(&schema, 0, "test").await.expect("taken");
        let stored: Vec<StoredEvent> = (0..5).map(|n| event(n, "x", 1_763_726_400_000_000 - n * DAY_US)).collect();
        let batch = BatchCommit {
            partition: 0,
            epoch: 1,
            first: 0,
            next: 5,
            last_appended_ms: 0,
            last_checksum: 0,
            stored,
            dead: vec![],
            duplicates: vec![],
        };
        history.commit(&schema, &batch).await.expect("committed");
        schema
    }

    #[tokio::test]
    async fn nothing_is_read_through_to_find_an_id() {
        let namespace = unique("explain").replace('-', "_");
        let options = PostgresOptions { schema: namespace.clone(), ..PostgresOptions::new(require(POSTGRES)) };
        let history = PostgresHistory::connect(&options).expect("options");
        let schema = filled(&history).await;
        let query = ExplainQuery { id: "x".to_owned(), after: None, limit: 9 };
        let found = history.explain(&schema, &query).await.expect("an answer");
        let offsets: Vec<i64> = found.records.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, [4, 3, 2, 1, 0], "by time");

        let client = history.db.client().await.expect("a connection");
        // What can only be read through is read through all the same, and shows.
        let sql = format!("SET enable_seqscan = off; PREPARE explained AS {}", statement_of(&schema));
        client.batch_execute(&sql).await.expect("prepared");
        let plan = "EXPLAIN EXECUTE explained ('x', 'clicks', '2000-01-01', -1, -1, -1, -1, 10)";
        let rows = client.query(plan, &[]).await.expect("a plan");
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        client.batch_execute(&format!("DROP SCHEMA {namespace} CASCADE")).await.expect("removed");
        assert!(!plan.contains("Seq Scan"), "{plan}");
        for index in ["duplicates$by_id", "dead_letters$by_id", "batches_pkey"] {
            assert!(plan.contains(index), "{index}: {plan}");
        }
        let parts = plan.matches("Index Scan using \"clicks").count();
        assert!(parts >= 5, "a look-up in each part: {plan}");
        // Only what was found is put in order: every table gives its records in their order.
        assert_eq!(plan.matches("Sort Key").count(), 1, "{plan}");
    }
}
