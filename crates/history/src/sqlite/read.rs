use headwater_domain::{RecordedBatch, SpanAsk, StoredEvent, StreamSchema};
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params, params_from_iter};

use super::classify;
use super::table::{Table, read_row};
use crate::spans::{Figures, by_rule, in_order, span_us};
use crate::{AllTimeQuery, HistoryError, HistoryPage, HistoryQuery, HistoryRow, PartitionProgress, VerdictFilter};

pub(super) fn span_counts(
    connection: &Connection,
    schema: &StreamSchema,
    partition: i32,
    asks: &[SpanAsk],
) -> Result<Vec<u64>, HistoryError> {
    let db = |error: rusqlite::Error| classify(&error);
    let table = Table::of(schema);
    let mut figures = Figures::new();
    for asked in by_rule(schema, asks) {
        let rule = &schema.rules[asked.rule];
        let per = table.key_text(rule.per);
        let matches =
            rule.filter.as_ref().map_or("?6 IS NULL".to_owned(), |on| format!("{} = ?6", table.key_text(on.field)));
        let sql = format!(
            "SELECT {per}, {time} - (({time} % ?5) + ?5) % ?5, count(*) FROM {name}
             WHERE _partition = ?1 AND {time} >= ?2 AND {time} < ?3 AND {matches}
                 AND {per} IN (SELECT value FROM json_each(?4))
             GROUP BY 1, 2",
            time = table.time,
            name = table.name,
        );
        let mut statement = connection.prepare_cached(&sql).map_err(db)?;
        let keys = serde_json::Value::from(asked.keys).to_string();
        let equals = rule.filter.as_ref().map(|on| &on.equals);
        for (start, end) in asked.stretches {
            let values = params![partition, start, end, keys, span_us(schema, asked.rule), equals];
            let mut rows = statement.query(values).map_err(db)?;
            while let Some(row) = rows.next().map_err(db)? {
                let figure = || Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?));
                let (key, start_us, count) = figure().map_err(db)?;
                figures.insert((asked.rule, start_us, key), count.unsigned_abs());
            }
        }
    }
    Ok(in_order(asks, &figures))
}

pub(super) fn batches(
    connection: &mut Connection,
    schema: &StreamSchema,
    partition: i32,
    from: Option<i64>,
    limit: usize,
) -> Result<Vec<RecordedBatch>, HistoryError> {
    let db = |error: rusqlite::Error| classify(&error);
    // One transaction: the batches and their events are of one moment.
    let transaction = connection.transaction().map_err(db)?;
    let mut found = Vec::new();
    let sql = "SELECT first_offset, next_offset, is_start, stored FROM batches
               WHERE stream = ?1 AND partition = ?2 AND first_offset >= ?3 ORDER BY first_offset LIMIT ?4";
    let mut statement = transaction.prepare_cached(sql).map_err(db)?;
    let values = params![schema.name, partition, from.unwrap_or(i64::MIN), as_limit(limit)];
    let rows = statement
        .query_map(values, |row| {
            let (first, next, is_start) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((RecordedBatch { partition, first, next, is_start, stored: Vec::new() }, row.get::<_, i64>(3)?))
        })
        .map_err(db)?;
    let table = Table::of(schema);
    let sql = format!(
        "SELECT {} FROM {} WHERE _partition = ?1 AND _offset >= ?2 AND _offset < ?3 ORDER BY _offset",
        table.columns(),
        table.name
    );
    let mut events = transaction.prepare_cached(&sql).map_err(db)?;
    for row in rows {
        let (mut batch, wanted) = row.map_err(db)?;
        let (first, next) = (batch.first, batch.next);
        let stored =
            events.query_map(params![partition, first, next], |row| Ok(read_row(schema, row)?.1)).map_err(db)?;
        batch.stored = stored.collect::<rusqlite::Result<_>>().map_err(db)?;
        let kept = as_limit(batch.stored.len());
        if kept != wanted {
            return Err(HistoryError::Refused(format!(
                "stream {}, partition {partition}: of the {wanted} events of batch [{first}, {next}) {kept} are kept",
                schema.name
            )));
        }
        found.push(batch);
    }
    Ok(found)
}

pub(super) fn rows(
    connection: &Connection,
    schema: &StreamSchema,
    partition: i32,
    first: i64,
    before: i64,
    limit: usize,
) -> Result<Vec<StoredEvent>, HistoryError> {
    let table = Table::of(schema);
    let sql = format!(
        "SELECT {} FROM {} WHERE _partition = ?1 AND _offset >= ?2 AND _offset < ?3 ORDER BY _offset LIMIT ?4",
        table.columns(),
        table.name
    );
    let read = || {
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement
            .query_map(params![partition, first, before, as_limit(limit)], |row| Ok(read_row(schema, row)?.1))?;
        rows.collect::<rusqlite::Result<_>>()
    };
    read().map_err(|error| classify(&error))
}

