use deadpool_postgres::Object;
use headwater_domain::{RecordedBatch, SpanAsk, StoredEvent, StreamSchema};
use tokio_postgres::types::ToSql;

use super::error::classify;
use super::partitions::parts;
use super::table::{Table, read_row};
use super::value::Moment;
use crate::spans::{Figures, by_rule, in_order, span_us};
use crate::{AllTimeQuery, HistoryError, HistoryPage, HistoryQuery, HistoryRow, PartitionProgress, VerdictFilter};

/// The first stretch of time that a page is looked for in; each next one is longer by the factor.
const STRETCH_FIRST_US: i64 = 60_000_000;
const STRETCH_FACTOR: i64 = 8;

pub(super) async fn span_counts(
    client: &Object,
    schema: &StreamSchema,
    partition: i32,
    asks: &[SpanAsk],
) -> Result<Vec<u64>, HistoryError> {
    let table = Table::of(schema);
    let mut figures = Figures::new();
    for asked in by_rule(schema, asks) {
        let rule = &schema.rules[asked.rule];
        let length_us = span_us(schema, asked.rule);
        // Without an empty key among those asked, a plain comparison does, for which an index of the column serves.
        let is_plain = asked.keys.first().is_some_and(|key| !key.is_empty());
        let per = match schema.columns[rule.per].kind {
            headwater_domain::ColumnType::Text if is_plain => table.column(rule.per),
            _ => table.key_text(rule.per),
        };
        let filter = rule.filter.as_ref();
        let matches = filter.map_or("$6::text IS NULL".to_owned(), |on| table.key_is(on.field, &on.equals, 6));
        let sql = format!(
            "SELECT {per}, date_bin($5 * interval '1 second', {time}, $7), count(*) FROM {name}
             WHERE _partition = $1 AND {time} >= $2 AND {time} < $3 AND {per} = ANY($4::text[]) AND {matches}
             GROUP BY 1, 2",
            time = table.time,
            name = table.name,
        );
        let statement = client.prepare_cached(&sql).await.map_err(|error| classify(&error))?;
        // Spans are counted from the epoch; an origin before every time keeps the division to one direction.
        let origin = Moment(-(62_135_596_800_000_000 / length_us) * length_us);
        let every_s = f64::from(rule.every_s.max(1));
        let equals = filter.map(|on| on.equals.as_str());
        for (start, end) in &asked.stretches {
            let rows = client
                .query(
                    &statement,
                    &[&partition, &Moment(*start), &Moment(*end), &asked.keys, &every_s, &equals, &origin],
                )
                .await
                .map_err(|error| classify(&error))?;
            for row in rows {
                let count = row.get::<_, i64>(2).unsigned_abs();
                figures.insert((asked.rule, row.get::<_, Moment>(1).0, row.get(0)), count);
            }
        }
    }
    Ok(in_order(asks, &figures))
}

pub(super) async fn batches(
    client: &Object,
    schema: &StreamSchema,
    partition: i32,
    from: Option<i64>,
    limit: usize,
) -> Result<Vec<RecordedBatch>, HistoryError> {
    let sql = "SELECT first_offset, next_offset, is_start, min_time_us, max_time_us, stored FROM batches
               WHERE stream = $1 AND partition = $2 AND first_offset >= $3 ORDER BY first_offset LIMIT $4";
    let (from, limit) = (from.unwrap_or(i64::MIN), as_limit(limit));
    let rows = client.query(sql, &[&schema.name, &partition, &from, &limit]).await.map_err(|error| classify(&error))?;
    let mut found = Vec::with_capacity(rows.len());
    let mut wanted = Vec::with_capacity(rows.len());
    let (mut first_us, mut last_us) = (i64::MAX, i64::MIN);
    for row in &rows {
        let (first, next, is_start) = (row.get(0), row.get(1), row.get(2));
        found.push(RecordedBatch { partition, first, next, is_start, stored: Vec::new() });
        wanted.push(usize::try_from(row.get::<_, i32>(5)).unwrap_or(0));
        first_us = row.get::<_, Option<i64>>(3).map_or(first_us, |us| us.min(first_us));
        last_us = row.get::<_, Option<i64>>(4).map_or(last_us, |us| us.max(last_us));
    }
    if let (Some(first), Some(last)) = (found.first(), found.last())
        && first_us <= last_us
    {
        let table = Table::of(schema);
        let sql = format!(
            "SELECT {columns} FROM {name} WHERE _partition = $1 AND _offset >= $2 AND _offset < $3
                 AND {time} >= $4 AND {time} <= $5 ORDER BY _offset",
            columns = table.columns(),
            name = table.name,
            time = table.time,
        );
        let statement = client.prepare_cached(&sql).await.map_err(|error| classify(&error))?;
        let times = (Moment(first_us), Moment(last_us));
        let rows = client
            .query(&statement, &[&partition, &first.first, &last.next, &times.0, &times.1])
            .await
            .map_err(|error| classify(&error))?;
        let mut at = 0;
        for row in rows {
            let (_, stored) = read_row(schema, &row)?;
            while at + 1 < found.len() && stored.offset >= found[at].next {
                at += 1;
            }
            found[at].stored.push(stored);
        }
    }
    for (batch, wanted) in found.iter().zip(wanted) {
        if batch.stored.len() != wanted {
            let (first, next, kept) = (batch.first, batch.next, batch.stored.len());
            return Err(HistoryError::Refused(format!(
                "stream {}, partition {partition}: of the {wanted} events of batch [{first}, {next}) {kept} are kept",
                schema.name
            )));
        }
    }
    Ok(found)
}

