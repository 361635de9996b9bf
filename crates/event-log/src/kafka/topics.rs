use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::sleep;
use tracing::debug;

use super::errors::{code_of, log_line, meaning, meaning_of};
use crate::{EventLogError, TopicPartition, TopicSpec, Watermarks};

/// What a batch of one greatest record has besides it: headers of the batch and the record.
const BATCH_OVERHEAD_BYTES: u32 = 64 * 1024;
/// How long one question to the brokers may take.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a topic may take to be made.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a topic's partitions may take to get leaders.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked for a leader.
const LEADERS_INTERVAL: Duration = Duration::from_millis(50);
/// How long brokers must say that a topic is not there until it is believed: one whose controller has just died, or that has
/// just started, says so of topics that are.
const MISSING_AFTER: Duration = Duration::from_secs(2);

const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const LOG_APPEND_TIME: &str = "LogAppendTime";

/// What the brokers say of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicState {
    pub(super) partitions: i32,
    /// Whether each partition has a leader.
    pub(super) led: bool,
}

/// What the brokers say of a topic, and how many brokers there are; no state where there is no such topic. It blocks.
pub(super) fn topic_state<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
) -> Result<(Option<TopicState>, usize), EventLogError> {
    let metadata = client.fetch_metadata(Some(topic), ASK_TIMEOUT).map_err(|error| meaning_of(&error, topic))?;
    let brokers = metadata.brokers().len();
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok((None, brokers)) };
    match found.error() {
        None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => {}
        Some(
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
        ) => return Ok((None, brokers)),
        Some(error) => return Err(meaning(error.into(), topic, 0)),
    }
    let partitions = found.partitions();
    let led = !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0);
    Ok((Some(TopicState { partitions: partitions.len() as i32, led }), brokers))
}

/// The same of a topic that has been there: that it is not is said only where the brokers keep saying so.
pub(super) fn settled_state<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
) -> Result<Option<TopicState>, EventLogError> {
    let began = Instant::now();
    loop {
        let (state, _) = topic_state(client, topic)?;
        if state.is_some() || began.elapsed() >= MISSING_AFTER {
            return Ok(state);
        }
        std::thread::sleep(LEADERS_INTERVAL);
    }
}

/// Whether every record of a partition is newer than one that it had at the offset, as after it was made anew. It blocks.
pub(super) fn may_be_anew(
    looker: &BaseConsumer,
    at: &TopicPartition,
    offset: i64,
    appended_ms: i64,
) -> Result<bool, EventLogError> {
    let refused = |error: KafkaError| match meaning_of(&error, &at.topic) {
        // librdkafka says so also while it does not know a leader, as after the end of a broker.
        EventLogError::UnknownTopic(topic) => match settled_state(looker.client(), &topic) {
            Ok(None) => EventLogError::UnknownTopic(topic),
            Ok(Some(_)) => {
                EventLogError::Unavailable(format!("the leader of {topic}/{} is not known: {error}", at.partition))
            }
            Err(error) => error,
        },
        other => other,
    };
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(&at.topic, at.partition, Offset::Offset(appended_ms + 1)).map_err(refused)?;
    let found = looker.offsets_for_times(asked, ASK_TIMEOUT).map_err(refused)?;
    let Some(found) = found.find_partition(&at.topic, at.partition) else { return Ok(false) };
    found.error().map_err(refused)?;
    let Offset::Offset(newer) = found.offset() else { return Ok(false) };
    // After a change of leaders a clock may have gone back, and a few before the offset be newer: not all of them.
    Ok(newer <= offset && newer == watermarks(looker.client(), &at.topic, at.partition)?.low)
}

/// Offsets that a partition holds. It blocks.
pub(super) fn watermarks<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
) -> Result<Watermarks, EventLogError> {
    match settled_state(client, topic)? {
        Some(state) if (0..state.partitions).contains(&partition) => {}
        _ => return Err(EventLogError::UnknownTopic(topic.into())),
    }
    led_watermarks(client, topic, partition, Instant::now() + ASK_TIMEOUT)
}

/// Waits until the leader of each partition of a topic, which is there, takes requests. It blocks.
///
/// That brokers name a leader does not mean that it knows of it. A batch that it refuses for that reason is sent again by
/// librdkafka, and where one behind it was taken meanwhile, the broker says of the first, which it never had, that it is a duplicate:
/// a partition without a state of the producer takes any sequence number. The producer does not believe that, and the records fail.
pub(super) fn wait_until_served<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partitions: i32,
) -> Result<(), EventLogError> {
    let deadline = Instant::now() + LEADERS_TIMEOUT;
    (0..partitions).try_for_each(|partition| led_watermarks(client, topic, partition, deadline).map(|_| ()))
}

