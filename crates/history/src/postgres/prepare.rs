use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Transaction};
use headwater_domain::{StreamSchema, murmur2};
use headwater_planted::{self as planted, Bug};
use tokio_postgres::GenericClient;

use super::connection::{Database, within};
use super::error::classify;
use super::table::{Table, quoted};
use super::value::sql_type;
use crate::HistoryError;
use crate::contract::{Changes, Contract, changes, check_names};

mod own_tables {
    refinery::embed_migrations!("migrations/postgres");
}

/// Longest time for all that preparing does: an index over what is stored takes its time.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest wait for another process that prepares, and for the transactions that a change of a table has to let end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// First half of the platform's advisory locks, "HDWT"; the second says what is locked.
const LOCK_CLASS: i32 = 0x4844_5754;

/// Makes the platform's own tables and the streams'.
pub(super) async fn prepare(db: &Database, streams: &[Arc<StreamSchema>]) -> Result<(), HistoryError> {
    for schema in streams {
        check_names(schema)?;
    }
    let work = async {
        let mut client = db.session("headwater prepare").await?;
        let (statement_ms, lock_ms) = (PREPARE_TIMEOUT.as_millis(), LOCK_TIMEOUT.as_millis());
        let limits = format!("SET statement_timeout = {statement_ms}; SET lock_timeout = {lock_ms}");
        client.batch_execute(&limits).await.map_err(|error| classify(&error))?;
        migrate(&mut client, &db.namespace).await?;
        for schema in streams {
            prepare_stream(&mut client, &db.namespace, schema).await?;
        }
        Ok(())
    };
    within(PREPARE_TIMEOUT, work).await
}

/// Keeps other processes from changing the stream's tables until the transaction ends.
pub(super) async fn stream_lock(
    client: &(impl GenericClient + Sync),
    namespace: &str,
    schema: &StreamSchema,
) -> Result<(), HistoryError> {
    let what = lock_number(&format!("{namespace}.{}", schema.table));
    let locked = client.execute("SELECT pg_advisory_xact_lock($1, $2)", &[&LOCK_CLASS, &what]).await;
    locked.map(drop).map_err(|error| classify(&error))
}

fn lock_number(of: &str) -> i32 {
    murmur2(of.as_bytes()).cast_signed()
}

async fn migrate(client: &mut ClientWrapper, namespace: &str) -> Result<(), HistoryError> {
    let db = |error: tokio_postgres::Error| classify(&error);
    let what = lock_number(namespace);
    client.execute("SELECT pg_advisory_lock($1, $2)", &[&LOCK_CLASS, &what]).await.map_err(db)?;
    // Not by IF NOT EXISTS alone, which needs the right to make schemas even where there is nothing to make.
    let is_there =
        client.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&namespace]).await.map_err(db)?;
    if is_there.is_none() {
        client.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(namespace))).await.map_err(db)?;
    }
    // A process of an older version may start beside a newer one, and finds migrations that it does not know.
    let runner = own_tables::migrations::runner().set_abort_missing(false);
    let migrated = runner.run_async(&mut **client).await;
    client.execute("SELECT pg_advisory_unlock($1, $2)", &[&LOCK_CLASS, &what]).await.map_err(db)?;
    migrated.map(drop).map_err(|error| {
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            if let Some(error) = cause.downcast_ref::<tokio_postgres::Error>() {
                return classify(error);
            }
            source = cause.source();
        }
        HistoryError::Refused(error.to_string())
    })
}

async fn prepare_stream(
    client: &mut ClientWrapper,
    namespace: &str,
    schema: &StreamSchema,
) -> Result<(), HistoryError> {
    let transaction = client.transaction().await.map_err(|error| classify(&error))?;
    stream_lock(&*transaction, namespace, schema).await?;
    let contract = match remembered(&transaction, schema).await? {
        None => create(&transaction, schema).await?,
        Some(stored) => match changes(&stored, schema) {
            Ok(changes) => apply(&transaction, schema, changes).await?,
            Err(reason) => {
                if holds_events(&transaction, schema).await? {
                    return Err(HistoryError::Contract(reason));
                }
                run(&transaction, &format!("DROP TABLE {}", Table::of(schema).name)).await?;
                create(&transaction, schema).await?
            }
        },
    };
    index(&transaction, schema).await?;
    remember(&transaction, schema, &contract).await?;
    transaction.commit().await.map_err(|error| classify(&error))
}

async fn remembered(transaction: &Transaction<'_>, schema: &StreamSchema) -> Result<Option<Contract>, HistoryError> {
    let sql = "SELECT stream, message, id_field, key_field, time_field, columns FROM contracts
               WHERE stream = $1 OR table_name = $2";
    let rows = transaction.query(sql, &[&schema.name, &schema.table]).await.map_err(|error| classify(&error))?;
    let mut found = None;
    for row in rows {
        let stream: String = row.get(0);
        if stream != schema.name {
            let text = format!("stream {}: the table {} is stream {stream}'s", schema.name, schema.table);
            return Err(HistoryError::Contract(text));
        }
        let number = |index: usize| u32::try_from(row.get::<_, i64>(index)).unwrap_or(0);
        let unreadable = || HistoryError::Refused(format!("stream {stream}: its row of contracts cannot be read"));
        let columns = Contract::columns_of(&row.get(5)).ok_or_else(unreadable)?;
        found = Some(Contract { message: row.get(1), id: number(2), key: number(3), time: number(4), columns });
    }
    Ok(found)
}

