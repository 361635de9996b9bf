//! How much one client may ask for at a time.

use std::net::Ipv4Addr;

use headwater_contracts::v1::cache::{WatchRequest, WatchResponse};
use headwater_contracts::v1::error::Reason;
use headwater_serving::Settings;
use tonic::transport::Endpoint;
use tonic::{Status, Streaming};

use crate::stage::{Client, Setup, Stage, bytes, get, memory, reason, until};

async fn watch(client: &mut Client) -> Result<Streaming<WatchResponse>, Status> {
    let request = WatchRequest { keys: vec![bytes("k")], ..Default::default() };
    let mut stream = client.watch(request).await?.into_inner();
    assert!(stream.message().await?.is_some(), "the state that is now");
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_opens_a_thousand_streams_is_told_and_others_are_served() {
    let mut setup = Setup::new("test");
    setup.settings.rpc.requests_in_flight_per_client_max = 900;
    let stage = Stage::start(memory(), setup).await;
    let mut client = stage.client().await;
    let mut streams = Vec::new();
    let mut refused = 0;
    for _ in 0..1000 {
        match watch(&mut client).await {
            Ok(stream) => streams.push(stream),
            Err(status) => {
                assert_eq!(reason::<()>(Err(status)), Reason::Overloaded);
                refused += 1;
            }
        }
    }
    assert_eq!((streams.len(), refused), (900, 100));
    assert_eq!(reason(get(&mut client, "", "k").await), Reason::Overloaded, "not queued, whatever it asks for");
    let (status, head, _) = stage.http("GET", "/get/k", "", "").await;
    assert_eq!(status, 429, "{head}");
    assert!(head.contains("retry-after: 1"), "{head}");
    streams.truncate(899);
    until("its place is free again", async || match get(&mut client, "", "k").await {
        Ok(_) => Ok(()),
        Err(status) => Err(status.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_does_not_take_the_watches_of_all_others() {
    let mut setup = Setup::new("test");
    // At a tenth of the defaults.
    let defaults = Settings::default();
    setup.settings.rpc.requests_in_flight_max = defaults.rpc.requests_in_flight_max / 10;
    setup.settings.rpc.requests_in_flight_per_client_max = defaults.rpc.requests_in_flight_per_client_max / 10;
    setup.options.watches_max = defaults.cache.watches_max / 10;
    let stage = Stage::start(memory(), setup).await;
    let mut client = stage.client().await;
    let mut streams = Vec::new();
    let refused = loop {
        match watch(&mut client).await {
            Ok(stream) => streams.push(stream),
            Err(status) => break status,
        }
    };
    assert_eq!(streams.len(), 100);
    assert_eq!(reason::<()>(Err(refused)), Reason::Overloaded);
    let endpoint = Endpoint::from_shared(format!("http://{}", stage.grpc)).unwrap();
    let channel = endpoint.local_address(Some(Ipv4Addr::new(127, 0, 0, 2).into())).connect().await.unwrap();
    watch(&mut Client::new(channel)).await.expect("another client may watch");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_have_a_limit_of_their_own() {
    let mut setup = Setup::new("test");
    setup.options.watches_max = 3;
    let stage = Stage::start(memory(), setup).await;
    let mut client = stage.client().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(watch(&mut client).await.unwrap());
    }
    assert_eq!(reason(watch(&mut client).await), Reason::Overloaded);
    get(&mut client, "", "k").await.unwrap();
    streams.pop();
    until("a place is free again", async || match watch(&mut client).await {
        Ok(_) => Ok(()),
        Err(status) => Err(status.to_string()),
    })
    .await;
}
