//! Counts the statistics of transactions anew, and says how far it has come.
//!
//! `cargo run -p headwater-client --example rebuild [http://127.0.0.1:50051]`

use headwater_client::v1::rebuild::StartRebuildRequest;
use headwater_client::{Client, ConnectOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| ConnectOptions::default().endpoint);
    let client = Client::connect(ConnectOptions::new(endpoint)).await?;
    // The same id twice begins once: choose one for each build that is meant.
    let request_id = format!("sample-{}", std::process::id());
    let streams = vec!["transactions".to_owned()];
    client.start_rebuild(StartRebuildRequest { request_id: request_id.clone(), streams, ..Default::default() }).await?;
    let mut answers = client.watch_rebuilds(&request_id).await?;
    while let Some(answer) = answers.next().await? {
        for of in answer.rebuilds {
            println!("{} {}: {:?}, {} of {}", of.stream, of.generation, of.state(), of.records_done, of.records);
        }
    }
    Ok(())
}