/// Offsets of a partition of a topic that is there, from its leader as soon as that knows that it is.
fn led_watermarks<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
    deadline: Instant,
) -> Result<Watermarks, EventLogError> {
    loop {
        let error = match client.fetch_watermarks(topic, partition, ASK_TIMEOUT) {
            Ok((low, high)) => return Ok(Watermarks { low, high }),
            Err(error) => error,
        };
        // The broker that is named as the leader may not know it yet: the topic is new, or the leader has just changed.
        // The topic is there all the same: another broker has just said so.
        let meant = match (code_of(&error), meaning_of(&error, topic)) {
            (_, EventLogError::UnknownTopic(_))
            | (Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable), _) => {
                EventLogError::Unavailable(format!("the leader of {topic}/{partition} is not known: {error}"))
            }
            (_, other) => return Err(other),
        };
        if Instant::now() >= deadline {
            return Err(meant);
        }
        std::thread::sleep(LEADERS_INTERVAL);
    }
}

/// Makes topics, and looks at their settings. Each lives for one call: its log lines are not fetched by a thread.
pub(super) struct Admin {
    client: Option<AdminClient<Silent>>,
    brokers: String,
}

/// A client whose log lines say nothing that the producer's do not.
pub(super) struct Silent;

impl Admin {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, EventLogError> {
        let brokers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        match AdminClient::from_config_and_context(config, Silent) {
            Ok(client) => Ok(Self { client: Some(client), brokers }),
            Err(error) => Err(EventLogError::Refused(error.to_string())),
        }
    }

    fn client(&self) -> &AdminClient<Silent> {
        self.client.as_ref().expect("it is taken only by drop")
    }

    /// Asks for the topic, which is to take records of that size. That it is there already is no error.
    pub(super) async fn create(
        &self,
        spec: &TopicSpec,
        record_bytes_max: u32,
        brokers: usize,
    ) -> Result<(), EventLogError> {
        let batch_bytes_max = record_bytes_max.saturating_add(BATCH_OVERHEAD_BYTES).to_string();
        let min_insync = spec.min_insync.to_string();
        let retention_ms = spec.retention_ms.to_string();
        let topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication))
            .set("min.insync.replicas", &min_insync)
            .set("retention.ms", &retention_ms)
            .set("max.message.bytes", &batch_bytes_max)
            .set(TIMESTAMP_TYPE, LOG_APPEND_TIME)
            .set("cleanup.policy", "delete");
        let options = AdminOptions::new().request_timeout(Some(CREATE_TIMEOUT)).operation_timeout(Some(CREATE_TIMEOUT));
        let results = self.client().create_topics([&topic], &options).await;
        let result = results.map_err(|error| meaning_of(&error, &spec.name))?.pop();
        match result {
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            // Brokers that have just started are not counted yet.
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor)))
                if (brokers as i64) < spec.replication.into() =>
            {
                Err(EventLogError::Refused(format!(
                    "{} replicas of the topic {} need as many brokers, and there are {brokers}",
                    spec.replication, spec.name
                )))
            }
            Some(Err((_, code))) => match meaning(code, &spec.name, 0) {
                EventLogError::Refused(text) => {
                    Err(EventLogError::Refused(format!("the topic {} was not made: {text}", spec.name)))
                }
                other => Err(other),
            },
            None => Err(EventLogError::Unavailable("no answer about the topic".into())),
        }
    }

    /// Checks that records carry the time at which the log took them.
    pub(super) async fn check_timestamps(&self, topic: &str) -> Result<(), EventLogError> {
        let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
        let resources = self.client().describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
        let config = resources.map_err(|error| meaning_of(&error, topic))?.pop();
        let config = config.ok_or_else(|| EventLogError::Unavailable("no answer about the topic".into()))?;
        let config = config.map_err(|code| meaning(code, topic, 0))?;
        let Some(found) = config.get(TIMESTAMP_TYPE).and_then(|entry| entry.value.as_deref()) else {
            // Any broker answers, and one that has not heard of a new topic yet has nothing to say of it.
            return Err(EventLogError::Unavailable(format!("a broker does not know the settings of {topic} yet")));
        };
        if found == LOG_APPEND_TIME {
            return Ok(());
        }
        Err(EventLogError::Unsuitable(format!(
            "the topic {topic} has {TIMESTAMP_TYPE}={found}, and Headwater judges times by {LOG_APPEND_TIME}; change it \
             with: kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {topic} \
             --add-config {TIMESTAMP_TYPE}={LOG_APPEND_TIME}",
            self.brokers
        )))
    }
}

/// It waits for its thread when it ends: not in async code.
impl Drop for Admin {
    fn drop(&mut self) {
        let client = self.client.take();
        let ending = std::thread::Builder::new().name("kafka-admin-end".into()).spawn(move || drop(client));
        if let Err(error) = ending {
            debug!(%error, "the admin client ended in its caller's thread");
        }
    }
}

/// Waits until `look` sees that every partition has a leader. Returns the partitions.
pub(super) async fn wait_for_leaders<F>(topic: &str, look: impl Fn() -> F) -> Result<i32, EventLogError>
where
    F: Future<Output = Result<(Option<TopicState>, usize), EventLogError>>,
{
    let deadline = Instant::now() + LEADERS_TIMEOUT;
    loop {
        if let (Some(TopicState { partitions, led: true }), _) = look().await? {
            return Ok(partitions);
        }
        if Instant::now() >= deadline {
            return Err(EventLogError::Unavailable(format!("the topic {topic} has partitions without a leader")));
        }
        sleep(LEADERS_INTERVAL).await;
    }
}

impl ClientContext for Silent {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, reason, "admin");
    }
}