pub(super) fn progress(connection: &Connection, stream: &str) -> Result<Vec<PartitionProgress>, HistoryError> {
    let sql = "SELECT partition, start_offset, next_offset, last_appended_ms, epoch, log_shift FROM offsets
               WHERE stream = ?1 AND next_offset IS NOT NULL ORDER BY partition";
    let read = || {
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([stream], |row| {
            let (partition, start, next) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (last_appended_ms, epoch, log_shift) = (row.get(3)?, row.get(4)?, row.get(5)?);
            Ok(PartitionProgress { partition, start, next, last_appended_ms, epoch, log_shift })
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(|error| classify(&error))
}

pub(super) fn query(
    connection: &Connection,
    schema: &StreamSchema,
    query: &HistoryQuery,
) -> Result<HistoryPage, HistoryError> {
    if query.limit == 0 {
        return Ok(HistoryPage { rows: Vec::new(), more: false });
    }
    let table = Table::of(schema);
    let (time, id) = (&table.time, &table.id);
    let mut conditions = format!("{time} >= ?");
    let mut values = vec![Sql::from(query.start_us)];
    let mut add = |condition: String, value: Vec<Sql>| {
        conditions.push_str(" AND ");
        conditions.push_str(&condition);
        values.extend(value);
    };
    if let Some(end_us) = query.end_us {
        add(format!("{time} < ?"), vec![end_us.into()]);
    }
    if let Some(key) = &query.key {
        add(format!("{} = ?", table.key_text(schema.key)), vec![key.clone().into()]);
    }
    if let Some(wanted) = &query.id {
        add(format!("{id} = ?"), vec![wanted.clone().into()]);
    }
    if let Some((after_us, after_id)) = &query.after {
        add(format!("({time}, {id}) > (?, ?)"), vec![(*after_us).into(), after_id.clone().into()]);
    }
    match query.verdict {
        VerdictFilter::All => {}
        VerdictFilter::Counted => conditions.push_str(" AND _rule IS NULL"),
        VerdictFilter::Flagged => conditions.push_str(" AND _rule IS NOT NULL"),
    }
    values.push(as_limit(query.limit.saturating_add(1)).into());
    let sql =
        format!("SELECT {} FROM {} WHERE {conditions} ORDER BY {time}, {id} LIMIT ?", table.columns(), table.name);
    let read = || {
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(&values), |row| {
            read_row(schema, row).map(|(partition, row)| HistoryRow { partition, row })
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    let mut rows = read().map_err(|error| classify(&error))?;
    let more = rows.len() > query.limit;
    rows.truncate(query.limit);
    Ok(HistoryPage { rows, more })
}

pub(super) fn all_time_distinct(
    connection: &Connection,
    schema: &StreamSchema,
    query: &AllTimeQuery,
) -> Result<(Vec<(String, u64)>, u64), HistoryError> {
    let table = Table::of(schema);
    let (name, member) = (&table.name, table.key_text(query.field));
    let db = |error: rusqlite::Error| classify(&error);
    let Some(by) = query.by else {
        let sql = format!("SELECT count(DISTINCT {member}) FROM {name} WHERE _rule IS NULL");
        let figure: i64 = connection.query_row(&sql, [], |row| row.get(0)).map_err(db)?;
        return Ok((vec![(String::new(), figure.unsigned_abs())], 1));
    };
    let key = table.key_text(by);
    let only = if query.key.is_some() { format!("{key} = ?3") } else { "?3 IS NULL".to_owned() };
    let sql = format!(
        "WITH figures AS MATERIALIZED (
             SELECT {key} AS key, count(DISTINCT {member}) AS figure FROM {name} WHERE _rule IS NULL AND {only} GROUP BY 1
         ), page AS (SELECT key, figure FROM figures ORDER BY figure DESC, key LIMIT ?1 OFFSET ?2)
         SELECT total.keys, page.key, page.figure
         FROM (SELECT count(*) AS keys FROM figures) AS total LEFT JOIN page ON true
         ORDER BY page.figure DESC, page.key"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(db)?;
    let mut rows = statement.query(params![as_limit(query.limit), as_limit(query.skip), query.key]).map_err(db)?;
    let (mut found, mut keys) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(db)? {
        let figure = || Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<i64>>(2)?));
        let (total, key, figure) = figure().map_err(db)?;
        keys = total.unsigned_abs();
        found.extend(key.zip(figure.map(i64::unsigned_abs)));
    }
    Ok((found, keys))
}

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
