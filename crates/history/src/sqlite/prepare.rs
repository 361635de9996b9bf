use std::sync::Arc;

use headwater_domain::StreamSchema;
use headwater_planted::{self as planted, Bug};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::classify;
use super::table::{Table, quoted, sql_type};
use crate::HistoryError;
use crate::contract::{Changes, Contract, changes, check_names};

mod own_tables {
    refinery::embed_migrations!("migrations/sqlite");
}

/// How often the own tables are tried to be made: another connection may make them at the same moment, and is then
/// found to have done so.
const MIGRATIONS_ATTEMPTS_MAX: usize = 5;

/// Makes the platform's own tables and the streams'.
pub(super) fn prepare(connection: &mut Connection, streams: &[Arc<StreamSchema>]) -> Result<(), HistoryError> {
    for schema in streams {
        check_names(schema)?;
    }
    migrate(connection)?;
    for schema in streams {
        prepare_stream(connection, schema)?;
    }
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), HistoryError> {
    // Grouped: else a migration and the note that it was done are two transactions here (not so in Postgres), and a
    // process that ends between them leaves a file that no process can start with.
    let runner = own_tables::migrations::runner().set_grouped(true).set_abort_missing(false);
    let mut last = None;
    for _ in 0..MIGRATIONS_ATTEMPTS_MAX {
        match runner.run(connection) {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    let error = last.expect("there was an attempt");
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<rusqlite::Error>());
    Err(cause.map_or_else(|| HistoryError::Refused(error.to_string()), classify))
}

fn prepare_stream(connection: &mut Connection, schema: &StreamSchema) -> Result<(), HistoryError> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| classify(&error))?;
    let contract = match remembered(&transaction, schema)? {
        None => create(&transaction, schema)?,
        Some(stored) => match changes(&stored, schema) {
            Ok(changes) => apply(&transaction, schema, changes)?,
            Err(reason) => {
                let table = Table::of(schema).name;
                let sql = format!("SELECT EXISTS (SELECT 1 FROM {table})");
                if transaction.query_row(&sql, [], |row| row.get(0)).map_err(|error| classify(&error))? {
                    return Err(HistoryError::Contract(reason));
                }
                run(&transaction, &format!("DROP TABLE {table}"))?;
                create(&transaction, schema)?
            }
        },
    };
    index(&transaction, schema)?;
    remember(&transaction, schema, &contract).map_err(|error| classify(&error))?;
    transaction.commit().map_err(|error| classify(&error))
}

fn remembered(transaction: &Transaction<'_>, schema: &StreamSchema) -> Result<Option<Contract>, HistoryError> {
    let StreamSchema { name, table, .. } = schema;
    let other: Option<String> = transaction
        .query_row("SELECT stream FROM contracts WHERE table_name = ?1 AND stream <> ?2", params![table, name], |row| {
            row.get(0)
        })
        .optional()
        .map_err(|error| classify(&error))?;
    if let Some(other) = other {
        return Err(HistoryError::Contract(format!("stream {name}: the table {table} is stream {other}'s")));
    }
    let sql = "SELECT message, id_field, key_field, time_field, columns FROM contracts WHERE stream = ?1";
    let row = transaction
        .query_row(sql, [name], |row| {
            let (message, id, key, time) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((Contract { message, id, key, time, columns: Vec::new() }, row.get::<_, String>(4)?))
        })
        .optional()
        .map_err(|error| classify(&error))?;
    let Some((contract, columns)) = row else { return Ok(None) };
    let columns = serde_json::from_str(&columns).ok().and_then(|json| Contract::columns_of(&json));
    let unreadable = || HistoryError::Refused(format!("stream {name}: its row of contracts cannot be read"));
    Ok(Some(Contract { columns: columns.ok_or_else(unreadable)?, ..contract }))
}

fn remember(transaction: &Transaction<'_>, schema: &StreamSchema, contract: &Contract) -> rusqlite::Result<()> {
    let sql = "INSERT INTO contracts (stream, message, table_name, id_field, key_field, time_field, columns)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (stream) DO UPDATE SET message = excluded.message, table_name = excluded.table_name,
                   id_field = excluded.id_field, key_field = excluded.key_field, time_field = excluded.time_field,
                   columns = excluded.columns";
    let Contract { message, id, key, time, .. } = contract;
    let columns = contract.columns_json().to_string();
    transaction.execute(sql, params![schema.name, message, schema.table, id, key, time, columns]).map(drop)
}

