//! Streams of a test's own on the servers that all tests share, and processes of the platform that work on them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use headwater_contracts::v1::ingest::Record;
use headwater_contracts::v1::stats::StatQuery;
use headwater_testkit::{KAFKA, POSTGRES, REDIS, REGISTRY, fresh_database, require, unique};
use prost_types::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;
use tokio::task::block_in_place;
use uuid::Uuid;

use super::calls::{get, now_ms, query, record, timestamp};
use super::process::{Headwater, Stats, command, run, text};
use super::within;

/// How long the brokers may take for a change of a topic.
const ADMIN_MAX: Duration = Duration::from_secs(10);

/// What happened on one of the streams; its key is the user.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Visit {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) at: Option<Timestamp>,
    #[prost(string, tag = "3")]
    pub(crate) user: String,
    #[prost(string, tag = "4")]
    pub(crate) page: String,
}

/// Where everything is, under names that no other test has.
pub(crate) struct Stage {
    contracts: TempDir,
    streams: Vec<String>,
    pub(crate) kafka: String,
    pub(crate) registry: String,
    pub(crate) redis: String,
    pub(crate) postgres: String,
    name: String,
}

impl Visit {
    /// One of now, with an id of its own.
    pub(crate) fn new(user: &str, page: &str) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            at: Some(timestamp(now_ms())),
            user: user.to_owned(),
            page: page.to_owned(),
        }
    }
}

impl Stage {
    /// A stream for each of the names, on the shared servers and an empty database.
    pub(crate) async fn new(names: &[&str]) -> Self {
        let name = unique("stage");
        let streams: Vec<String> = names.iter().map(|stream| format!("{stream}-{}", &name[6..])).collect();
        let contracts = tempfile::tempdir().unwrap();
        let messages: String = (0..).zip(&streams).map(|(number, stream)| message(number, stream)).collect();
        let head = "syntax = \"proto3\";\npackage acme;\nimport \"google/protobuf/timestamp.proto\";\n\
                    import \"buf/validate/validate.proto\";\nimport \"headwater/stream/v1/stream.proto\";\n";
        std::fs::create_dir(contracts.path().join("acme")).unwrap();
        std::fs::write(contracts.path().join("acme").join(format!("{name}.proto")), format!("{head}{messages}"))
            .unwrap();
        let postgres = fresh_database(&require(POSTGRES)).await.unwrap();
        let (kafka, registry, redis) = (require(KAFKA), require(REGISTRY), require(REDIS));
        Self { contracts, streams, kafka, registry, redis, postgres, name }
    }

    /// The name of a stream, by its place among those that were asked for.
    pub(crate) fn stream(&self, number: usize) -> &str {
        &self.streams[number]
    }

    /// The name of its table, with the schema's.
    pub(crate) fn table(&self, number: usize) -> String {
        format!("headwater.{}", self.streams[number].replace('-', "_"))
    }

    /// Visits as records of a stream.
    pub(crate) fn records(&self, number: usize, visits: &[Visit]) -> Vec<Record> {
        let type_url = format!("type.googleapis.com/acme.Visit{number}");
        visits.iter().map(|visit| record(&type_url, prost::Message::encode_to_vec(visit))).collect()
    }

    /// A command of the program with the settings that say where everything is.
    pub(crate) fn arguments(&self, command: &[&str], more: &[&str]) -> Vec<String> {
        let contracts = text(self.contracts.path());
        let settings = [
            "--contracts",
            &contracts,
            "--kafka-brokers",
            &self.kafka,
            "--kafka-group",
            &self.name,
            "--registry-url",
            &self.registry,
            "--redis-url",
            &self.redis,
            "--redis-prefix",
            &self.name,
            "--postgres-url",
            &self.postgres,
            "--topics-partitions",
            "1",
        ];
        command.iter().chain(&settings).chain(more).map(|word| (*word).to_owned()).collect()
    }

    /// `headwater serve` with these roles and settings, once it listens.
    pub(crate) async fn serve(&self, roles: &str, more: &[&str]) -> Headwater {
        let arguments = self.arguments(&["serve", "--role", roles], more);
        Headwater::start(&words(&arguments)).await
    }

