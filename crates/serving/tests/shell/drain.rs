use std::time::{Duration, Instant};

use headwater_serving::Drained;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Running;
use crate::client::{Client, becomes, next};
use crate::echo::SERVICE;

#[tokio::test]
async fn what_is_in_flight_ends_well_and_nothing_new_begins() {
    let running = Running::start(|_| {}).await;
    let (client, end) = Client::try_connect(running.grpc).await.unwrap();
    let (grpc, http, readiness) = (running.grpc, running.http, running.readiness.clone());
    readiness.ready().await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.tell("sleep 700").await }
    });
    let path = format!("/{SERVICE}/Watch");
    let mut stream = client.stream::<String, String>(&path, "until-drain".to_owned()).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "begun");
    tokio::time::sleep(Duration::from_millis(100)).await;

    let began = Instant::now();
    let drained = tokio::spawn(running.end());
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "bye");
    assert!(next(&mut stream).await.unwrap().is_none());
    assert!(!readiness.is_ready() && readiness.report().draining);
    for address in [grpc, http] {
        let mut is_refused = false;
        for _ in 0..100 {
            is_refused = TcpStream::connect(address).await.is_err();
            if is_refused {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(is_refused, "{address} takes connections while draining");
    }
    assert!(!call.is_finished());
    assert_eq!(call.await.unwrap().unwrap(), "slept");
    // GOAWAY: the server ends the connection once its calls are over, though the client holds it.
    assert_eq!(drained.await.unwrap(), Drained { connections_cut: 0 });
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    end.await.unwrap().unwrap();
    drop(client);
}

#[tokio::test]
async fn the_drain_is_bounded() {
    let running = Running::start(|settings| settings.rpc.drain_timeout_ms = 300).await;
    let client = Client::connect(running.grpc).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("held");
    let call = tokio::spawn({
        let (client, text) = (client.clone(), format!("hold {}", file.display()));
        async move { client.tell(text).await }
    });
    let path = format!("/{SERVICE}/Watch");
    let mut stream = client.stream::<String, String>(&path, "forever".to_owned()).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "begun");
    assert!(becomes(|| file.exists()).await);

    let began = Instant::now();
    assert_eq!(running.end().await, Drained { connections_cut: 1 });
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(1500), "{took:?}");
    assert!(call.await.unwrap().is_err());
    assert!(next(&mut stream).await.is_err());
    assert!(becomes(|| !file.exists()).await, "the handler goes on");
}

#[tokio::test]
async fn a_quiet_process_drains_at_once() {
    let running = Running::start(|_| {}).await;
    let client = Client::connect(running.grpc).await;
    assert_eq!(client.tell("echo x").await.unwrap(), "x");
    // Held open by people who are not there: one that never spoke, and HTTP/1 that is kept alive.
    let _silent = TcpStream::connect(running.grpc).await.unwrap();
    let mut kept = TcpStream::connect(running.http).await.unwrap();
    kept.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    kept.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let began = Instant::now();
    assert_eq!(running.end().await, Drained { connections_cut: 0 });
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_old_connection_is_asked_to_end_and_its_calls_end_well() {
    let running = Running::start(|settings| settings.rpc.connection_age_max_s = 1).await;
    let (client, end) = Client::try_connect(running.grpc).await.unwrap();
    let began = Instant::now();
    assert_eq!(client.tell("sleep 1500").await.unwrap(), "slept");
    tokio::time::timeout(Duration::from_secs(5), end).await.expect("GOAWAY").unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    let again = Client::connect(running.grpc).await;
    assert_eq!(again.tell("echo x").await.unwrap(), "x");
    running.end().await;
}
