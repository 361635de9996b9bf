use deadpool_postgres::{Object, Transaction};
use headwater_domain::StreamSchema;
use tokio_postgres::{GenericClient, Row};

use super::error::classify;
use super::prepare::stream_lock;
use super::value::Moment;
use crate::{BuildOutcome, Generation, GenerationRecord, GenerationState, HistoryError};

/// Generations of a stream that one answer holds at most, newest first.
const GENERATIONS_MAX: i64 = 100;

const COLUMNS: &str = "number, shards, fingerprint, state, request_id, made_at, ended_at";

/// The newest generations of a stream, newest first.
pub(super) async fn generations(
    client: &(impl GenericClient + Sync),
    schema: &StreamSchema,
) -> Result<Vec<GenerationRecord>, HistoryError> {
    let sql =
        format!("SELECT {COLUMNS} FROM generations WHERE stream = $1 ORDER BY number DESC LIMIT {GENERATIONS_MAX}");
    let rows = client.query(&sql, &[&schema.name]).await.map_err(|error| classify(&error))?;
    Ok(rows.iter().map(record).collect())
}

/// The stream's generation of these shards and this fingerprint, made where another or none is current.
pub(super) async fn ensure(
    client: &mut Object,
    namespace: &str,
    schema: &StreamSchema,
    shards: u32,
    fingerprint: &str,
) -> Result<Generation, HistoryError> {
    let transaction = begin(client, namespace, schema).await?;
    if let Some(current) = in_state(&transaction, schema, GenerationState::Current).await?
        && (current.generation.shards, current.fingerprint.as_str()) == (shards, fingerprint)
    {
        return Ok(current.generation);
    }
    // What is being built is of the statistics before.
    end(&transaction, schema, GenerationState::Building, GenerationState::Cancelled).await?;
    end(&transaction, schema, GenerationState::Current, GenerationState::Replaced).await?;
    let made = insert(&transaction, schema, (shards, fingerprint), GenerationState::Current, None).await?;
    commit(transaction).await?;
    Ok(made.generation)
}

/// Begins a generation like the current one, once for a request.
pub(super) async fn build(
    client: &mut Object,
    namespace: &str,
    schema: &StreamSchema,
    request_id: &str,
) -> Result<BuildOutcome, HistoryError> {
    let transaction = begin(client, namespace, schema).await?;
    let sql = format!("SELECT {COLUMNS} FROM generations WHERE stream = $1 AND request_id = $2");
    let known = transaction.query_opt(&sql, &[&schema.name, &request_id]).await.map_err(|error| classify(&error))?;
    if let Some(known) = known {
        return Ok(BuildOutcome::Started(record(&known)));
    }
    if let Some(other) = in_state(&transaction, schema, GenerationState::Building).await? {
        return Ok(BuildOutcome::Busy(other));
    }
    let Some(current) = in_state(&transaction, schema, GenerationState::Current).await? else {
        return Ok(BuildOutcome::NoneYet);
    };
    let like = (current.generation.shards, current.fingerprint.as_str());
    let made = insert(&transaction, schema, like, GenerationState::Building, Some(request_id)).await?;
    commit(transaction).await?;
    Ok(BuildOutcome::Started(made))
}

/// Makes the generation the current one, where it is being built. Whether it is current now.
pub(super) async fn switch(
    client: &mut Object,
    namespace: &str,
    schema: &StreamSchema,
    number: i64,
) -> Result<bool, HistoryError> {
    let transaction = begin(client, namespace, schema).await?;
    let is = async |state| -> Result<bool, HistoryError> {
        Ok(in_state(&transaction, schema, state).await?.is_some_and(|found| found.generation.number == number))
    };
    if !is(GenerationState::Building).await? {
        return is(GenerationState::Current).await;
    }
    end(&transaction, schema, GenerationState::Current, GenerationState::Replaced).await?;
    let sql = "UPDATE generations SET state = 'current' WHERE stream = $1 AND number = $2";
    transaction.execute(sql, &[&schema.name, &number]).await.map_err(|error| classify(&error))?;
    commit(transaction).await?;
    Ok(true)
}

