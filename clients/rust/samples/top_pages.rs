//! Prints the five most viewed pages of the last five minutes whenever they change.
//!
//! `cargo run -p headwater-client --example top_pages [http://127.0.0.1:50051]`

use headwater_client::v1::stats::{StatQuery, SubscribeStatsRequest};
use headwater_client::{Client, ConnectOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| ConnectOptions::default().endpoint);
    let client = Client::connect(ConnectOptions::new(endpoint)).await?;
    let query = StatQuery {
        stream: "page-events".into(),
        stat: "top_pages".into(),
        window: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
        limit: 5,
        ..StatQuery::default()
    };
    let request = SubscribeStatsRequest { queries: vec![query], ..SubscribeStatsRequest::default() };
    let mut answers = client.subscribe_stats(request).await?;
    while let Some(answer) = answers.next().await? {
        for value in answer.results.iter().flat_map(|result| &result.values) {
            println!("{:>8}  {}", value.text, value.key);
        }
        println!();
    }
    Ok(())
}
