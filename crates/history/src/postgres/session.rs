use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use headwater_domain::StreamSchema;
use headwater_planted::{self as planted, Bug};
use parking_lot::Mutex;
use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use super::connection::Database;
use super::error::classify;
use super::value::Moment;
use crate::contract::NAME_BYTES_MAX;
use crate::{HistoryError, Ownership, Remembered};

/// How long an ended session is waited for, in milliseconds: so that what it had locked is free.
const END_TIMEOUT_MS: i64 = 2000;

/// Who a session is, in a way that no other session ever is: process ids are used again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    pid: i32,
    started: Moment,
    application: String,
}

/// The connection that commits a partition's batches, while it is not in use and not lost.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<ClientWrapper>>>;

/// The partitions that this process took, each with its epoch and its connection.
#[derive(Default)]
pub(super) struct Sessions {
    held: Mutex<HashMap<(String, i32), (i64, Slot)>>,
}

impl Sessions {
    /// Holds a partition that was just taken. A connection of an earlier epoch ends when nobody uses it any more.
    pub(super) fn hold(&self, stream: &str, partition: i32, epoch: i64, client: ClientWrapper) {
        let slot = Arc::new(tokio::sync::Mutex::new(Some(client)));
        self.held.lock().insert((stream.to_owned(), partition), (epoch, slot));
    }

    /// The connection of an epoch; none where this process took the partition again since.
    pub(super) fn slot(&self, stream: &str, partition: i32, epoch: i64) -> Option<Slot> {
        let mut held = self.held.lock();
        let entry = held.entry((stream.to_owned(), partition)).or_insert_with(|| (epoch, Slot::default()));
        if entry.0 < epoch {
            *entry = (epoch, Slot::default());
        }
        (entry.0 == epoch).then(|| entry.1.clone())
    }

    /// Lets go of a partition that another owner has.
    pub(super) fn forget(&self, stream: &str, partition: i32, epoch: i64) {
        let mut held = self.held.lock();
        let key = (stream.to_owned(), partition);
        if held.get(&key).is_some_and(|(of, _)| *of == epoch) {
            held.remove(&key);
        }
    }
}

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// 0 where nobody ever took it.
    pub(super) epoch: i64,
    pub(super) next: Option<i64>,
}

/// Reads where a partition stands.
pub(super) async fn position(
    client: &(impl GenericClient + Sync),
    schema: &StreamSchema,
    partition: i32,
) -> Result<Position, HistoryError> {
    let sql = "SELECT epoch, next_offset FROM offsets WHERE stream = $1 AND partition = $2";
    let row = client.query_opt(sql, &[&schema.name, &partition]).await.map_err(|error| classify(&error))?;
    Ok(row.map_or(Position { epoch: 0, next: None }, |row| Position { epoch: row.get(0), next: row.get(1) }))
}

/// Takes a partition: the session that is returned is its owner, and the former owner's has ended.
pub(super) async fn take(
    db: &Database,
    schema: &StreamSchema,
    partition: i32,
    owner: &str,
) -> Result<(Ownership, ClientWrapper), HistoryError> {
    let db_error = |error: tokio_postgres::Error| classify(&error);
    let mut client = db.session(&application(schema, partition)).await?;
    // Before, so that a transaction that hangs does not hold what the next statement waits for.
    let former = identity(&*client, schema, partition, "").await?;
    if let Some(former) = &former {
        end(&client, former).await?;
    }
    let transaction = client.transaction().await.map_err(db_error)?;
    let make = "INSERT INTO offsets (stream, partition, epoch, owner) VALUES ($1, $2, 0, '') ON CONFLICT DO NOTHING";
    transaction.execute(make, &[&schema.name, &partition]).await.map_err(db_error)?;
    let latest = identity(&*transaction, schema, partition, "FOR UPDATE").await?;
    let sql = format!(
        "UPDATE offsets SET epoch = epoch + 1, owner = $3, {THIS_SESSION} WHERE stream = $1 AND partition = $2
         RETURNING epoch, next_offset, last_offset, last_appended_ms, last_checksum, newest_us, log_shift"
    );
    let row = transaction.query_one(&sql, &[&schema.name, &partition, &owner]).await.map_err(db_error)?;
    transaction.commit().await.map_err(db_error)?;
    if let Some(latest) = latest.filter(|latest| Some(latest) != former.as_ref()) {
        end(&client, &latest).await?;
    }
    let last = match (row.get(2), row.get(3), row.get::<_, Option<i64>>(4)) {
        (Some(offset), Some(appended_ms), Some(checksum)) => {
            Some(Remembered { offset, appended_ms, checksum: u32::try_from(checksum).unwrap_or(0) })
        }
        _ => None,
    };
    let (epoch, next, newest_us, log_shift) = (row.get(0), row.get(1), row.get(5), row.get(6));
    Ok((Ownership { epoch, next, last, newest_us, log_shift }, client))
}

