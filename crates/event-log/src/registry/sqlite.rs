use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use prost_reflect::FileDescriptor;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::compatibility;
use crate::{ProtoSchema, Registered, RegisteredSchema, RegistryError, SchemaReference, SchemaRegistry};

/// Version of the tables, in the file's `user_version`.
const VERSION: i64 = 1;
/// How long another process's transaction is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Schemas that a schema may import, directly or not.
const IMPORTS_MAX: usize = 256;

const TABLES: &str = "
    CREATE TABLE schemas (
        id INTEGER PRIMARY KEY,
        text TEXT NOT NULL,
        imports TEXT NOT NULL, -- [[name, subject, version], …]
        UNIQUE (text, imports)
    );
    CREATE TABLE versions (
        subject TEXT, version INTEGER, schema INTEGER NOT NULL REFERENCES schemas (id),
        PRIMARY KEY (subject, version)
    ) WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// A registry in a SQLite file or in memory: a table of ids.
///
/// Like Confluent's, it gives one text one id, whichever subjects have it. What a subject may become: see
/// `compatibility` in the source; it is stricter than BACKWARD asks.
#[derive(Clone, Debug)]
pub struct SqliteRegistry {
    connection: Arc<Mutex<Connection>>,
}

impl SqliteRegistry {
    /// Opens the registry at that path, or one in memory that ends with it.
    ///
    /// # Errors
    /// `Refused` where the file is no such registry.
    pub fn open(path: Option<&Path>) -> Result<Self, RegistryError> {
        let connection = match path {
            Some(path) => Connection::open(path),
            None => Connection::open_in_memory(),
        };
        let connection = connection.and_then(prepare).map_err(|error| {
            let place = path.map_or("in memory".to_owned(), |path| path.display().to_string());
            RegistryError::Refused(format!("the schema registry {place} cannot be opened: {error}"))
        })?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let connection = self.connection.clone();
        let done = spawn_blocking(move || {
            let mut connection = connection.lock();
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(unavailable)?;
            let done = work(&transaction)?;
            transaction.commit().map_err(unavailable)?;
            Ok(done)
        });
        done.await.unwrap_or_else(|error| Err(RegistryError::Unavailable(error.to_string())))
    }
}

#[async_trait]
impl SchemaRegistry for SqliteRegistry {
    async fn register(&self, subject: &str, schema: &ProtoSchema) -> Result<Registered, RegistryError> {
        let (subject, schema) = (subject.to_owned(), schema.clone());
        self.with(move |transaction| register(transaction, &subject, &schema)).await
    }

    async fn schema(&self, id: u32) -> Result<Option<RegisteredSchema>, RegistryError> {
        let sql = "SELECT id, text, imports FROM schemas WHERE id = ?";
        self.with(move |transaction| {
            let found = transaction.query_row(sql, [id], schema_of).optional();
            found.map_err(unavailable)
        })
        .await
    }

    async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>, RegistryError> {
        let sql = "SELECT id, text, imports FROM versions JOIN schemas ON schema = id WHERE subject = ?
                   ORDER BY version DESC LIMIT 1";
        let subject = subject.to_owned();
        self.with(move |transaction| {
            let found = transaction.query_row(sql, [&subject], schema_of).optional();
            found.map_err(unavailable)
        })
        .await
    }

    async fn check(&self) -> Result<(), RegistryError> {
        self.with(|_| Ok(())).await
    }
}

fn prepare(mut connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => transaction.execute_batch(TABLES)?,
        VERSION => {}
        newer => return Err(rusqlite::Error::IntegralValueOutOfRange(0, newer)),
    }
    transaction.commit()?;
    Ok(connection)
}

