use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_event_log::kafka::{KafkaLog, KafkaOptions};
use headwater_event_log::sqlite::{SqliteLog, SqliteLogOptions};
use headwater_event_log::{
    EventLog, EventLogError, GroupMember, LogRecord, MemberEvent, NewRecord, PartitionReader, Position, TopicPartition,
    TopicSpec,
};
use headwater_testkit::{KAFKA, require, unique};
use tempfile::TempDir;
use tokio::time::timeout;

/// How long anything may take before the test fails: a rebalance of Kafka takes some seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Greatest record of every log here.
pub(crate) const RECORD_BYTES_MAX: usize = 100_000;

/// A log under test.
pub(crate) struct Fixture {
    pub(crate) log: Arc<dyn EventLog>,
    _dir: Option<TempDir>,
}

/// A member, and the readers of what it has.
pub(crate) struct Reading {
    pub(crate) member: Box<dyn GroupMember>,
    pub(crate) readers: BTreeMap<TopicPartition, Box<dyn PartitionReader>>,
}

impl Fixture {
    pub(crate) fn kafka() -> Self {
        let options = KafkaOptions { record_bytes_max: RECORD_BYTES_MAX as u32, ..KafkaOptions::new(require(KAFKA)) };
        Self { log: Arc::new(KafkaLog::connect(options).unwrap()), _dir: None }
    }

    pub(crate) fn sqlite_file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteLogOptions { record_bytes_max: RECORD_BYTES_MAX, ..SqliteLogOptions::default() };
        let log = SqliteLog::open(Some(&dir.path().join("log.sqlite3")), options).unwrap();
        Self { log: Arc::new(log), _dir: Some(dir) }
    }

    pub(crate) fn sqlite_memory() -> Self {
        let options = SqliteLogOptions { record_bytes_max: RECORD_BYTES_MAX, ..SqliteLogOptions::default() };
        Self { log: Arc::new(SqliteLog::open(None, options).unwrap()), _dir: None }
    }

    /// Makes a topic that no other test has.
    pub(crate) async fn topic(&self, partitions: i32) -> String {
        let spec = spec(&unique("suite"), partitions);
        assert_eq!(self.log.ensure_topic(&spec).await, Ok(partitions));
        spec.name
    }

    /// Appends records, all of which must be kept.
    pub(crate) async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Vec<Position> {
        self.log.append(topic, records).await.into_iter().map(|result| result.unwrap()).collect()
    }

    /// Joins a group and reads everything that it is given from its beginning, until it has `count` partitions.
    pub(crate) async fn reading(&self, group: &str, topics: &[String], count: usize) -> Reading {
        let mut reading = Reading { member: self.log.join(group, topics).await.unwrap(), readers: BTreeMap::new() };
        reading.until(count).await;
        reading
    }

    /// A reader of the only partition of a topic, and its member.
    pub(crate) async fn reader(&self, topic: &str, at: i64) -> (Box<dyn GroupMember>, Box<dyn PartitionReader>) {
        let mut member = self.log.join(&unique("group"), &[topic.to_owned()]).await.unwrap();
        let partition = TopicPartition { topic: topic.to_owned(), partition: 0 };
        let event = timeout(PATIENCE, member.next_event()).await.unwrap();
        assert_eq!(event, Ok(MemberEvent::Assigned(vec![partition.clone()])));
        let mut readers = member.start(vec![(partition, at)]).await.unwrap();
        (member, readers.pop().unwrap())
    }
}

impl Reading {
    /// Follows the events until the member has that many partitions.
    pub(crate) async fn until(&mut self, count: usize) {
        while self.readers.len() != count {
            let event = timeout(PATIENCE, self.member.next_event()).await;
            let have = self.readers.len();
            match event.unwrap_or_else(|_| panic!("{have} partitions, not {count}")).unwrap() {
                MemberEvent::Assigned(partitions) => {
                    let at = partitions.iter().map(|partition| (partition.clone(), 0)).collect();
                    match self.member.start(at).await {
                        Ok(readers) => self.readers.extend(partitions.into_iter().zip(readers)),
                        // The next events say what is to be done instead.
                        Err(error) => assert_eq!(error, EventLogError::Revoked),
                    }
                }
                MemberEvent::Revoked(partitions) => {
                    for partition in partitions {
                        if let Some(mut reader) = self.readers.remove(&partition) {
                            let read = timeout(PATIENCE, reader.read(1, 1, Duration::ZERO)).await.unwrap();
                            assert_eq!(read, Err(EventLogError::Revoked), "its readers end");
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn partitions(&self) -> Vec<(String, i32)> {
        self.readers.keys().map(|partition| (partition.topic.clone(), partition.partition)).collect()
    }
}

pub(crate) fn spec(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec { name: name.to_owned(), partitions, replication: 1, min_insync: 1, retention_ms: 3_600_000 }
}

pub(crate) fn record(key: &str, value: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: Bytes::copy_from_slice(key.as_bytes()), value: value.into(), headers: Vec::new() }
}

/// Reads that many records.
pub(crate) async fn read(reader: &mut dyn PartitionReader, count: usize) -> Vec<LogRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        let read = timeout(PATIENCE, reader.read(count - records.len(), usize::MAX, Duration::ZERO)).await;
        records.extend(read.unwrap_or_else(|_| panic!("{} records, not {count}", records.len())).unwrap());
    }
    records
}

pub(crate) fn text(record: &LogRecord) -> String {
    String::from_utf8(record.value.as_ref().unwrap().to_vec()).unwrap()
}
