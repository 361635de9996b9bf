//! How fast batches of page events are committed, against a bare binary COPY into a table of the same form.
//!
//! `HEADWATER_TEST_POSTGRES=postgres://… cargo run -p headwater-history --example commit_rate -- [rounds]`
//! Each round writes 20 batches of 5,000 each way, in turn; the medians of the rounds are printed. Ids are UUIDv7-like,
//! times within an hour, and each way has a stream of its own.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use headwater_domain::{BatchCommit, Column, ColumnType, Event, StoredEvent, StreamSchema, Value, Verdict};
use headwater_history::postgres::{PostgresHistory, PostgresOptions};
use headwater_history::sqlite::SqliteHistory;
use headwater_history::{CommitOutcome, History};
use tokio_postgres::NoTls;

const BATCH: i64 = 5_000;
const BATCHES_PER_ROUND: i64 = 20;
const NOON_US: i64 = 1_763_726_400_000_000;

type Fault = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let rounds: i64 = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let url = std::env::var("HEADWATER_TEST_POSTGRES")?;
    let namespace = format!("commit_rate_{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros());
    let options = PostgresOptions { schema: namespace.clone(), ..PostgresOptions::new(&url) };
    let postgres = PostgresHistory::connect(&options)?;
    let sqlite_folder = tempfile::tempdir()?;
    let sqlite = SqliteHistory::open(Some(&sqlite_folder.path().join("history.sqlite3")))?;
    let product = schema("page-events");
    let bare = schema("bare-events");
    postgres.prepare(&[Arc::new(product.clone()), Arc::new(bare.clone())]).await?;
    sqlite.prepare(&[Arc::new(product.clone())]).await?;
    for history in [&postgres as &dyn History, &sqlite] {
        history.take(&product, 0, "bench").await?;
    }
    // The first commit makes the part of the day.
    postgres.take(&bare, 0, "bench").await?;
    commit(&postgres, &bare, &batch(0, 1)).await?;
    let (raw, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    raw.batch_execute(&format!("SET search_path = {namespace}")).await?;

    let mut cpu = 0.0;
    let (mut ours, mut each, mut whole, mut embedded) = (vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        let first = round * BATCHES_PER_ROUND * BATCH;
        let batches: Vec<BatchCommit> = (0..BATCHES_PER_ROUND).map(|n| batch(first + n * BATCH, BATCH)).collect();

        let (begun, cpu_begun) = (Instant::now(), cpu_s()?);
        for batch in &batches {
            commit(&postgres, &product, batch).await?;
        }
        ours.push(begun.elapsed());
        cpu += cpu_s()? - cpu_begun;

        // The bytes are made before the clock starts: the bare COPY is all the database's.
        let bare_first = 10 + 2 * first;
        let messages: Vec<Bytes> =
            (0..BATCHES_PER_ROUND).map(|n| encoded(&batch(bare_first + n * BATCH, BATCH))).collect();
        let begun = Instant::now();
        for message in messages {
            raw.batch_execute("BEGIN").await?;
            copy(&raw, message).await?;
            raw.batch_execute("COMMIT").await?;
        }
        each.push(begun.elapsed());

        let message = encoded(&batch(bare_first + BATCHES_PER_ROUND * BATCH, BATCHES_PER_ROUND * BATCH));
        let begun = Instant::now();
        copy(&raw, message).await?;
        whole.push(begun.elapsed());

        let begun = Instant::now();
        for batch in &batches {
            commit(&sqlite, &product, batch).await?;
        }
        embedded.push(begun.elapsed());
    }
    let rate = |mut times: Vec<std::time::Duration>| {
        times.sort();
        (BATCH * BATCHES_PER_ROUND) as f64 / times[times.len() / 2].as_secs_f64()
    };
    let (ours, each, whole, embedded) = (rate(ours), rate(each), rate(whole), rate(embedded));
    println!("rows/s, medians of {rounds} rounds of {BATCHES_PER_ROUND} batches of {BATCH}");
    println!("commit, Postgres                    {ours:>9.0}");
    println!(
        "    of it the client's own work      {:>9.2} µs of a core per row",
        cpu * 1e6 / (rounds * BATCHES_PER_ROUND * BATCH) as f64
    );
    println!("bare COPY, a transaction a batch    {each:>9.0}   commit is {:.2} of it", ours / each);
    println!("bare COPY, all in one               {whole:>9.0}   commit is {:.2} of it", ours / whole);
    println!("commit, SQLite                      {embedded:>9.0}");
    raw.batch_execute(&format!("DROP SCHEMA {namespace} CASCADE")).await?;
    Ok(())
}

/// Processor time of this process so far, in seconds.
fn cpu_s() -> Result<f64, Fault> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

async fn commit(history: &dyn History, schema: &StreamSchema, batch: &BatchCommit) -> Result<(), Fault> {
    match history.commit(schema, batch).await? {
        CommitOutcome::Committed => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

async fn copy(client: &tokio_postgres::Client, message: Bytes) -> Result<(), Fault> {
    let sql = "COPY bare_events (event_id, timestamp, user_id, event_type, page_url, session_id, _partition, _offset,
               _appended_at) FROM STDIN BINARY";
    let mut sink = std::pin::pin!(client.copy_in::<_, Bytes>(sql).await?);
    for part in message.chunks(64 * 1024) {
        futures_send(&mut sink, message.slice_ref(part)).await?;
    }
    sink.finish().await?;
    Ok(())
}

async fn futures_send(
    sink: &mut std::pin::Pin<&mut tokio_postgres::CopyInSink<Bytes>>,
    part: Bytes,
) -> Result<(), tokio_postgres::Error> {
    use futures::SinkExt;
    sink.send(part).await
}

fn schema(name: &str) -> StreamSchema {
    let fields = ["event_id", "timestamp", "user_id", "event_type", "page_url", "session_id"];
    let columns = (1..).zip(fields).map(|(number, name)| Column {
        name: name.to_owned(),
        number,
        kind: if number == 2 { ColumnType::Time } else { ColumnType::Text },
    });
    StreamSchema {
        name: name.to_owned(),
        table: name.replace('-', "_"),
        message: "headwater.event.v1.PageEvent".to_owned(),
        columns: columns.collect(),
        id: 0,
        key: 2,
        time: 1,
        indexes: vec![],
        stats: vec![],
        rules: vec![],
    }
}

fn batch(first: i64, count: i64) -> BatchCommit {
    let row = |offset: i64| {
        let random = (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let text = |text: String| Value::Text(text);
        let values = vec![
            text(format!(
                "{:08x}-{:04x}-7{:03x}-8{:03x}-{random:012.12x}",
                offset >> 8,
                offset & 0xff,
                random & 0xfff,
                (random >> 20) & 0xfff
            )),
            Value::Time(NOON_US + offset * 300),
            text(format!("user-{}", random % 5000)),
            text("page_view".to_owned()),
            text(format!("/products/{}", random % 1000)),
            text(format!("session-{}", random % 20_000)),
        ];
        StoredEvent {
            offset,
            appended_ms: NOON_US / 1000 + offset,
            event: Event { values, unknown: vec![] },
            verdict: Verdict::Counted,
        }
    };
    BatchCommit {
        partition: 0,
        epoch: 1,
        first,
        next: first + count,
        last_appended_ms: NOON_US / 1000,
        last_checksum: 0,
        stored: (first..first + count).map(row).collect(),
        dead: vec![],
        duplicates: vec![],
    }
}

/// The batch in COPY's binary form.
fn encoded(batch: &BatchCommit) -> Bytes {
    const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
    let mut out = BytesMut::new();
    out.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for row in &batch.stored {
        out.put_i16(9);
        for value in &row.event.values {
            match value {
                Value::Text(text) => {
                    out.put_i32(i32::try_from(text.len()).expect("short"));
                    out.put_slice(text.as_bytes());
                }
                Value::Time(us) => {
                    out.put_i32(8);
                    out.put_i64(us - POSTGRES_EPOCH_US);
                }
                _ => out.put_i32(-1),
            }
        }
        out.put_i32(4);
        out.put_i32(batch.partition);
        out.put_i32(8);
        out.put_i64(row.offset);
        out.put_i32(8);
        out.put_i64(row.appended_ms * 1000 - POSTGRES_EPOCH_US);
    }
    out.put_i16(-1);
    out.freeze()
}
