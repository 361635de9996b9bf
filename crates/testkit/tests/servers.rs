//! Each server starts, answers, is killed and comes back on the same port with its data.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use headwater_testkit::{
    Kafka, Options, Postgres, ProcessId, Redis, RedisCluster, Registry, Toxiproxy, fresh_database, tools_dir, unique,
};

#[test]
fn redis_survives_a_kill_with_its_data() {
    let mut redis = Redis::start(Options::default()).unwrap();
    let port = redis.port();
    redis.ask("SET a 1").unwrap();
    redis.kill().unwrap();
    assert!(redis.ask("GET a").is_err(), "a killed server must not answer");
    assert!(redis.kill().is_err(), "a killed server cannot be killed again");
    redis.restart().unwrap();
    assert_eq!(redis.port(), port);
    assert_eq!(redis.ask("GET a").unwrap().as_deref(), Some("1"));
    redis.stop().unwrap();
    redis.restart().unwrap();
    assert_eq!(redis.ask("GET a").unwrap().as_deref(), Some("1"));
}

#[test]
fn redis_forgets_when_it_is_told_to() {
    let mut redis = Redis::start(Options::default().setting("appendonly", "no")).unwrap();
    redis.ask("SET a 1").unwrap();
    redis.kill().unwrap();
    redis.restart().unwrap();
    assert_eq!(redis.ask("GET a").unwrap(), None);
}

#[test]
fn a_paused_server_answers_only_after_it_is_resumed() {
    let mut redis = Redis::start(Options::default()).unwrap();
    redis.pause().unwrap();
    let asked = Instant::now();
    std::thread::scope(|scope| {
        let port = redis.port();
        let answer = scope.spawn(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"PING\r\n").unwrap();
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).unwrap();
            (answer, asked.elapsed())
        });
        std::thread::sleep(Duration::from_millis(400));
        redis.resume().unwrap();
        let (answer, waited) = answer.join().unwrap();
        assert_eq!(&answer, b"+PONG\r\n");
        assert!(waited >= Duration::from_millis(400), "answered after {waited:?}, while it was paused");
    });
}

#[test]
fn a_cluster_serves_every_slot_and_heals() {
    let mut cluster = RedisCluster::start(3, Options::default()).unwrap();
    assert_eq!(cluster.urls().len(), 3);
    // The slot of "foo" is 12182: the third node's.
    assert!(cluster.nodes()[0].ask("SET foo 1").unwrap_err().to_string().contains("MOVED 12182"));
    cluster.nodes()[2].ask("SET foo 1").unwrap();
    cluster.nodes()[2].kill().unwrap();
    cluster.nodes()[2].restart().unwrap();
    cluster.await_whole().unwrap();
    assert_eq!(cluster.nodes()[2].ask("GET foo").unwrap().as_deref(), Some("1"));
}