pub(super) async fn rows(
    client: &Object,
    schema: &StreamSchema,
    partition: i32,
    first: i64,
    before: i64,
    limit: usize,
) -> Result<Vec<StoredEvent>, HistoryError> {
    let table = Table::of(schema);
    let sql = format!(
        "SELECT {columns} FROM {name} WHERE _partition = $1 AND _offset >= $2 AND _offset < $3 ORDER BY _offset LIMIT $4",
        columns = table.columns(),
        name = table.name,
    );
    let statement = client.prepare_cached(&sql).await.map_err(|error| classify(&error))?;
    let rows = client.query(&statement, &[&partition, &first, &before, &as_limit(limit)]).await;
    rows.map_err(|error| classify(&error))?.iter().map(|row| Ok(read_row(schema, row)?.1)).collect()
}

pub(super) async fn progress(client: &Object, schema: &StreamSchema) -> Result<Vec<PartitionProgress>, HistoryError> {
    let sql = "SELECT partition, start_offset, next_offset, last_appended_ms, epoch, log_shift FROM offsets
               WHERE stream = $1 AND next_offset IS NOT NULL ORDER BY partition";
    let rows = client.query(sql, &[&schema.name]).await.map_err(|error| classify(&error))?;
    let progress = |row: &tokio_postgres::Row| PartitionProgress {
        partition: row.get(0),
        start: row.get(1),
        next: row.get(2),
        last_appended_ms: row.get(3),
        epoch: row.get(4),
        log_shift: row.get(5),
    };
    Ok(rows.iter().map(progress).collect())
}

/// A page is looked for in stretches of time that grow, part by part: nothing sorts a whole day to show its first events.
pub(super) async fn query(
    client: &Object,
    schema: &StreamSchema,
    query: &HistoryQuery,
) -> Result<HistoryPage, HistoryError> {
    let wanted = query.limit.saturating_add(1);
    let from_us = query.after.as_ref().map_or(query.start_us, |(us, _)| query.start_us.max(*us));
    let end_us = query.end_us.unwrap_or(i64::MAX);
    let mut rows = Vec::new();
    if query.limit == 0 {
        return Ok(HistoryPage { rows, more: false });
    }
    let is_searched = query.id.is_some() || (query.key.is_some() && schema.indexes.contains(&schema.key));
    if is_searched {
        rows = stretch(client, schema, query, (from_us, end_us), wanted).await?;
    } else {
        let mut length_us = STRETCH_FIRST_US;
        'parts: for part in parts(&***client, schema).await? {
            let mut start_us = from_us.max(part.start_us);
            let stop_us = end_us.min(part.end_us);
            while start_us < stop_us {
                let until_us = start_us.saturating_add(length_us).min(stop_us);
                let missing = wanted - rows.len();
                rows.extend(stretch(client, schema, query, (start_us, until_us), missing).await?);
                if rows.len() >= wanted {
                    break 'parts;
                }
                start_us = until_us;
                length_us = length_us.saturating_mul(STRETCH_FACTOR);
            }
        }
    }
    let more = rows.len() > query.limit;
    rows.truncate(query.limit);
    Ok(HistoryPage { rows, more })
}