/// A new session for an owner that lost its own, where it still is the owner; where not, no session.
/// Either way, how the partition stands after everything that the lost session did.
pub(super) async fn reopen(
    db: &Database,
    schema: &StreamSchema,
    partition: i32,
    epoch: i64,
) -> Result<(Option<ClientWrapper>, Position), HistoryError> {
    let client = db.session(&application(schema, partition)).await?;
    // The lost session may live on at the server, with a transaction that holds the row.
    if position(&*client, schema, partition).await?.epoch == epoch
        && let Some(lost) = identity(&*client, schema, partition, "").await?
    {
        end(&client, &lost).await?;
    }
    // The update waits for whoever holds the row, so what it returns is final.
    let sql = format!(
        "UPDATE offsets SET {THIS_SESSION} WHERE stream = $1 AND partition = $2 AND epoch = $3 RETURNING next_offset"
    );
    let row = client.query_opt(&sql, &[&schema.name, &partition, &epoch]).await.map_err(|error| classify(&error))?;
    match row {
        Some(row) => Ok((Some(client), Position { epoch, next: row.get(0) })),
        None => Ok((None, position(&*client, schema, partition).await?)),
    }
}

/// Makes the running session the one that the row names.
const THIS_SESSION: &str = "owner_pid = pg_backend_pid(),
    owner_started = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()),
    owner_application = current_setting('application_name')";

/// The session that a partition's row names.
async fn identity(
    client: &(impl GenericClient + Sync),
    schema: &StreamSchema,
    partition: i32,
    lock: &str,
) -> Result<Option<Identity>, HistoryError> {
    let sql = format!(
        "SELECT owner_pid, owner_started, owner_application FROM offsets WHERE stream = $1 AND partition = $2 {lock}"
    );
    let row = client.query_opt(&sql, &[&schema.name, &partition]).await.map_err(|error| classify(&error))?;
    Ok(row.and_then(|row| {
        Some(Identity {
            pid: row.get::<_, Option<i32>>(0)?,
            started: row.get::<_, Option<_>>(1)?,
            application: row.get::<_, Option<_>>(2)?,
        })
    }))
}

/// Ends a session, if the process of that id still is that session: never one that merely got its id.
/// A role that may not end it leaves it to the epoch, which no session of a former owner can commit under.
async fn end(client: &ClientWrapper, session: &Identity) -> Result<(), HistoryError> {
    if planted::is(Bug::NoFencing) {
        return Ok(());
    }
    let sql = "SELECT pg_terminate_backend(pid, $4) FROM pg_stat_activity
               WHERE pid = $1 AND backend_start = $2 AND application_name = $3
                   AND datname = current_database() AND pid <> pg_backend_pid()";
    let Identity { pid, started, application } = session;
    match client.query(sql, &[pid, started, application, &END_TIMEOUT_MS]).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            tracing::warn!(pid, application, "not allowed to end the former owner's session");
            Ok(())
        }
        Err(error) => Err(classify(&error)),
    }
}

/// What the session is called in `pg_stat_activity`.
fn application(schema: &StreamSchema, partition: i32) -> String {
    let mut name = format!("headwater {partition} {}", schema.name);
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    name
}
