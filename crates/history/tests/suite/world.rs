//! A history of a test's own, and a way to look behind it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_domain::{BatchCommit, StreamSchema};
use headwater_history::postgres::{PostgresHistory, PostgresOptions};
use headwater_history::sqlite::SqliteHistory;
use headwater_history::{CommitOutcome, History};
use headwater_testkit::{POSTGRES, require, unique};

use crate::events::shared;

pub(crate) struct World {
    pub(crate) history: Arc<dyn History>,
    place: Place,
}

enum Place {
    Sqlite { file: PathBuf, _folder: tempfile::TempDir },
    Postgres { url: String, schema: String },
}

/// A dead letter as the table has it: partition, offset, reason, field, detail, key, value.
pub(crate) type Letter = (i32, i64, String, String, String, Option<Vec<u8>>, Option<Vec<u8>>);

impl World {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.sqlite3");
        let history = Arc::new(SqliteHistory::open(Some(&file)).unwrap());
        Self { history, place: Place::Sqlite { file, _folder: folder } }
    }

    pub(crate) async fn postgres() -> Self {
        let (url, schema) = (postgres_url(), unique_name());
        let history = Arc::new(PostgresHistory::connect(&options(&url, &schema)).unwrap());
        Self { history, place: Place::Postgres { url, schema } }
    }

    /// Another process on the same history.
    pub(crate) fn again(&self) -> Arc<dyn History> {
        match &self.place {
            Place::Sqlite { file, .. } => Arc::new(SqliteHistory::open(Some(file)).unwrap()),
            Place::Postgres { url, schema } => Arc::new(PostgresHistory::connect(&options(url, schema)).unwrap()),
        }
    }

    /// The name of the Postgres schema.
    pub(crate) fn schema(&self) -> &str {
        match &self.place {
            Place::Sqlite { .. } => panic!("SQLite has no schemas"),
            Place::Postgres { schema, .. } => schema,
        }
    }

    /// A connection of the test's own, to the world's Postgres schema.
    pub(crate) async fn sql(&self) -> tokio_postgres::Client {
        let client = connect(&postgres_url()).await;
        client.batch_execute(&format!("SET search_path = {}", self.schema())).await.unwrap();
        client
    }

    pub(crate) async fn dead_letters(&self, stream: &str) -> Vec<Letter> {
        let sql = "SELECT partition, \"offset\", reason, field, detail, key, value FROM dead_letters
                   WHERE stream = $1 ORDER BY partition, \"offset\"";
        match &self.place {
            Place::Sqlite { file, .. } => {
                let connection = rusqlite::Connection::open(file).unwrap();
                let mut statement = connection.prepare(&sql.replace('$', "?")).unwrap();
                let letter = |row: &rusqlite::Row<'_>| {
                    let who = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
                    Ok((who.0, who.1, who.2, who.3, who.4, row.get(5)?, row.get(6)?))
                };
                statement.query_map([stream], letter).unwrap().map(Result::unwrap).collect()
            }
            Place::Postgres { .. } => {
                let rows = self.sql().await.query(sql, &[&stream]).await.unwrap();
                let letter = |row: &tokio_postgres::Row| {
                    (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5), row.get(6))
                };
                rows.iter().map(letter).collect()
            }
        }
    }

    /// A number of the history's own tables.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        match &self.place {
            Place::Sqlite { file, .. } => {
                rusqlite::Connection::open(file).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
            }
            Place::Postgres { .. } => self.sql().await.query_one(sql, &[]).await.unwrap().get(0),
        }
    }

    /// The columns of a table that are a field's, or once were.
    pub(crate) async fn columns(&self, table: &str) -> Vec<String> {
        let own = ["_partition", "_offset", "_appended_at", "_appended_ms", "_unknown", "_rule", "_rule_version"];
        let names: Vec<String> = match &self.place {
            Place::Sqlite { file, .. } => {
                let connection = rusqlite::Connection::open(file).unwrap();
                let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
                statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
            }
            Place::Postgres { .. } => {
                let sql = "SELECT attname::text FROM pg_attribute
                           WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attname";
                let rows = self.sql().await.query(sql, &[&table]).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        };
        let is_own = |name: &String| own.contains(&name.as_str()) || name == "_rule_count";
        let mut names: Vec<String> = names.into_iter().filter(|name| !is_own(name)).collect();
        names.sort();
        names
    }

    /// Names of the indexes that a contract asked for.
    pub(crate) async fn asked_indexes(&self, table: &str) -> Vec<String> {
        let like = format!("{table}$by%");
        match &self.place {
            Place::Sqlite { file, .. } => {
                let connection = rusqlite::Connection::open(file).unwrap();
                let sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND name LIKE ?1 ORDER BY name";
                let mut statement = connection.prepare(sql).unwrap();
                statement.query_map([like], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
            }
            Place::Postgres { schema, .. } => {
                let sql =
                    "SELECT indexname::text FROM pg_indexes WHERE schemaname = $1 AND indexname LIKE $2 ORDER BY 1";
                let rows = self.sql().await.query(sql, &[schema, &like]).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// The world with this stream prepared, and partition 0 taken under epoch 1.
    pub(crate) async fn ready(&self, schema: &StreamSchema) {
        self.history.prepare(&shared(schema)).await.unwrap();
        assert_eq!(self.history.take(schema, 0, "test").await.unwrap().epoch, 1);
    }

    pub(crate) async fn committed(&self, schema: &StreamSchema, batch: &BatchCommit) {
        assert_eq!(self.history.commit(schema, batch).await, Ok(CommitOutcome::Committed));
    }

    pub(crate) async fn end(self) {
        if let Place::Postgres { url, schema } = &self.place {
            drop(self.history);
            let client = connect(url).await;
            client.batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await.unwrap();
        }
    }
}

pub(crate) fn postgres_url() -> String {
    require(POSTGRES)
}

/// The name of a Postgres schema that no other test uses.
pub(crate) fn unique_name() -> String {
    unique("history").replace('-', "_")
}

pub(crate) fn options(url: &str, schema: &str) -> PostgresOptions {
    PostgresOptions {
        pool_size_max: 3,
        connect_timeout: Duration::from_secs(2),
        statement_timeout: Duration::from_secs(20),
        schema: schema.to_owned(),
        ..PostgresOptions::new(url)
    }
}

pub(crate) async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
