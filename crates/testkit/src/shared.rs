//! The servers that a whole test run shares, and how tests keep apart on them.

use anyhow::{Context, Result};
use uuid::Uuid;

/// Names the shared Kafka broker: `host:port`.
pub const KAFKA: &str = "HEADWATER_TEST_KAFKA";
/// Names the shared schema registry: the URL of its Confluent API.
pub const REGISTRY: &str = "HEADWATER_TEST_REGISTRY";
/// Names the shared Redis: `redis://host:port`.
pub const REDIS: &str = "HEADWATER_TEST_REDIS";
/// Names the shared Postgres: `postgres://user@host:port/database`, a user that may create databases.
pub const POSTGRES: &str = "HEADWATER_TEST_POSTGRES";

/// The address of a shared server, by the name of its variable: [`KAFKA`], [`REGISTRY`], [`REDIS`] or [`POSTGRES`].
///
/// # Panics
/// Where the variable is absent: a test that cannot reach its server fails, it is not skipped.
#[must_use]
pub fn require(variable: &str) -> String {
    match std::env::var(variable) {
        Ok(address) if !address.is_empty() => address,
        _ => panic!(
            "{variable} is not set: this test needs a real server. Run `make test` (or `cargo xtask test -- NAME` for one \
             test), or start the servers with `cargo xtask parts up` and take their addresses with \
             `eval \"$(cargo xtask parts env)\"`."
        ),
    }
}

/// A name that no other test uses: `prefix-` and 12 hexadecimal digits. Good for topics, key prefixes and groups.
#[must_use]
pub fn unique(prefix: &str) -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &random[..12])
}

/// Makes an empty database on a Postgres server and returns its URL. It is not dropped: the server is thrown away.
///
/// # Errors
/// Where the server does not answer, or its user may not create databases.
pub async fn fresh_database(server_url: &str) -> Result<String> {
    let (client, connection) = tokio_postgres::connect(server_url, tokio_postgres::NoTls)
        .await
        .with_context(|| format!("cannot connect to {server_url}"))?;
    let name = unique("test").replace('-', "_");
    let create = format!("CREATE DATABASE {name}");
    // The connection has to be driven while the statement runs; it ends when the client is dropped.
    let work = async move { client.batch_execute(&create).await };
    let (made, _) = tokio::join!(work, connection);
    made.context("cannot create a database")?;
    let (base, _) = server_url.rsplit_once('/').context("the URL of a Postgres server ends with /DATABASE")?;
    Ok(format!("{base}/{name}"))
}
