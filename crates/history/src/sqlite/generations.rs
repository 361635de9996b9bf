use headwater_domain::StreamSchema;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::classify;
use super::commit::now_ms;
use crate::{BuildOutcome, Generation, GenerationRecord, GenerationState, HistoryError};

/// Generations of a stream that one answer holds at most, newest first.
const GENERATIONS_MAX: usize = 100;

const COLUMNS: &str = "number, shards, fingerprint, state, request_id, made_ms, ended_ms";

/// The newest generations of a stream, newest first.
pub(super) fn generations(connection: &Connection, stream: &str) -> Result<Vec<GenerationRecord>, HistoryError> {
    let read = || {
        let sql =
            format!("SELECT {COLUMNS} FROM generations WHERE stream = ?1 ORDER BY number DESC LIMIT {GENERATIONS_MAX}");
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_map([stream], record)?.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(|error| classify(&error))
}

/// The stream's generation of these shards and this fingerprint, made where another or none is current.
pub(super) fn ensure(
    connection: &mut Connection,
    stream: &str,
    shards: u32,
    fingerprint: &str,
) -> Result<Generation, HistoryError> {
    let work = |transaction: &Transaction<'_>| {
        if let Some(current) = in_state(transaction, stream, GenerationState::Current)?
            && (current.generation.shards, current.fingerprint.as_str()) == (shards, fingerprint)
        {
            return Ok(current.generation);
        }
        // What is being built is of the statistics before.
        end(transaction, stream, GenerationState::Building, GenerationState::Cancelled)?;
        end(transaction, stream, GenerationState::Current, GenerationState::Replaced)?;
        Ok(insert(transaction, stream, (shards, fingerprint), GenerationState::Current, None)?.generation)
    };
    in_transaction(connection, work)
}

/// Begins a generation like the current one, once for a request.
pub(super) fn build(connection: &mut Connection, stream: &str, request_id: &str) -> Result<BuildOutcome, HistoryError> {
    let work = |transaction: &Transaction<'_>| {
        let sql = format!("SELECT {COLUMNS} FROM generations WHERE stream = ?1 AND request_id = ?2");
        if let Some(known) = transaction.query_row(&sql, [stream, request_id], record).optional()? {
            return Ok(BuildOutcome::Started(known));
        }
        if let Some(other) = in_state(transaction, stream, GenerationState::Building)? {
            return Ok(BuildOutcome::Busy(other));
        }
        let Some(current) = in_state(transaction, stream, GenerationState::Current)? else {
            return Ok(BuildOutcome::NoneYet);
        };
        let like = (current.generation.shards, current.fingerprint.as_str());
        insert(transaction, stream, like, GenerationState::Building, Some(request_id)).map(BuildOutcome::Started)
    };
    in_transaction(connection, work)
}

/// Makes the generation the current one, where it is being built. Whether it is current now.
pub(super) fn switch(connection: &mut Connection, stream: &str, number: i64) -> Result<bool, HistoryError> {
    let work = |transaction: &Transaction<'_>| {
        let is = |state| -> rusqlite::Result<bool> {
            Ok(in_state(transaction, stream, state)?.is_some_and(|found| found.generation.number == number))
        };
        if !is(GenerationState::Building)? {
            return is(GenerationState::Current);
        }
        end(transaction, stream, GenerationState::Current, GenerationState::Replaced)?;
        let sql = "UPDATE generations SET state = 'current' WHERE stream = ?1 AND number = ?2";
        transaction.execute(sql, params![stream, number])?;
        Ok(true)
    };
    in_transaction(connection, work)
}

/// Gives the generation up, where it is being built. Whether it is cancelled now.
pub(super) fn cancel(connection: &mut Connection, stream: &str, number: i64) -> Result<bool, HistoryError> {
    let work = |transaction: &Transaction<'_>| {
        let building = in_state(transaction, stream, GenerationState::Building)?;
        if building.is_some_and(|found| found.generation.number == number) {
            end(transaction, stream, GenerationState::Building, GenerationState::Cancelled)?;
        }
        let sql = "SELECT state FROM generations WHERE stream = ?1 AND number = ?2";
        let state: Option<String> = transaction.query_row(sql, params![stream, number], |row| row.get(0)).optional()?;
        Ok(state.is_some_and(|state| GenerationState::named(&state) == GenerationState::Cancelled))
    };
    in_transaction(connection, work)
}

/// Forgets a generation that has ended, unless it is the newest: numbers go on from that one.
pub(super) fn forget(connection: &Connection, stream: &str, number: i64) -> Result<(), HistoryError> {
    let sql = "DELETE FROM generations WHERE stream = ?1 AND number = ?2 AND state IN ('replaced', 'cancelled')
               AND number < (SELECT max(number) FROM generations WHERE stream = ?1)";
    connection.execute(sql, params![stream, number]).map(drop).map_err(|error| classify(&error))
}

/// Before which time events were stored once and are not any more, in microseconds since the Unix epoch.
pub(super) fn dropped_before_us(connection: &Connection, schema: &StreamSchema) -> Result<Option<i64>, HistoryError> {
    let sql = "SELECT dropped_before_us FROM contracts WHERE stream = ?1";
    let found = connection.query_row(sql, [&schema.name], |row| row.get::<_, Option<i64>>(0)).optional();
    found.map(Option::flatten).map_err(|error| classify(&error))
}

fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, HistoryError> {
    let run = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    };
    run().map_err(|error| classify(&error))
}

/// The one generation that can be in the state: there is at most one that is current, and one that is being built.
fn in_state(
    transaction: &Transaction<'_>,
    stream: &str,
    state: GenerationState,
) -> rusqlite::Result<Option<GenerationRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM generations WHERE stream = ?1 AND state = ?2");
    transaction.query_row(&sql, [stream, state.name()], record).optional()
}

fn end(
    transaction: &Transaction<'_>,
    stream: &str,
    from: GenerationState,
    to: GenerationState,
) -> rusqlite::Result<()> {
    let sql = "UPDATE generations SET state = ?3, ended_ms = ?4 WHERE stream = ?1 AND state = ?2";
    transaction.execute(sql, params![stream, from.name(), to.name(), now_ms()]).map(drop)
}

fn insert(
    transaction: &Transaction<'_>,
    stream: &str,
    (shards, fingerprint): (u32, &str),
    state: GenerationState,
    request_id: Option<&str>,
) -> rusqlite::Result<GenerationRecord> {
    let sql = format!(
        "INSERT INTO generations (stream, number, shards, fingerprint, state, request_id, made_ms)
         SELECT ?1, ifnull(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6 FROM generations WHERE stream = ?1
         RETURNING {COLUMNS}"
    );
    let values = params![stream, shards, fingerprint, state.name(), request_id, now_ms()];
    transaction.query_row(&sql, values, record)
}

fn record(row: &Row<'_>) -> rusqlite::Result<GenerationRecord> {
    Ok(GenerationRecord {
        generation: Generation { number: row.get(0)?, shards: row.get(1)? },
        fingerprint: row.get(2)?,
        state: GenerationState::named(&row.get::<_, String>(3)?),
        request_id: row.get(4)?,
        made_ms: row.get(5)?,
        ended_ms: row.get(6)?,
    })
}
