use std::pin::pin;

use bytes::Bytes;
use deadpool_postgres::{ClientWrapper, Transaction};
use futures::SinkExt;
use headwater_domain::{BatchCommit, DeadLetter, Duplicate, StreamSchema, Verdict};
use headwater_planted::{self as planted, Bug};
use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use super::PostgresHistory;
use super::copy::CopyRows;
use super::error::{classify, is_conflict};
use super::session::{Position, Slot, position, reopen};
use super::table::Table;
use super::value::Moment;
use crate::storable::letter_id;
use crate::{CommitOutcome, HistoryError};

/// How often a batch is written anew within one call: after a deadlock, or where a part of the table went away.
const ATTEMPTS_MAX: usize = 4;

/// Bytes of dead letters sent in one statement at most.
const DEAD_LETTER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How an attempt to write a batch failed. Nothing of it is stored, but for `Lost`.
enum Failure {
    /// The answer of COMMIT is lost.
    Lost(HistoryError),
    /// An event of the batch is stored already, or stands in it twice.
    Duplicate,
    /// There is no part of the table for an event.
    NoPart,
    /// Another transaction won; the same can be tried again.
    Conflict(HistoryError),
    /// Anything else.
    Other(HistoryError),
}

impl PostgresHistory {
    pub(super) async fn commit_batch(
        &self,
        schema: &StreamSchema,
        batch: &BatchCommit,
    ) -> Result<CommitOutcome, HistoryError> {
        crate::storable::check(schema, batch)?;
        let BatchCommit { partition, epoch, .. } = *batch;
        self.known.ensure(&self.db, schema, batch).await?;
        let Some(slot) = self.sessions.slot(&schema.name, partition, epoch) else {
            let client = self.db.client().await?;
            let Position { epoch, next } = self.db.bounded(position(&**client, schema, partition)).await?;
            return Ok(CommitOutcome::Fenced { epoch, next });
        };
        let outcome = self.commit_in(&slot, schema, batch).await;
        if matches!(outcome, Ok(CommitOutcome::Fenced { .. })) {
            self.sessions.forget(&schema.name, partition, epoch);
        }
        outcome
    }

    async fn commit_in(
        &self,
        slot: &Slot,
        schema: &StreamSchema,
        batch: &BatchCommit,
    ) -> Result<CommitOutcome, HistoryError> {
        let mut slot = slot.lock().await;
        let mut last = HistoryError::Unavailable("not tried".to_owned());
        for _ in 0..ATTEMPTS_MAX {
            // Out of the slot while it is used: a connection is given back only by who knows that it is sound.
            let mut client = match slot.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => match self.db.bounded(reopen(&self.db, schema, batch.partition, batch.epoch)).await? {
                    (Some(client), _) => client,
                    (None, Position { epoch, next }) => return Ok(CommitOutcome::Fenced { epoch, next }),
                },
            };
            let failure = match self.write(&mut client, schema, batch).await {
                Ok(outcome) => {
                    *slot = Some(client);
                    return Ok(outcome);
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::Lost(error) => {
                    drop(client);
                    return self.settle(&mut slot, schema, batch, error).await;
                }
                Failure::Duplicate => {
                    let found = self.db.bounded(stored_already(&client, schema, batch)).await?;
                    *slot = Some(client);
                    if !found.is_empty() {
                        return Ok(CommitOutcome::Duplicates(found));
                    }
                    // Whoever stored it took it back, or the batch has an event twice.
                    last = HistoryError::Refused(format!(
                        "stream {}, partition {}, batch [{}, {}): an event stands in it twice",
                        schema.name, batch.partition, batch.first, batch.next
                    ));
                }
                Failure::NoPart => {
                    *slot = Some(client);
                    self.known.forget(&schema.name);
                    self.known.ensure(&self.db, schema, batch).await?;
                    last = HistoryError::Unavailable("the parts of the table kept changing".to_owned());
                }
                Failure::Conflict(error) => {
                    *slot = Some(client);
                    last = error;
                }
                Failure::Other(error) => {
                    if matches!(error, HistoryError::Refused(_)) {
                        *slot = Some(client);
                    }
                    return Err(error);
                }
            }
        }
        Err(last)
    }