/// Gives the generation up, where it is being built. Whether it is cancelled now.
pub(super) async fn cancel(
    client: &mut Object,
    namespace: &str,
    schema: &StreamSchema,
    number: i64,
) -> Result<bool, HistoryError> {
    let transaction = begin(client, namespace, schema).await?;
    if in_state(&transaction, schema, GenerationState::Building)
        .await?
        .is_some_and(|found| found.generation.number == number)
    {
        end(&transaction, schema, GenerationState::Building, GenerationState::Cancelled).await?;
    }
    let sql = "SELECT state FROM generations WHERE stream = $1 AND number = $2";
    let row = transaction.query_opt(sql, &[&schema.name, &number]).await.map_err(|error| classify(&error))?;
    commit(transaction).await?;
    Ok(row.is_some_and(|row| GenerationState::named(row.get(0)) == GenerationState::Cancelled))
}

/// Forgets a generation that has ended, unless it is the newest: numbers go on from that one.
pub(super) async fn forget(
    client: &(impl GenericClient + Sync),
    schema: &StreamSchema,
    number: i64,
) -> Result<(), HistoryError> {
    let sql = "DELETE FROM generations WHERE stream = $1 AND number = $2 AND state IN ('replaced', 'cancelled')
               AND number < (SELECT max(number) FROM generations WHERE stream = $1)";
    client.execute(sql, &[&schema.name, &number]).await.map(drop).map_err(|error| classify(&error))
}

/// Before which time events were stored once and are not any more, in microseconds since the Unix epoch.
pub(super) async fn dropped_before_us(
    client: &(impl GenericClient + Sync),
    schema: &StreamSchema,
) -> Result<Option<i64>, HistoryError> {
    let sql = "SELECT dropped_before FROM contracts WHERE stream = $1";
    let row = client.query_opt(sql, &[&schema.name]).await.map_err(|error| classify(&error))?;
    Ok(row.and_then(|row| row.get::<_, Option<Moment>>(0)).map(|moment| moment.0))
}

async fn begin<'a>(
    client: &'a mut Object,
    namespace: &str,
    schema: &StreamSchema,
) -> Result<Transaction<'a>, HistoryError> {
    let transaction = client.transaction().await.map_err(|error| classify(&error))?;
    stream_lock(&*transaction, namespace, schema).await?;
    Ok(transaction)
}

async fn commit(transaction: Transaction<'_>) -> Result<(), HistoryError> {
    transaction.commit().await.map_err(|error| classify(&error))
}

/// The one generation that can be in the state: there is at most one that is current, and one that is being built.
async fn in_state(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    state: GenerationState,
) -> Result<Option<GenerationRecord>, HistoryError> {
    let sql = format!("SELECT {COLUMNS} FROM generations WHERE stream = $1 AND state = $2");
    let row = transaction.query_opt(&sql, &[&schema.name, &state.name()]).await.map_err(|error| classify(&error))?;
    Ok(row.as_ref().map(record))
}

async fn end(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    from: GenerationState,
    to: GenerationState,
) -> Result<(), HistoryError> {
    let sql = "UPDATE generations SET state = $3, ended_at = now() WHERE stream = $1 AND state = $2";
    let ended = transaction.execute(sql, &[&schema.name, &from.name(), &to.name()]).await;
    ended.map(drop).map_err(|error| classify(&error))
}

async fn insert(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    (shards, fingerprint): (u32, &str),
    state: GenerationState,
    request_id: Option<&str>,
) -> Result<GenerationRecord, HistoryError> {
    let sql = format!(
        "INSERT INTO generations (stream, number, shards, fingerprint, state, request_id)
         SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5 FROM generations WHERE stream = $1
         RETURNING {COLUMNS}"
    );
    let shards = i32::try_from(shards).unwrap_or(i32::MAX);
    let row = transaction.query_one(&sql, &[&schema.name, &shards, &fingerprint, &state.name(), &request_id]).await;
    row.map(|row| record(&row)).map_err(|error| classify(&error))
}

fn record(row: &Row) -> GenerationRecord {
    GenerationRecord {
        generation: Generation { number: row.get(0), shards: row.get::<_, i32>(1).unsigned_abs() },
        fingerprint: row.get(2),
        state: GenerationState::named(row.get(3)),
        request_id: row.get(4),
        made_ms: row.get::<_, Moment>(5).0.div_euclid(1000),
        ended_ms: row.get::<_, Option<Moment>>(6).map(|ended| ended.0.div_euclid(1000)),
    }
}