    /// The same under another clock, ahead (or behind) by so many seconds.
    pub(crate) async fn serve_at(&self, seconds: i64, roles: &str, more: &[&str]) -> Headwater {
        let arguments = self.arguments(&["serve", "--role", roles], more);
        let mut command = command(&words(&arguments));
        let clock = self.contracts.path().with_extension("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/clock.c");
        let made =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&clock).args([source, "-ldl"]).output();
        let made = made.expect("a C compiler: `tools/setup cc` installs one");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        command.env("LD_PRELOAD", &clock).env("HEADWATER_TEST_CLOCK_S", seconds.to_string());
        let headwater = Headwater::launch(command).await;
        std::fs::remove_file(clock).unwrap();
        headwater
    }

    /// Runs `headwater resume` on partition 0 of a stream; whether it succeeded, and what it said.
    pub(crate) async fn resume(&self, number: usize, more: &[&str]) -> (bool, String) {
        let mut all = vec!["--stream", self.stream(number), "--partition", "0"];
        all.extend(more);
        let output = run(command(&words(&self.arguments(&["resume"], &all)))).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    /// What all pages of a stream add up to: all time or of a window, in seconds; with whether that is complete.
    pub(crate) async fn views(
        &self,
        stats: &mut Stats,
        number: usize,
        window_s: Option<i64>,
        token: &str,
    ) -> Result<(i64, bool), tonic::Status> {
        let window = window_s.and_then(super::calls::seconds);
        let asked = StatQuery { window, limit: 1000, ..query(self.stream(number), "pages") };
        let result = get(stats, asked, token).await?;
        Ok((result.values.iter().map(|value| value.value).sum(), result.complete))
    }

    /// Waits until so many events of a stream are counted, and all that there is is.
    pub(crate) async fn counted(&self, limit: Duration, stats: &Stats, number: usize, events: usize) {
        within(limit, "everything is counted", || {
            let mut stats = stats.clone();
            async move {
                match self.views(&mut stats, number, None, "").await {
                    Ok((views, true)) if views == events as i64 => Ok(()),
                    other => Err(format!("{other:?}, and not {events}")),
                }
            }
        })
        .await;
    }

    /// Waits until at least so many events of a stream are counted.
    pub(crate) async fn counted_at_least(&self, limit: Duration, stats: &Stats, number: usize, events: usize) {
        within(limit, "what was accepted is counted", || {
            let mut stats = stats.clone();
            async move {
                match self.views(&mut stats, number, None, "").await {
                    Ok((views, true)) if views >= events as i64 => Ok(()),
                    other => Err(format!("{other:?}, and not {events}")),
                }
            }
        })
        .await;
    }

    /// Waits until so many events of a stream are stored.
    pub(crate) async fn stored(&self, limit: Duration, number: usize, events: usize) {
        within(limit, "everything is stored", || async {
            let stored = self.count(&self.table(number), "true").await;
            if stored == events as i64 { Ok(()) } else { Err(format!("{stored} of {events}")) }
        })
        .await;
    }

    /// Rows of a table that a condition holds for.
    pub(crate) async fn count(&self, table: &str, condition: &str) -> i64 {
        self.rows(&format!("SELECT '', count(*) FROM {table} WHERE {condition}")).await[&String::new()]
    }

    /// Rows of a text and a number.
    pub(crate) async fn rows(&self, sql: &str) -> BTreeMap<String, i64> {
        let (client, connection) = tokio_postgres::connect(&self.postgres, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let rows = client.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
        drop(client);
        connection.await.unwrap().unwrap();
        rows
    }

    /// Runs statements.
    pub(crate) async fn execute(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(&self.postgres, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
    }

    /// Offsets of the oldest record and of the next.
    pub(crate) fn watermarks(&self, topic: &str, partition: i32) -> (i64, i64) {
        block_in_place(|| {
            let consumer: BaseConsumer = self.client().set("group.id", unique("look")).create().unwrap();
            consumer.fetch_watermarks(topic, partition, ADMIN_MAX).unwrap()
        })
    }

    /// Deletes a topic and makes it again.
    pub(crate) async fn make_anew(&self, number: usize) {
        self.delete(number).await;
        self.create(number).await;
    }

    /// Deletes a topic.
    pub(crate) async fn delete(&self, number: usize) {
        let deleted = self.admin().delete_topics(&[self.stream(number)], &admin_options()).await.unwrap();
        deleted[0].as_ref().unwrap();
    }

    /// Makes a topic that was deleted.
    pub(crate) async fn create(&self, number: usize) {
        let (admin, topic) = (self.admin(), self.stream(number));
        within(ADMIN_MAX, "the topic is made again", || async {
            let new =
                NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
            match &admin.create_topics([&new], &admin_options()).await.unwrap()[0] {
                Ok(_) => Ok(()),
                Err((_, code)) => Err(code.to_string()),
            }
        })
        .await;
    }

    /// Removes the records of partition 0 before an offset.
    pub(crate) async fn remove_before(&self, number: usize, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.stream(number), 0, Offset::Offset(offset)).unwrap();
        self.admin().delete_records(&list, &admin_options()).await.unwrap();
    }

    /// Gives a topic more partitions.
    pub(crate) async fn raise_partitions(&self, number: usize, to: usize) {
        let raised = NewPartitions::new(self.stream(number), to);
        self.admin().create_partitions([&raised], &admin_options()).await.unwrap()[0].as_ref().unwrap();
    }

    /// Appends a record as any producer could, to a partition of its choice or the key's.
    pub(crate) async fn produce(&self, number: usize, partition: Option<i32>, key: &str, value: &[u8]) {
        let producer: FutureProducer =
            self.client().set("partitioner", "murmur2_random").set("message.timeout.ms", "10000").create().unwrap();
        let mut record = FutureRecord::to(self.stream(number)).key(key).payload(value);
        record.partition = partition;
        producer.send(record, ADMIN_MAX).await.unwrap();
    }

    /// Appends records of these keys and values to partition 0.
    pub(crate) async fn produce_in_order(&self, number: usize, records: &[(String, Option<Vec<u8>>)]) {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("message.timeout.ms", "20000");
        let producer: FutureProducer = config.create().unwrap();
        let appended = records.iter().map(|(key, value)| {
            let mut record = FutureRecord::<str, [u8]>::to(self.stream(number)).key(key).partition(0);
            record.payload = value.as_deref();
            producer.send(record, ADMIN_MAX)
        });
        futures::future::try_join_all(appended).await.unwrap();
    }

    /// Appends so many records, which are all the same, in one request.
    pub(crate) async fn produce_at_once(&self, number: usize, value: &[u8], count: usize) {
        let mut config = self.client();
        config.set("linger.ms", "50").set("message.timeout.ms", "10000");
        let producer: FutureProducer = config.create().unwrap();
        let record = || FutureRecord::<str, [u8]>::to(self.stream(number)).payload(value).partition(0);
        futures::future::try_join_all((0..count).map(|_| producer.send(record(), ADMIN_MAX))).await.unwrap();
    }

    /// What every client of Kafka begins with.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }
}

/// The reason of a trouble that a process shows, once it shows one of that name.
pub(crate) async fn trouble(headwater: &Headwater, limit: Duration, name: &str) -> String {
    within(limit, "the trouble is shown", || async {
        let report = report(headwater).await;
        let troubles = report["troubles"].as_array().unwrap();
        let found = troubles.iter().find(|trouble| trouble["name"] == name);
        found.map(|trouble| trouble["reason"].as_str().unwrap().to_owned()).ok_or_else(|| report.to_string())
    })
    .await
}

/// Waits until a process shows no trouble of that name.
pub(crate) async fn mended(headwater: &Headwater, limit: Duration, name: &str) {
    within(limit, "the trouble is over", || async {
        let report = report(headwater).await;
        let troubles = report["troubles"].as_array().unwrap();
        if troubles.iter().any(|trouble| trouble["name"] == name) { Err(report.to_string()) } else { Ok(()) }
    })
    .await;
}

/// What `/readyz` says.
pub(crate) async fn report(headwater: &Headwater) -> serde_json::Value {
    serde_json::from_str(&headwater.get("/readyz").await.unwrap().1).unwrap()
}

/// Texts as arguments.
pub(crate) fn words(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ADMIN_MAX)).request_timeout(Some(ADMIN_MAX))
}

fn message(number: usize, stream: &str) -> String {
    format!(
        "message Visit{number} {{
  option (headwater.stream.v1.stream) = {{
    name: \"{stream}\" id: \"id\" key: \"user\" time: \"at\"
    stats: {{ name: \"pages\" top: {{ field: \"page\" }} }}
    stats: {{ name: \"users\" distinct: {{ field: \"user\" }} }}
    rules: {{
      name: \"eager\" version: 1
      flag_above: {{ count: 3 per: \"user\" every_s: 1 }}
      where: {{ field: \"page\" equals: \"/rush\" }}
    }}
  }};
  string id = 1 [(buf.validate.field).string.min_len = 1];
  google.protobuf.Timestamp at = 2 [(buf.validate.field).required = true];
  string user = 3 [(buf.validate.field).string.min_len = 1];
  string page = 4 [(buf.validate.field).string.min_len = 1];
}}
"
    )
}