    /// One attempt: the transaction.
    async fn write(
        &self,
        client: &mut ClientWrapper,
        schema: &StreamSchema,
        batch: &BatchCommit,
    ) -> Result<CommitOutcome, Failure> {
        let written = self.db.bounded(async { Ok(transact(client, schema, batch).await) }).await;
        let transaction = match written {
            Ok(Ok(Written::Open(transaction))) => transaction,
            Ok(Ok(Written::Nothing(outcome))) => return Ok(outcome),
            Ok(Err(failure)) => return Err(failure),
            Err(late) => return Err(Failure::Other(late)),
        };
        let ended = self.db.bounded(async { Ok(transaction.commit().await) }).await;
        match ended {
            Ok(Ok(())) => Ok(CommitOutcome::Committed),
            Ok(Err(error)) => match classify(&error) {
                _ if is_conflict(&error) => Err(Failure::Conflict(classify(&error))),
                error @ HistoryError::Unavailable(_) => Err(Failure::Lost(error)),
                error => Err(Failure::Other(error)),
            },
            Err(late) => Err(Failure::Lost(late)),
        }
    }

    /// Finds out how a COMMIT ended whose answer is lost.
    async fn settle(
        &self,
        slot: &mut Option<ClientWrapper>,
        schema: &StreamSchema,
        batch: &BatchCommit,
        lost: HistoryError,
    ) -> Result<CommitOutcome, HistoryError> {
        let (client, Position { epoch, next }) =
            self.db.bounded(reopen(&self.db, schema, batch.partition, batch.epoch)).await?;
        let Some(client) = client else {
            return Ok(CommitOutcome::Fenced { epoch, next });
        };
        let outcome =
            if next == Some(batch.next) { self.db.bounded(standing(&*client, schema, batch)).await } else { Err(lost) };
        *slot = Some(client);
        outcome
    }
}

/// What an attempt came to before its COMMIT.
enum Written<'a> {
    /// Everything is written.
    Open(Transaction<'a>),
    /// Nothing is: the partition is at another epoch or offset.
    Nothing(CommitOutcome),
}

/// Everything but the COMMIT.
async fn transact<'a>(
    client: &'a mut ClientWrapper,
    schema: &StreamSchema,
    batch: &BatchCommit,
) -> Result<Written<'a>, Failure> {
    let moved = planted::is(Bug::OffsetBeforeRows) && moved_alone(client, schema, batch).await?;
    let transaction = client.transaction().await.map_err(|error| Failure::Other(classify(&error)))?;
    let filled = fill(&transaction, schema, batch, moved).await;
    let outcome = match filled {
        Ok(None) => return Ok(Written::Open(transaction)),
        Ok(Some(outcome)) => Ok(Written::Nothing(outcome)),
        Err(failure) => Err(failure),
    };
    // On a broken connection there is nothing to roll back, and the next use of it finds out.
    if let Err(error) = transaction.rollback().await {
        tracing::debug!(%error, "a transaction was not rolled back");
    }
    outcome
}

/// The planted bug: moves the offset of a batch without duplicates in a transaction of its own.
async fn moved_alone(client: &mut ClientWrapper, schema: &StreamSchema, batch: &BatchCommit) -> Result<bool, Failure> {
    if batch.stored.is_empty() || !stored_already(client, schema, batch).await.map_err(Failure::Other)?.is_empty() {
        return Ok(false);
    }
    let transaction = client.transaction().await.map_err(failure)?;
    let moved = advance(&transaction, schema, batch).await.map_err(failure)?;
    transaction.commit().await.map_err(failure).map(|()| moved)
}

/// Writes everything, or says why the partition does not take the batch.
async fn fill(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    batch: &BatchCommit,
    moved: bool,
) -> Result<Option<CommitOutcome>, Failure> {
    // The offset first: who is fenced finds out before it sends its rows.
    if !moved && !advance(transaction, schema, batch).await.map_err(failure)? {
        return standing(&**transaction, schema, batch).await.map(Some).map_err(Failure::Other);
    }
    if !batch.stored.is_empty() {
        copy(transaction, schema, batch).await?;
    }
    dead_letters(transaction, schema, batch).await.map_err(failure)?;
    duplicates(transaction, schema, batch).await.map_err(failure)?;
    Ok(None)
}

fn failure(error: tokio_postgres::Error) -> Failure {
    if is_conflict(&error) { Failure::Conflict(classify(&error)) } else { Failure::Other(classify(&error)) }
}