fn register(transaction: &Transaction<'_>, subject: &str, schema: &ProtoSchema) -> Result<Registered, RegistryError> {
    let imports = imports_text(&schema.references);
    let earlier = versions(transaction, subject)?;
    let version_at = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
    if let Some((index, found)) = earlier.iter().enumerate().find(|(_, found)| found.schema == *schema) {
        return Ok(Registered { id: found.id, version: version_at(index) });
    }
    let new = compiled(transaction, schema)?;
    for version in &earlier {
        compatibility::check(&new, &compiled(transaction, &version.schema)?)
            .map_err(|detail| RegistryError::Incompatible { subject: subject.into(), detail })?;
    }
    let known = transaction.query_row(
        "SELECT id FROM schemas WHERE text = ? AND imports = ?",
        params![schema.text, imports],
        |row| row.get(0),
    );
    let id: u32 = match known.optional().map_err(unavailable)? {
        Some(id) => id,
        None => transaction
            .query_row(
                "INSERT INTO schemas (text, imports) VALUES (?, ?) RETURNING id",
                params![schema.text, imports],
                |row| row.get(0),
            )
            .map_err(unavailable)?,
    };
    let version = version_at(earlier.len());
    transaction.execute("INSERT INTO versions VALUES (?, ?, ?)", params![subject, version, id]).map_err(unavailable)?;
    Ok(Registered { id, version })
}

fn versions(transaction: &Transaction<'_>, subject: &str) -> Result<Vec<RegisteredSchema>, RegistryError> {
    let sql = "SELECT id, text, imports FROM versions JOIN schemas ON schema = id WHERE subject = ? ORDER BY version";
    let mut select = transaction.prepare(sql).map_err(unavailable)?;
    let rows = select.query_map([subject], schema_of).map_err(unavailable)?;
    rows.collect::<rusqlite::Result<_>>().map_err(unavailable)
}

fn compiled(transaction: &Transaction<'_>, schema: &ProtoSchema) -> Result<FileDescriptor, RegistryError> {
    let mut texts = HashMap::new();
    let mut open = schema.references.clone();
    while let Some(reference) = open.pop() {
        if texts.contains_key(&reference.name) {
            continue;
        }
        if texts.len() == IMPORTS_MAX {
            return Err(RegistryError::Refused(format!("the schema imports more than {IMPORTS_MAX} others")));
        }
        let sql =
            "SELECT id, text, imports FROM versions JOIN schemas ON schema = id WHERE subject = ? AND version = ?";
        let found = transaction.query_row(sql, params![reference.subject, reference.version], schema_of).optional();
        let Some(found) = found.map_err(unavailable)? else {
            let SchemaReference { name, subject, version } = reference;
            let text = format!("the import {name} is not there: {subject} has no version {version}");
            return Err(RegistryError::Refused(text));
        };
        texts.insert(reference.name, found.schema.text);
        open.extend(found.schema.references);
    }
    compatibility::compile(&schema.text, texts)
        .map_err(|error| RegistryError::Refused(format!("the schema does not compile: {error}")))
}

fn imports_text(references: &[SchemaReference]) -> String {
    let triples = references.iter().map(|r| json!([r.name, r.subject, r.version]));
    Value::Array(triples.collect()).to_string()
}

fn schema_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<RegisteredSchema> {
    let imports: String = row.get(2)?;
    let invalid = |error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error)
    };
    let triples: Vec<Value> = serde_json::from_str(&imports).map_err(|error| invalid(error.into()))?;
    let reference = |triple: &Value| {
        let version = triple[2].as_u64().and_then(|version| u32::try_from(version).ok())?;
        Some(SchemaReference { name: triple[0].as_str()?.into(), subject: triple[1].as_str()?.into(), version })
    };
    let references: Option<Vec<_>> = triples.iter().map(reference).collect();
    let references = references.ok_or_else(|| invalid("imports that are no triples".into()))?;
    Ok(RegisteredSchema { id: row.get(0)?, schema: ProtoSchema { text: row.get(1)?, references } })
}

fn unavailable(error: rusqlite::Error) -> RegistryError {
    RegistryError::Unavailable(error.to_string())
}
