//! Publishes 100,000 transactions over a stream, with at most 10,000 on their way, and counts the answers.
//!
//! `cargo run --release -p headwater-client --example publish_stream [http://127.0.0.1:50051]`

use std::time::{Instant, SystemTime};

use headwater_client::v1::event::Transaction;
use headwater_client::v1::ingest::record_result::Result as Outcome;
use headwater_client::{Client, ConnectOptions, PublishOptions, record};
use prost::Message;

const BATCHES: u32 = 100;
const BATCH_RECORDS: u32 = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| ConnectOptions::default().endpoint);
    let client = Client::connect(ConnectOptions::new(endpoint)).await?;
    let (mut sender, mut acks) = client.publish_stream(PublishOptions::new("transactions"))?;
    let started = Instant::now();
    let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros();

    // Sending waits while the window is full, so acknowledgements are taken at the same time.
    let sending = tokio::spawn(async move {
        for batch in 0..BATCHES {
            let records = (0..BATCH_RECORDS).map(|place| transaction(run, batch * BATCH_RECORDS + place)).collect();
            sender.send(records).await?;
        }
        Ok::<(), headwater_client::Error>(())
    });
    let (mut accepted, mut other) = (0_u32, 0_u32);
    while let Some(ack) = acks.next().await? {
        for result in ack.results {
            match result.result {
                Some(Outcome::Accepted(_)) => accepted += 1,
                _ => other += 1,
            }
        }
    }
    sending.await??;
    println!("{accepted} accepted, {other} not, in {:.2} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn transaction(run: u128, number: u32) -> headwater_client::v1::ingest::Record {
    let transaction = Transaction {
        transaction_id: format!("sample-{run}-{number}"),
        account_number: format!("SAMPLE-{:02}", number % 20),
        transaction_reference: "sample".into(),
        transaction_datetime: Some(SystemTime::now().into()),
        amount: if number.is_multiple_of(2) { 12.34 } else { -2.34 },
    };
    record("headwater.event.v1.Transaction", transaction.encode_to_vec())
}
