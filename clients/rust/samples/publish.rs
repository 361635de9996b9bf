//! Publishes three page views and says what became of each.
//!
//! `cargo run -p headwater-client --example publish [http://127.0.0.1:50051]`

use std::time::SystemTime;

use headwater_client::v1::event::PageEvent;
use headwater_client::v1::ingest::record_result::Result as Outcome;
use headwater_client::{Client, ConnectOptions, derive_event_id, record};
use prost::Message;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| ConnectOptions::default().endpoint);
    let client = Client::connect(ConnectOptions::new(endpoint)).await?;
    let now = SystemTime::now();
    let time_ms = i64::try_from(now.duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
    let mut records = Vec::new();
    for (ordinal, page) in (0..).zip(["/", "/products", "not counted: no user"]) {
        let event = PageEvent {
            // Any UUID will do. A derived one makes publishing the same thing twice count once.
            event_id: derive_event_id("page-events", time_ms, page.as_bytes(), ordinal),
            timestamp: Some(now.into()),
            user_id: if ordinal < 2 { "sample".into() } else { String::new() },
            event_type: "page_view".into(),
            page_url: page.into(),
            session_id: "sample-1".into(),
        };
        records.push(record("headwater.event.v1.PageEvent", event.encode_to_vec()));
    }
    let answer = client.publish("page-events", records).await?;
    for result in answer.results {
        match result.result {
            Some(Outcome::Accepted(at)) => println!("accepted {} at {}/{}", at.id, at.partition, at.offset),
            Some(Outcome::Rejected(why)) => println!("rejected: {}", why.detail),
            Some(Outcome::Retry(why)) => println!("not now: {}", why.detail),
            None => println!("no result"),
        }
    }
    println!("token to read it back: {}", answer.consistency_token);
    Ok(())
}
