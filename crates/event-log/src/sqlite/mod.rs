//! The event log in one SQLite file, or in memory: for `headwater dev`, tests and simulations.
//!
//! One thread owns the database. Appends that wait while it commits share the next transaction, so that the cost of a
//! durable commit is shared by all who append. Groups live within the process, and so the file is locked: a second
//! process is refused.
//!
//! Headers of records are for readers outside Headwater, of which an embedded log has none: they are not kept.

mod group;
mod options;
mod reader;
mod store;
mod worker;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use rand::Rng;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use self::options::{Clock, Durability, SqliteLogOptions};

use self::group::{Groups, SqliteMember};
use self::store::Store;
use self::worker::{Append, Request, Worker};
use crate::{EventLog, EventLogError, GroupMember, NewRecord, Position, TopicSpec, Watermarks};

/// Requests that may wait for the database's thread. More wait before they are taken in.
const REQUESTS_MAX: usize = 1024;
/// How long `check` waits for an answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Partitions that a topic may have.
const PARTITIONS_MAX: i32 = 1024;

/// The event log on SQLite.
#[derive(Clone)]
pub struct SqliteLog {
    shared: Arc<Shared>,
}

/// What the log, its members and its readers have in common.
pub(crate) struct Shared {
    options: SqliteLogOptions,
    topics: RwLock<HashMap<String, Arc<Topic>>>,
    groups: Mutex<Groups>,
    requests: mpsc::Sender<Request>,
    /// A permit per record that may wait to be committed.
    queue: Arc<Semaphore>,
}

/// A topic, as far as it is known without the database.
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: Vec<watch::Receiver<Watermarks>>,
    /// Where records without a key go next.
    next_keyless: AtomicI32,
}

impl SqliteLog {
    /// Opens the log at that path, or one in memory that ends with it, and starts its thread.
    ///
    /// # Errors
    /// `Refused` where the file is not such a log, or another process has it.
    pub fn open(path: Option<&Path>, options: SqliteLogOptions) -> Result<Self, EventLogError> {
        let store = Store::open(path, &options)?;
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let topics = store.topics().map(|(name, partitions)| (name.clone(), Topic::new(name, partitions))).collect();
        let queue = Arc::new(Semaphore::new(options.queue_records_max.min(Semaphore::MAX_PERMITS)));
        Worker::spawn(store, receiver)?;
        let groups = Mutex::new(Groups::default());
        Ok(Self { shared: Arc::new(Shared { options, topics: RwLock::new(topics), groups, requests, queue }) })
    }
}

impl Shared {
    fn topic(&self, name: &str) -> Result<Arc<Topic>, EventLogError> {
        self.topics.read().get(name).cloned().ok_or_else(|| EventLogError::UnknownTopic(name.into()))
    }

    /// Sends a request to the database's thread and waits for the answer.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, EventLogError> {
        let (reply, answer) = oneshot::channel();
        let gone = || EventLogError::Unavailable("the log's thread has ended".into());
        self.requests.send(request(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

impl Topic {
    fn new(name: &str, partitions: Vec<watch::Receiver<Watermarks>>) -> Arc<Self> {
        let next_keyless = AtomicI32::new(rand::rng().random_range(0..i32::MAX));
        Arc::new(Self { name: name.to_owned(), partitions, next_keyless })
    }

    fn partition_of(&self, key: &[u8]) -> i32 {
        let count = self.partitions.len() as i32;
        if key.is_empty() {
            (self.next_keyless.fetch_add(1, Ordering::Relaxed) & i32::MAX) % count
        } else {
            headwater_domain::partition_of(key, count)
        }
    }

    fn partition(&self, partition: i32) -> Result<&watch::Receiver<Watermarks>, EventLogError> {
        let found = usize::try_from(partition).ok().and_then(|index| self.partitions.get(index));
        found.ok_or_else(|| EventLogError::UnknownTopic(self.name.clone()))
    }
}

#[async_trait]
impl EventLog for SqliteLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<i32, EventLogError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if spec.name.is_empty() || spec.name.len() > 249 || !spec.name.chars().all(legal) {
            return Err(EventLogError::Refused(format!("{:?} is no name for a topic", spec.name)));
        }
        if !(1..=PARTITIONS_MAX).contains(&spec.partitions) {
            let text = format!("{} partitions: a topic has 1 to {PARTITIONS_MAX}", spec.partitions);
            return Err(EventLogError::Refused(text));
        }
        if let Ok(topic) = self.shared.topic(&spec.name) {
            return Ok(topic.partitions.len() as i32);
        }
        let asked = spec.clone();
        let partitions = self.shared.ask(|reply| Request::Ensure { spec: asked, reply }).await??;
        let mut topics = self.shared.topics.write();
        let topic = topics.entry(spec.name.clone()).or_insert_with(|| Topic::new(&spec.name, partitions));
        Ok(topic.partitions.len() as i32)
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Vec<Result<Position, EventLogError>> {
        let count = records.len();
        if count == 0 {
            return Vec::new();
        }
        let topic = match self.shared.topic(topic) {
            Ok(topic) => topic,
            Err(error) => return vec![Err(error); count],
        };
        let Some(permits) =
            u32::try_from(count).ok().and_then(|n| self.shared.queue.clone().try_acquire_many_owned(n).ok())
        else {
            return vec![Err(EventLogError::QueueFull); count];
        };
        let bytes_max = self.shared.options.record_bytes_max;
        let placed = |record: NewRecord| match record.key.len() + record.value.len() {
            bytes if bytes > bytes_max => Err(EventLogError::RecordTooLarge { bytes }),
            _ => Ok((topic.partition_of(&record.key), record)),
        };
        let records = records.into_iter().map(placed).collect();
        let topic = topic.name.clone();
        let ask = |reply| Request::Append(Append { topic, records, reply, permits });
        self.shared.ask(ask).await.unwrap_or_else(|error| vec![Err(error); count])
    }

    async fn partitions(&self, topic: &str) -> Result<i32, EventLogError> {
        Ok(self.shared.topic(topic)?.partitions.len() as i32)
    }

    async fn watermarks(&self, topic: &str, partition: i32) -> Result<Watermarks, EventLogError> {
        Ok(*self.shared.topic(topic)?.partition(partition)?.borrow())
    }

    async fn join(&self, group: &str, topics: &[String]) -> Result<Box<dyn GroupMember>, EventLogError> {
        let topics = topics.iter().map(|topic| self.shared.topic(topic)).collect::<Result<Vec<_>, _>>()?;
        Ok(Box::new(SqliteMember::join(self.shared.clone(), group, topics)))
    }

    async fn check(&self) -> Result<(), EventLogError> {
        match tokio::time::timeout(CHECK_TIMEOUT, self.shared.ask(Request::Ping)).await {
            Ok(answer) => answer,
            Err(_) => Err(EventLogError::Unavailable("the log's thread does not answer".into())),
        }
    }

    async fn flush(&self, timeout: Duration) {
        // Requests are answered in order: once this one is, all before it are. Over the time, nothing is left to do.
        let _ = tokio::time::timeout(timeout, self.shared.ask(Request::Ping)).await;
    }
}