fn create(transaction: &Transaction<'_>, schema: &StreamSchema) -> Result<Contract, HistoryError> {
    let table = Table::of(schema);
    let (name, time, id) = (&table.name, &table.time, &table.id);
    let column = |(index, column): (usize, &headwater_domain::Column)| {
        let must = if index == schema.id || index == schema.time { " NOT NULL" } else { "" };
        format!("{} {}{must}, ", quoted(&column.name), sql_type(column.kind))
    };
    let columns: String = schema.columns.iter().enumerate().map(column).collect();
    let index = |of: &str| quoted(&format!("{}${of}", schema.table));
    let unique = if planted::is(Bug::NoDeduplication) { "" } else { "UNIQUE" };
    let sql = format!(
        "CREATE TABLE {name} (
             {columns}
             _partition INTEGER NOT NULL, _offset INTEGER NOT NULL, _appended_ms INTEGER NOT NULL,
             _rule TEXT, _rule_version INTEGER, _rule_count INTEGER, _unknown BLOB,
             PRIMARY KEY (_partition, _offset)
         ) WITHOUT ROWID;
         CREATE {unique} INDEX {} ON {name} ({id}, {time});
         CREATE INDEX {} ON {name} ({time}, {id})",
        index("identity"),
        index("time"),
    );
    run(transaction, &sql)?;
    Ok(Contract::of(schema))
}

fn apply(transaction: &Transaction<'_>, schema: &StreamSchema, changes: Changes) -> Result<Contract, HistoryError> {
    let table = Table::of(schema).name;
    for (from, to) in &changes.renames {
        run(transaction, &format!("ALTER TABLE {table} RENAME COLUMN {} TO {}", quoted(from), quoted(to)))?;
    }
    for column in &changes.added {
        let sql = format!("ALTER TABLE {table} ADD COLUMN {} {}", quoted(&column.name), sql_type(column.kind));
        run(transaction, &sql)?;
    }
    Ok(changes.contract)
}

/// Makes the indexes that the contract asks for, and drops those that it no longer does: each has its price.
fn index(transaction: &Transaction<'_>, schema: &StreamSchema) -> Result<(), HistoryError> {
    let table = Table::of(schema);
    let base = format!("{}$by_", schema.table);
    let db = |error: rusqlite::Error| classify(&error);
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND substr(name, 1, ?2) = ?3";
    let length = i64::try_from(base.len()).unwrap_or(i64::MAX);
    let there: Vec<String> = {
        let mut statement = transaction.prepare(sql).map_err(db)?;
        let names = statement.query_map(params![schema.table, length, base], |row| row.get(0)).map_err(db)?;
        names.collect::<rusqlite::Result<_>>().map_err(db)?
    };
    let mut wanted = Vec::new();
    for field in &schema.indexes {
        let name = format!("{base}{}", schema.columns[*field].number);
        if !there.contains(&name) {
            let (name, column) = (quoted(&name), table.column(*field));
            run(transaction, &format!("CREATE INDEX {name} ON {} ({column}, {})", table.name, table.time))?;
        }
        wanted.push(name);
    }
    for name in there.iter().filter(|name| !wanted.contains(name)) {
        run(transaction, &format!("DROP INDEX {}", quoted(name)))?;
    }
    Ok(())
}

fn run(transaction: &Transaction<'_>, sql: &str) -> Result<(), HistoryError> {
    transaction.execute_batch(sql).map_err(|error| classify(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_that_cannot_be_noted_is_not_done() {
        let mut connection = Connection::open_in_memory().expect("memory");
        let unwilling = "CREATE TABLE refinery_schema_history (version, name, applied_on, checksum, CHECK (0))";
        connection.execute_batch(unwilling).expect("a table");
        assert!(migrate(&mut connection).is_err());
        connection.execute_batch("DROP TABLE refinery_schema_history").expect("it is there");
        assert_eq!(migrate(&mut connection), Ok(()));
        assert_eq!(migrate(&mut connection), Ok(()));
    }

    #[test]
    fn what_an_older_version_stored_is_kept() {
        let mut connection = Connection::open_in_memory().expect("memory");
        let first = own_tables::migrations::runner().set_target(refinery::Target::Version(1));
        first.run(&mut connection).expect("the first version's tables");
        let letters = "INSERT INTO dead_letters VALUES ('s', 0, 7, 1, 'BAD_FRAME', '', 'short', NULL, x'00')";
        connection.execute_batch(letters).expect("a letter");
        assert_eq!(migrate(&mut connection), Ok(()));
        let (offset, id): (i64, Option<String>) = connection
            .query_row("SELECT \"offset\", id FROM dead_letters", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("the letter");
        assert_eq!((offset, id), (7, None));
    }
}