async fn remember(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    contract: &Contract,
) -> Result<(), HistoryError> {
    let sql = "INSERT INTO contracts (stream, message, table_name, id_field, key_field, time_field, columns)
               VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT (stream) DO UPDATE SET message = excluded.message, table_name = excluded.table_name,
                   id_field = excluded.id_field, key_field = excluded.key_field, time_field = excluded.time_field,
                   columns = excluded.columns";
    let [id, key, time] = [contract.id, contract.key, contract.time].map(i64::from);
    let columns = contract.columns_json();
    let stored =
        transaction.execute(sql, &[&schema.name, &contract.message, &schema.table, &id, &key, &time, &columns]).await;
    stored.map(drop).map_err(|error| classify(&error))
}

/// Whether the table has a row, and none can come before the transaction ends.
async fn holds_events(transaction: &Transaction<'_>, schema: &StreamSchema) -> Result<bool, HistoryError> {
    let table = Table::of(schema).name;
    run(transaction, &format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await?;
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {table})");
    let row = transaction.query_one(&sql, &[]).await.map_err(|error| classify(&error))?;
    Ok(row.get(0))
}

async fn create(transaction: &Transaction<'_>, schema: &StreamSchema) -> Result<Contract, HistoryError> {
    let table = Table::of(schema);
    let (name, time, id) = (&table.name, &table.time, &table.id);
    let column = |(index, column): (usize, &headwater_domain::Column)| {
        let must = if index == schema.id || index == schema.time { " NOT NULL" } else { "" };
        format!("{} {}{must}, ", quoted(&column.name), sql_type(column.kind))
    };
    let columns: String = schema.columns.iter().enumerate().map(column).collect();
    let index = |of: &str| quoted(&format!("{}{of}", table.base()));
    let unique = if planted::is(Bug::NoDeduplication) { "" } else { "UNIQUE" };
    // Several partitions of the topic share a stretch of the table, each at offsets of its own: an index of one
    // least and one greatest offset per stretch would say nothing.
    let sql = format!(
        "CREATE TABLE {name} (
             {columns}
             _partition integer NOT NULL, _offset bigint NOT NULL, _appended_at timestamptz NOT NULL,
             _rule text, _rule_version integer, _rule_count bigint, _unknown bytea
         ) PARTITION BY RANGE ({time});
         CREATE {unique} INDEX {} ON {name} ({id}, {time});
         CREATE INDEX {} ON {name} USING brin ({time}) WITH (autosummarize = on);
         CREATE INDEX {} ON {name} USING brin (_offset int8_minmax_multi_ops) WITH (autosummarize = on)",
        index("identity"),
        index("time"),
        index("offset"),
    );
    run(transaction, &sql).await?;
    Ok(Contract::of(schema))
}

async fn apply(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    changes: Changes,
) -> Result<Contract, HistoryError> {
    let table = Table::of(schema).name;
    for (from, to) in &changes.renames {
        run(transaction, &format!("ALTER TABLE {table} RENAME COLUMN {} TO {}", quoted(from), quoted(to))).await?;
    }
    for column in &changes.added {
        let sql = format!("ALTER TABLE {table} ADD COLUMN {} {}", quoted(&column.name), sql_type(column.kind));
        run(transaction, &sql).await?;
    }
    Ok(changes.contract)
}

/// Makes the indexes that the contract asks for, and drops those that it no longer does: each has its price.
async fn index(transaction: &Transaction<'_>, schema: &StreamSchema) -> Result<(), HistoryError> {
    let table = Table::of(schema);
    let base = format!("{}by_", table.base());
    let sql = "SELECT indexname::text FROM pg_indexes
               WHERE schemaname = current_schema() AND tablename = $1 AND starts_with(indexname, $2)";
    let rows = transaction.query(sql, &[&schema.table, &base]).await.map_err(|error| classify(&error))?;
    let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut wanted = Vec::new();
    for field in &schema.indexes {
        let name = format!("{base}{}", schema.columns[*field].number);
        if !there.contains(&name) {
            let (name, column) = (quoted(&name), table.column(*field));
            run(transaction, &format!("CREATE INDEX {name} ON {} ({column}, {})", table.name, table.time)).await?;
        }
        wanted.push(name);
    }
    for name in there.iter().filter(|name| !wanted.contains(name)) {
        run(transaction, &format!("DROP INDEX {}", quoted(name))).await?;
    }
    Ok(())
}

async fn run(transaction: &Transaction<'_>, sql: &str) -> Result<(), HistoryError> {
    transaction.batch_execute(sql).await.map_err(|error| classify(&error))
}