#[test]
fn a_replica_takes_over_from_its_primary() {
    let mut cluster = RedisCluster::with_replicas(3, Options::default()).unwrap();
    assert_eq!(cluster.urls().len(), 6);
    assert_eq!(cluster.primary_of(12182).unwrap(), 2);
    cluster.nodes()[2].ask("SET foo 1").unwrap();
    cluster.await_replica(2, 5).unwrap();
    cluster.nodes()[2].kill().unwrap();
    assert_eq!(cluster.await_other_primary(12182, 2).unwrap(), 5);
    assert_eq!(cluster.nodes()[5].ask("GET foo").unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn postgres_survives_a_kill_with_its_data() {
    let mut postgres = Postgres::start(Options::default()).unwrap();
    let port = postgres.port();
    let url = fresh_database(&postgres.url()).await.unwrap();
    execute(&url, "CREATE TABLE kept (value int); INSERT INTO kept VALUES (42)").await;
    postgres.kill().unwrap();
    assert!(tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_err());
    postgres.restart().unwrap();
    assert_eq!(postgres.port(), port);
    assert_eq!(count(&url).await, 1);
    postgres.stop().unwrap();
    postgres.restart().unwrap();
    assert_eq!(count(&url).await, 1);
}

async fn execute(url: &str, statement: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}

async fn count(url: &str) -> i64 {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one("SELECT count(*) FROM kept WHERE value = 42", &[]).await.unwrap().get(0)
}

#[test]
fn registry_survives_a_kill_with_its_data() {
    let mut registry = Registry::start(Options::default()).unwrap();
    let port = registry.port();
    let subject = unique("subject");
    let schema = r#"{"schemaType":"PROTOBUF","schema":"syntax = \"proto3\"; message A { string a = 1; }"}"#;
    let id = http(port, "POST", &format!("/apis/ccompat/v7/subjects/{subject}/versions"), schema);
    assert!(id.contains("\"id\""), "{id}");
    registry.kill().unwrap();
    registry.restart().unwrap();
    assert_eq!(registry.port(), port);
    assert!(http(port, "GET", "/apis/ccompat/v7/subjects", "").contains(&subject));
}

fn http(port: u16, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn kafka_survives_a_kill_with_its_data() {
    let mut kafka = Kafka::start(Options::default()).unwrap();
    let port = kafka.port();
    let topic = unique("topic");
    let topics = |arguments: &[&str], bootstrap: &str| {
        let output = Command::new("java")
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(tools_dir().join("kafka/libs/*"))
            .args(["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", bootstrap])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    topics(&["--create", "--topic", &topic, "--partitions", "3"], &kafka.bootstrap());
    kafka.kill().unwrap();
    kafka.restart().unwrap();
    assert_eq!(kafka.port(), port);
    assert!(topics(&["--describe", "--topic", &topic], &kafka.bootstrap()).contains("PartitionCount: 3"));
}

#[test]
fn toxiproxy_delays_and_cuts() {
    let redis = Redis::start(Options::default()).unwrap();
    let toxiproxy = Toxiproxy::start(Options::default()).unwrap();
    let port = toxiproxy.proxy("redis", redis.port()).unwrap();
    let ping = || -> std::io::Result<Duration> {
        let asked = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"PING\r\n")?;
        stream.read_exact(&mut [0; 7])?;
        Ok(asked.elapsed())
    };
    ping().unwrap();
    toxiproxy.add("redis", "latency", true, &serde_json::json!({ "latency": 300 })).unwrap();
    assert!(ping().unwrap() >= Duration::from_millis(300));
    toxiproxy.remove("redis", "latency").unwrap();
    assert!(ping().unwrap() < Duration::from_millis(300));
    toxiproxy.enable("redis", false).unwrap();
    assert!(ping().is_err());
    toxiproxy.enable("redis", true).unwrap();
    ping().unwrap();
}

#[test]
fn a_server_dies_with_its_handle() {
    let redis = Redis::start(Options::default()).unwrap();
    let process = redis.process().unwrap();
    let dir = redis.dir().to_owned();
    drop(redis);
    assert!(!process.is_alive());
    assert!(!dir.exists(), "the temporary folder must go too");
}

/// Not a test of its own: the parent in the next one.
#[test]
#[ignore = "run by a_server_dies_with_the_process_that_started_it"]
fn parent_that_is_killed() {
    // From a thread that ends at once, as threads of a runtime do: the server must outlive that, and not the process.
    let redis = std::thread::spawn(|| Redis::start(Options::default()).unwrap()).join().unwrap();
    println!("pid={}", redis.process().unwrap().pid);
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_server_dies_with_the_process_that_started_it() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "parent_that_is_killed", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    let mut output = parent.stdout.take().unwrap();
    let pid: u32 = loop {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
        if let Some((_, number)) = text.split_once("pid=")
            && let Some(number) = number.strip_suffix('\n')
        {
            break number.parse().unwrap();
        }
    };
    std::thread::sleep(Duration::from_millis(300));
    let server = ProcessId::of(pid).expect("the server lives while its parent does");
    parent.kill().unwrap();
    parent.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.is_alive() {
        assert!(Instant::now() < deadline, "the server outlived its parent");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_port_in_use_is_refused_by_name() {
    let first = Redis::start(Options::default()).unwrap();
    let error = Redis::start(Options::default().port(first.port())).err().unwrap();
    assert!(error.to_string().contains("in use"), "{error:#}");
}

#[test]
fn a_server_that_cannot_start_shows_its_log() {
    let error = Redis::start(Options::default().setting("maxmemory", "nonsense")).err().unwrap();
    let text = format!("{error:#}");
    assert!(text.contains("ended before it was ready") && text.contains("nonsense"), "{text}");
}

#[test]
fn unique_names_differ() {
    assert_ne!(unique("topic"), unique("topic"));
    assert!(unique("topic").starts_with("topic-"));
}