/// Moves the partition's offset and remembers the batch, in one statement. False where the epoch or the offset is another.
async fn advance(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    batch: &BatchCommit,
) -> Result<bool, tokio_postgres::Error> {
    let fence = match planted::is(Bug::NoFencing) {
        false => "epoch = $3 AND (next_offset IS NULL OR next_offset = $4)",
        true => "$3::bigint = $3 AND next_offset IS DISTINCT FROM $5",
    };
    let sql = format!(
        "WITH moved AS (
            UPDATE offsets SET start_offset = coalesce(start_offset, $4), next_offset = $5, last_offset = $5::bigint - 1,
                last_appended_ms = $6, last_checksum = $7, newest_us = greatest(newest_us, $9)
            WHERE stream = $1 AND partition = $2 AND {fence}
            RETURNING start_offset
        )
        INSERT INTO batches (stream, partition, epoch, first_offset, next_offset, last_appended_ms, last_checksum,
            min_time_us, max_time_us, stored, flagged, dead, duplicates, is_start)
        SELECT $1::text, $2::integer, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::bigint,
            $10::integer, $11::integer, $12::integer, $13::integer, start_offset = $4::bigint FROM moved"
    );
    let statement = transaction.prepare_cached(&sql).await?;
    let times = || batch.stored.iter().map(|row| schema.time_us_of(&row.event));
    let flagged = batch.stored.iter().filter(|row| row.verdict != Verdict::Counted).count();
    let [stored, flagged, dead, duplicates] = [batch.stored.len(), flagged, batch.dead.len(), batch.duplicates.len()]
        .map(|n| i32::try_from(n).unwrap_or(i32::MAX));
    let moved = transaction
        .execute(
            &statement,
            &[
                &schema.name,
                &batch.partition,
                &batch.epoch,
                &batch.first,
                &batch.next,
                &batch.last_appended_ms,
                &i64::from(batch.last_checksum),
                &times().min(),
                &times().max(),
                &stored,
                &flagged,
                &dead,
                &duplicates,
            ],
        )
        .await?;
    Ok(moved > 0)
}

async fn copy(transaction: &Transaction<'_>, schema: &StreamSchema, batch: &BatchCommit) -> Result<(), Failure> {
    let broken = |error: tokio_postgres::Error| match error.code() {
        Some(code) if *code == SqlState::UNIQUE_VIOLATION => Failure::Duplicate,
        Some(code) if *code == SqlState::CHECK_VIOLATION => Failure::NoPart,
        _ => failure(error),
    };
    let table = Table::of(schema);
    let statement = transaction.prepare_cached(&table.copy()).await.map_err(broken)?;
    let mut sink = pin!(transaction.copy_in::<_, Bytes>(&statement).await.map_err(broken)?);
    let mut rows = CopyRows::new(table.types());
    for row in &batch.stored {
        rows.write(batch.partition, row).map_err(Failure::Other)?;
        if let Some(chunk) = rows.chunk() {
            sink.send(chunk).await.map_err(broken)?;
        }
    }
    sink.send(rows.end()).await.map_err(broken)?;
    sink.finish().await.map(drop).map_err(broken)
}

async fn dead_letters(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    batch: &BatchCommit,
) -> Result<(), tokio_postgres::Error> {
    let sql =
        "INSERT INTO dead_letters (stream, partition, \"offset\", appended_ms, reason, id, field, detail, key, value)
        SELECT $1::text, $2::integer, * FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::bytea[], $10::bytea[])
        ON CONFLICT DO NOTHING";
    let mut rest = &batch.dead[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(fitting(rest));
        rest = later;
        let offsets: Vec<i64> = now.iter().map(|letter| letter.offset).collect();
        let appended: Vec<i64> = now.iter().map(|letter| letter.appended_ms).collect();
        let reasons: Vec<&str> = now.iter().map(|letter| letter.reason.name()).collect();
        let ids: Vec<Option<&str>> = now.iter().map(letter_id).collect();
        // Texts for people may quote what Postgres takes in no text; the bytes themselves are kept whole.
        let fields: Vec<String> = now.iter().map(|letter| letter.field.replace('\0', "\u{fffd}")).collect();
        let details: Vec<String> = now.iter().map(|letter| letter.detail.replace('\0', "\u{fffd}")).collect();
        let keys: Vec<Option<&[u8]>> = now.iter().map(|letter| letter.key.as_deref()).collect();
        let values: Vec<Option<&[u8]>> = now.iter().map(|letter| letter.value.as_deref()).collect();
        let statement = transaction.prepare_cached(sql).await?;
        transaction
            .execute(
                &statement,
                &[
                    &schema.name,
                    &batch.partition,
                    &offsets,
                    &appended,
                    &reasons,
                    &ids,
                    &fields,
                    &details,
                    &keys,
                    &values,
                ],
            )
            .await?;
    }
    Ok(())
}

/// How many of the letters, one at least, go into one statement.
fn fitting(letters: &[DeadLetter]) -> usize {
    let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let mut bytes = 0;
    let fits = |letter: &&DeadLetter| {
        bytes += length(&letter.key) + length(&letter.value) + letter.detail.len() + letter.field.len();
        bytes <= DEAD_LETTER_BYTES_MAX
    };
    letters.iter().take_while(fits).count().max(1)
}

