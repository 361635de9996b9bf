//! `headwater contracts register` on a real broker and registry: a topic for any program, or a clear word why there is none.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use headwater_event_log::SchemaRegistry;
use headwater_event_log::kafka::{KafkaLog, KafkaOptions};
use headwater_event_log::registry::ConfluentRegistry;
use headwater_event_log::{EventLog, RegisteredSchema};
use headwater_testkit::{KAFKA, REGISTRY, free_port, require, unique};
use support::process::{command, run, text};

const TRANSACTION: &str = "headwater/event/v1/transaction.proto";

/// Runs it on these servers; its exit code, and what it said on each output.
async fn register_on(kafka: &str, registry: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let servers = ["contracts", "register", "--kafka-brokers", kafka, "--registry-url", registry];
    let output = run(command(&[&servers[..], more].concat())).await;
    let [out, err] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    (output.status.code(), out, err)
}

async fn register(more: &[&str]) -> (Option<i32>, String, String) {
    register_on(&require(KAFKA), &require(REGISTRY), more).await
}

async fn latest(topic: &str) -> Option<RegisteredSchema> {
    let registry = ConfluentRegistry::new(&require(REGISTRY), std::time::Duration::from_secs(10)).unwrap();
    registry.latest(&format!("{topic}-value")).await.unwrap()
}

#[tokio::test]
async fn it_makes_the_topic_and_registers_the_schema_once() {
    let topic = unique("register");
    let arguments = ["transactions", "--topic", &topic, "--partitions", "3"];
    let (code, out, err) = register(&arguments).await;
    assert_eq!(code, Some(0), "{err}");
    let schema = latest(&topic).await.unwrap();
    assert!(schema.schema.text.contains("message Transaction"), "{}", schema.schema.text);
    assert_eq!(out, format!("{topic}: 3 partitions, schema {} of {topic}-value\n", schema.id));
    let log = KafkaLog::connect(KafkaOptions::new(require(KAFKA))).unwrap();
    assert_eq!(log.partitions(&topic).await.unwrap(), 3);

    // Again, and where other partitions are asked for: what is there stays.
    let (code, again, err) = register(&["transactions", "--topic", &topic, "--partitions", "5"]).await;
    assert_eq!((code, again), (Some(0), out), "{err}");
    assert_eq!((latest(&topic).await.unwrap().id, log.partitions(&topic).await.unwrap()), (schema.id, 3));
}

#[tokio::test]
async fn a_schema_that_breaks_the_one_that_is_there_is_refused() {
    let topic = unique("register");
    let (code, _, err) = register(&["transactions", "--topic", &topic]).await;
    assert_eq!(code, Some(0), "{err}");
    let before = latest(&topic).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto").join(TRANSACTION);
    let (shipped, changed) = (fs::read_to_string(shipped).unwrap(), folder.path().join(TRANSACTION));
    let field = "string transaction_reference = 3 [(buf.validate.field).string.max_len = 256];";
    assert!(shipped.contains(field));
    fs::create_dir_all(changed.parent().unwrap()).unwrap();
    fs::write(changed, shipped.replace(field, "int64 transaction_reference = 3;")).unwrap();
    let contracts = text(folder.path());
    let (code, out, err) = register(&["transactions", "--topic", &topic, "--contracts", &contracts]).await;
    assert_eq!((code, out), (Some(1), String::new()), "{err}");
    assert!(err.contains("incompatible") && err.contains(&format!("{topic}-value")), "{err}");
    assert_eq!(latest(&topic).await.unwrap().id, before.id);
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_told_with_those_that_are() {
    let topic = unique("register");
    let (code, out, err) = register(&["transaction", "--topic", &topic]).await;
    assert_eq!((code, out), (Some(1), String::new()), "{err}");
    assert!(err.contains("there is no stream transaction; there are page-events, transactions"), "{err}");
    assert!(latest(&topic).await.is_none());
}

#[tokio::test]
async fn who_is_away_is_told_within_the_timeout() {
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    let topic = unique("register");
    let arguments = ["transactions", "--topic", &topic, "--timeout", "2s"];
    let (code, out, err) = register_on(&nobody, &require(REGISTRY), &arguments).await;
    assert_eq!((code, out), (Some(1), String::new()), "{err}");
    assert!(err.contains("not within 2 s") && err.contains("kafka.brokers"), "{err}");
    assert!(err.contains("the event log is unavailable"), "{err}");

    let (code, out, err) = register_on(&require(KAFKA), &format!("http://{nobody}"), &arguments).await;
    assert_eq!((code, out), (Some(1), String::new()), "{err}");
    assert!(err.contains("not within 2 s") && err.contains("registry.url"), "{err}");
    assert!(err.contains("the schema registry is unavailable"), "{err}");

    let (code, _, err) = register(&["transactions", "--topic", &topic, "--timeout", "2"]).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("has no unit"), "{err}");
}