/// The first events of a query whose time lies in [start, end).
async fn stretch(
    client: &Object,
    schema: &StreamSchema,
    query: &HistoryQuery,
    (start_us, end_us): (i64, i64),
    limit: usize,
) -> Result<Vec<HistoryRow>, HistoryError> {
    let table = Table::of(schema);
    let (time, id) = (&table.time, &table.id);
    let (start, end, limit) = (Moment(start_us), Moment(end_us), as_limit(limit));
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&start, &end, &limit];
    let mut conditions = format!("{time} >= $1 AND {time} < $2");
    let mut add = |condition: &dyn Fn(usize) -> String, parameter| {
        parameters.push(parameter);
        conditions.push_str(" AND ");
        conditions.push_str(&condition(parameters.len()));
    };
    if let Some(key) = &query.key {
        add(&|n| table.key_is(schema.key, key, n), key);
    }
    if let Some(wanted) = &query.id {
        add(&|n| format!("{id} = ${n}"), wanted);
    }
    let after = query.after.as_ref().map(|(us, id)| (Moment(*us), id));
    if let Some((after_time, after_id)) = &after {
        add(&|n| format!("{time} >= ${n}"), after_time);
        add(&|n| format!("({time}, {id}) > (${}, ${n})", n - 1), *after_id);
    }
    match query.verdict {
        VerdictFilter::All => {}
        VerdictFilter::Counted => conditions.push_str(" AND _rule IS NULL"),
        VerdictFilter::Flagged => conditions.push_str(" AND _rule IS NOT NULL"),
    }
    let sql =
        format!("SELECT {} FROM {} WHERE {conditions} ORDER BY {time}, {id} LIMIT $3", table.columns(), table.name);
    let statement = client.prepare_cached(&sql).await.map_err(|error| classify(&error))?;
    let rows = client.query(&statement, &parameters).await.map_err(|error| classify(&error))?;
    let row = |row: &tokio_postgres::Row| read_row(schema, row).map(|(partition, row)| HistoryRow { partition, row });
    rows.iter().map(row).collect()
}

pub(super) async fn all_time_distinct(
    client: &Object,
    schema: &StreamSchema,
    query: &AllTimeQuery,
) -> Result<(Vec<(String, u64)>, u64), HistoryError> {
    let table = Table::of(schema);
    let member = table.key_text(query.field);
    let db = |error: tokio_postgres::Error| classify(&error);
    let Some(by) = query.by else {
        let sql = format!(
            "SELECT count(*) FROM (SELECT DISTINCT {member} FROM {} WHERE _rule IS NULL) AS members",
            table.name
        );
        let row = client.query_one(&sql, &[]).await.map_err(db)?;
        return Ok((vec![(String::new(), row.get::<_, i64>(0).unsigned_abs())], 1));
    };
    let key = table.key_text(by);
    let only = query.key.as_ref().map_or("$3::text IS NULL".to_owned(), |key| table.key_is(by, key, 3));
    let sql = format!(
        "WITH figures AS MATERIALIZED (
             SELECT key, count(*) AS figure
             FROM (SELECT DISTINCT {key} AS key, {member} AS member FROM {name} WHERE _rule IS NULL AND {only}) AS members
             GROUP BY key
         ), page AS (SELECT key, figure FROM figures ORDER BY figure DESC, key LIMIT $1 OFFSET $2)
         SELECT total.keys, page.key, page.figure
         FROM (SELECT count(*) AS keys FROM figures) AS total LEFT JOIN page ON true
         ORDER BY page.figure DESC, page.key",
        name = table.name
    );
    let rows = client.query(&sql, &[&as_limit(query.limit), &as_limit(query.skip), &query.key]).await.map_err(db)?;
    let keys = rows.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs());
    let figure =
        |row: &tokio_postgres::Row| Some((row.get::<_, Option<String>>(1)?, row.get::<_, i64>(2).unsigned_abs()));
    Ok((rows.iter().filter_map(figure).collect(), keys))
}

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