async fn duplicates(
    transaction: &Transaction<'_>,
    schema: &StreamSchema,
    batch: &BatchCommit,
) -> Result<(), tokio_postgres::Error> {
    if batch.duplicates.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO duplicates (stream, partition, \"offset\", id, time, of_partition, of_offset)
        SELECT $1::text, $2::integer, * FROM unnest($3::bigint[], $4::text[], $5::timestamptz[], $6::integer[], $7::bigint[])
        ON CONFLICT DO NOTHING";
    let of = &batch.duplicates;
    let offsets: Vec<i64> = of.iter().map(|duplicate| duplicate.offset).collect();
    let ids: Vec<&str> = of.iter().map(|duplicate| duplicate.id.as_str()).collect();
    let times: Vec<Moment> = of.iter().map(|duplicate| Moment(duplicate.time_us)).collect();
    let partitions: Vec<i32> = of.iter().map(|duplicate| duplicate.of_partition).collect();
    let of_offsets: Vec<i64> = of.iter().map(|duplicate| duplicate.of_offset).collect();
    let statement = transaction.prepare_cached(sql).await?;
    transaction
        .execute(&statement, &[&schema.name, &batch.partition, &offsets, &ids, &times, &partitions, &of_offsets])
        .await
        .map(drop)
}

/// Why a batch did not move the offset: it did so before, or the partition has another owner.
async fn standing(
    client: &(impl GenericClient + Sync),
    schema: &StreamSchema,
    batch: &BatchCommit,
) -> Result<CommitOutcome, HistoryError> {
    let Position { epoch, next } = position(client, schema, batch.partition).await?;
    let sql = "SELECT 1 FROM batches WHERE stream = $1 AND partition = $2 AND first_offset = $3 AND next_offset = $4
                   AND epoch = $5 AND last_checksum = $6";
    let checksum = i64::from(batch.last_checksum);
    let same = client
        .query_opt(sql, &[&schema.name, &batch.partition, &batch.first, &batch.next, &batch.epoch, &checksum])
        .await
        .map_err(|error| classify(&error))?;
    if epoch == batch.epoch && next == Some(batch.next) && same.is_some() {
        Ok(CommitOutcome::Committed)
    } else {
        Ok(CommitOutcome::Fenced { epoch, next })
    }
}

/// Which of the batch's events are stored already, by offset.
async fn stored_already(
    client: &ClientWrapper,
    schema: &StreamSchema,
    batch: &BatchCommit,
) -> Result<Vec<Duplicate>, HistoryError> {
    let table = Table::of(schema);
    // One look-up by the unique index for each event, in the one part of the table that holds its time. LIMIT keeps the
    // planner from joining the whole table instead; the bounds leave out the other parts before that.
    let sql = format!(
        "SELECT (asked.number - 1)::bigint, found._partition, found._offset
         FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS asked (id, time, number)
         CROSS JOIN LATERAL (
             SELECT _partition, _offset FROM {name} AS stored
             WHERE stored.{id} = asked.id AND stored.{time} = asked.time
                 AND stored.{time} >= $3 AND stored.{time} <= $4
             LIMIT 1
         ) AS found
         ORDER BY 1",
        name = table.name,
        id = table.id,
        time = table.time,
    );
    let ids: Vec<&str> = batch.stored.iter().map(|row| schema.id_of(&row.event)).collect();
    let times: Vec<Moment> = batch.stored.iter().map(|row| Moment(schema.time_us_of(&row.event))).collect();
    let bound = |time: Option<&Moment>| *time.expect("a batch that met a duplicate has an event");
    let (first, last) = (bound(times.iter().min_by_key(|at| at.0)), bound(times.iter().max_by_key(|at| at.0)));
    let statement = client.prepare_cached(&sql).await.map_err(|error| classify(&error))?;
    let rows = client.query(&statement, &[&ids, &times, &first, &last]).await.map_err(|error| classify(&error))?;
    let duplicate = |row: &tokio_postgres::Row| {
        let stored = &batch.stored[usize::try_from(row.get::<_, i64>(0)).ok()?];
        Some(Duplicate {
            offset: stored.offset,
            id: schema.id_of(&stored.event).to_owned(),
            time_us: schema.time_us_of(&stored.event),
            of_partition: row.get(1),
            of_offset: row.get(2),
        })
    };
    Ok(rows.iter().filter_map(duplicate).collect())
}
