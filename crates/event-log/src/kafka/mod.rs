//! The event log on Apache Kafka, by librdkafka.

mod errors;
mod member;
mod options;
mod producer;
mod reader;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::Client;
use rdkafka::consumer::BaseConsumer;
use tokio::task::spawn_blocking;

pub use self::options::KafkaOptions;

use self::member::KafkaMember;
use self::producer::{Deliveries, Producer};
use self::topics::{Admin, TopicState};
use crate::{EventLog, EventLogError, GroupMember, NewRecord, Position, TopicPartition, TopicSpec, Watermarks};

/// A topic that nobody makes: asking for it is the cheapest question that a broker must answer.
const NO_TOPIC: &str = "headwater.check";

/// The event log on Kafka.
///
/// It needs no broker to be made, and waits for none: until there is one, each call answers `Unavailable`.
#[derive(Clone)]
pub struct KafkaLog {
    options: Arc<KafkaOptions>,
    admin: ClientConfig,
    producer: Arc<Producer>,
    /// Asks for offsets by time, which only consumers can; made when it is first needed.
    looker: Arc<Mutex<Option<Arc<BaseConsumer>>>>,
}

impl KafkaLog {
    /// Begins to connect, in the background.
    ///
    /// # Errors
    /// `Refused` where librdkafka does not take a property.
    pub fn connect(options: KafkaOptions) -> Result<Self, EventLogError> {
        let producer = Arc::new(Producer::new(options.producer()?, options.delivery_timeout)?);
        Ok(Self { admin: options.client()?, options: Arc::new(options), producer, looker: Arc::default() })
    }

    /// Asks the brokers, on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Client<Deliveries>) -> Result<T, EventLogError> + Send + 'static,
    ) -> Result<T, EventLogError> {
        let producer = self.producer.clone();
        match spawn_blocking(move || producer.with_client(question).flatten()).await {
            Ok(answer) => answer,
            Err(error) => Err(EventLogError::Unavailable(error.to_string())),
        }
    }

    fn looker(&self) -> Result<Arc<BaseConsumer>, EventLogError> {
        let mut looker = self.looker.lock();
        if let Some(looker) = &*looker {
            return Ok(Arc::clone(looker));
        }
        let made: BaseConsumer = self.admin.create().map_err(|error| EventLogError::Refused(error.to_string()))?;
        Ok(Arc::clone(looker.insert(Arc::new(made))))
    }

    async fn state(&self, topic: &str) -> Result<(Option<TopicState>, usize), EventLogError> {
        let topic = topic.to_owned();
        self.ask(move |client| topics::topic_state(client, &topic)).await
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<i32, EventLogError> {
        let admin = Admin::new(&self.admin)?;
        if let (None, brokers) = self.state(&spec.name).await? {
            admin.create(spec, self.options.record_bytes_max, brokers).await?;
        }
        let partitions = topics::wait_for_leaders(&spec.name, || self.state(&spec.name)).await?;
        let name = spec.name.clone();
        self.ask(move |client| topics::wait_until_served(client, &name, partitions)).await?;
        admin.check_timestamps(&spec.name).await?;
        Ok(partitions)
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Vec<Result<Position, EventLogError>> {
        self.producer.append(topic, &records).await
    }

    async fn partitions(&self, topic: &str) -> Result<i32, EventLogError> {
        let (state, _) = self.state(topic).await?;
        state.map(|state| state.partitions).ok_or_else(|| EventLogError::UnknownTopic(topic.to_owned()))
    }

    async fn watermarks(&self, topic: &str, partition: i32) -> Result<Watermarks, EventLogError> {
        let topic = topic.to_owned();
        self.ask(move |client| topics::watermarks(client, &topic, partition)).await
    }

    async fn may_be_anew(&self, at: &TopicPartition, offset: i64, appended_ms: i64) -> Result<bool, EventLogError> {
        let (looker, at) = (self.looker()?, at.clone());
        let asked = spawn_blocking(move || topics::may_be_anew(&looker, &at, offset, appended_ms)).await;
        asked.unwrap_or_else(|error| Err(EventLogError::Unavailable(error.to_string())))
    }

    /// Each topic is a group of its own at the brokers, `<group>.<topic>`, so that every topic is shared evenly.
    async fn join(&self, group: &str, topics: &[String]) -> Result<Box<dyn GroupMember>, EventLogError> {
        let mut consumers = Vec::with_capacity(topics.len());
        for topic in topics {
            if self.state(topic).await?.0.is_none() {
                return Err(EventLogError::UnknownTopic(topic.clone()));
            }
            consumers.push((topic.clone(), self.options.consumer(&format!("{group}.{topic}"))?));
        }
        Ok(Box::new(KafkaMember::join(consumers, self.producer.clone())?))
    }

    async fn check(&self) -> Result<(), EventLogError> {
        self.state(NO_TOPIC).await.map(|_| ())
    }

    async fn flush(&self, timeout: Duration) {
        let producer = self.producer.clone();
        // Only a panic in librdkafka's binding ends it otherwise, and then there is nothing left to wait for.
        let _ = spawn_blocking(move || producer.flush(timeout)).await;
    }
}
