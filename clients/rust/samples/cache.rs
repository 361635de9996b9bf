//! Keeps a value for a minute and reads it back.
//!
//! `cargo run -p headwater-client --example cache [http://127.0.0.1:50051]`

use std::time::Duration;

use headwater_client::{Client, ConnectOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| ConnectOptions::default().endpoint);
    let cache = Client::connect(ConnectOptions::new(endpoint)).await?.cache("default");
    cache.set_for("greeting", "hello", Duration::from_secs(60)).await?;
    let read = cache.get("greeting").await?;
    println!("{:?}: {:?} by {:?}", read.text(), read.status.outcome(), read.status.layer());
    println!("{:?}", cache.get("never written").await?.status.outcome());
    Ok(())
}
