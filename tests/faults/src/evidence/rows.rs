//! The tables in Postgres.

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls, Row};

use super::{Dead, Duplicate, Evidence, Flag, Position, Range, Stored};
use crate::event::{Body, Stream, identity_of_framed};

/// Reads every table, all of one moment.
pub(super) async fn read(url: &str, schema: &str) -> Result<Evidence> {
    let (mut client, connection) = tokio_postgres::connect(url, NoTls).await.context("Postgres")?;
    let connection = tokio::spawn(connection);
    let evidence = tables(&mut client, schema).await?;
    drop(client);
    connection.await??;
    Ok(evidence)
}

/// Reads only how far each partition has come.
pub(super) async fn positions(url: &str, schema: &str) -> Result<Vec<Position>> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("Postgres")?;
    let connection = tokio::spawn(connection);
    let sql = format!("SELECT stream, partition, epoch, next_offset FROM \"{schema}\".offsets");
    let positions = client.query(&sql, &[]).await?.iter().map(position).collect();
    drop(client);
    connection.await??;
    positions
}

async fn tables(client: &mut Client, schema: &str) -> Result<Evidence> {
    let transaction = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    transaction.batch_execute(&format!("SET LOCAL search_path = \"{schema}\"; SET LOCAL TimeZone = 'UTC'")).await?;
    let own = "_partition, _offset, _rule, _rule_version, _rule_count";
    let us = |column: &str| format!("(extract(epoch FROM \"{column}\") * 1000000)::bigint");
    let mut evidence = Evidence::default();
    let pages = format!(
        "SELECT event_id, {}, {own}, user_id, event_type, page_url, session_id FROM page_events",
        us("timestamp")
    );
    for row in transaction.query(&pages, &[]).await? {
        let body = Body::Page { user: row.get(7), what: row.get(8), page: row.get(9), session: row.get(10) };
        evidence.stored.push(stored(Stream::PageEvents, &row, body));
    }
    let moves = format!(
        "SELECT transaction_id, {}, {own}, account_number, amount FROM transactions",
        us("transaction_datetime")
    );
    for row in transaction.query(&moves, &[]).await? {
        let amount: f64 = row.get(8);
        let hundredths = (amount * 100.0).round();
        anyhow::ensure!(hundredths / 100.0 == amount, "a transaction of {amount} is stored");
        let body = Body::Money { account: row.get(7), hundredths: hundredths as i64 };
        evidence.stored.push(stored(Stream::Transactions, &row, body));
    }
    for row in transaction.query("SELECT stream, partition, \"offset\", reason, value FROM dead_letters", &[]).await? {
        let stream = stream(&row)?;
        let value: Option<Vec<u8>> = row.get(4);
        let identity = value.and_then(|value| identity_of_framed(stream, &value));
        evidence.dead.push(Dead { stream, partition: row.get(1), offset: row.get(2), reason: row.get(3), identity });
    }
    let duplicates =
        format!("SELECT stream, partition, \"offset\", id, {}, of_partition, of_offset FROM duplicates", us("time"));
    for row in transaction.query(&duplicates, &[]).await? {
        evidence.duplicates.push(Duplicate {
            stream: stream(&row)?,
            partition: row.get(1),
            offset: row.get(2),
            id: row.get(3),
            time_us: row.get(4),
            of: (row.get(5), row.get(6)),
        });
    }
    let batches = "SELECT stream, partition, first_offset, next_offset, epoch, stored + dead + duplicates FROM batches";
    for row in transaction.query(batches, &[]).await? {
        evidence.ranges.push(Range {
            stream: stream(&row)?,
            partition: row.get(1),
            first: row.get(2),
            next: row.get(3),
            epoch: row.get(4),
            records: row.get(5),
        });
    }
    for row in transaction.query("SELECT stream, partition, epoch, next_offset FROM offsets", &[]).await? {
        evidence.positions.push(position(&row)?);
    }
    transaction.rollback().await?;
    Ok(evidence)
}

fn stored(stream: Stream, row: &Row, body: Body) -> Stored {
    let flag = row.get::<_, Option<String>>(4).map(|rule| Flag { rule, version: row.get(5), count: row.get(6) });
    Stored { stream, id: row.get(0), time_us: row.get(1), body, partition: row.get(2), offset: row.get(3), flag }
}

fn position(row: &Row) -> Result<Position> {
    Ok(Position { stream: stream(row)?, partition: row.get(1), epoch: row.get(2), next: row.get(3) })
}

fn stream(row: &Row) -> Result<Stream> {
    let name: &str = row.get(0);
    Stream::of(name).with_context(|| format!("a stream {name} that nothing was sent to"))
}
