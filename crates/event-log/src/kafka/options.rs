use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;

use crate::EventLogError;

/// How often clients look whether a topic has other partitions.
const METADATA_REFRESH_MS: u32 = 10_000;

/// Properties that promises of this crate hang on, and those that have a setting of their own: not to be given as extra
/// properties.
const OWN_PROPERTIES: [&str; 34] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "compression.codec",
    "compression.type",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "linger.ms",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "request.required.acks",
    "session.timeout.ms",
];

/// How to reach Kafka, and the bounds of every queue towards it.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Brokers to begin with: `host:port,host:port`.
    pub brokers: String,
    /// Further properties of librdkafka, for example `security.protocol`, `sasl.username` and `ssl.ca.location`.
    pub properties: BTreeMap<String, String>,
    /// What the brokers call this client in their logs and quotas.
    pub client_id: String,
    /// A record that is not acknowledged within this time is given up: keep it below the deadlines of those who wait.
    pub delivery_timeout: Duration,
    /// How long a record may wait for others to share a request with, in milliseconds.
    pub linger_ms: u64,
    /// Records that may wait for an acknowledgement, over all topics.
    pub queue_records_max: u32,
    /// Bytes of records that may wait for an acknowledgement, over all topics; counted in whole KiB.
    pub queue_bytes_max: u64,
    /// Greatest size of a record, key and value together; the brokers' `message.max.bytes` must not be less.
    pub record_bytes_max: u32,
    /// How requests are compressed: `none`, `lz4`, `zstd`, `snappy` or `gzip`.
    pub compression: String,
    /// A member that is not heard of for this time has left its group. A sixth of it is the time between heartbeats.
    pub session_timeout: Duration,
    /// How long a group waits for a member to answer a change of members.
    pub rebalance_timeout: Duration,
    /// Records that are read ahead, per partition; fetched again below it.
    pub read_ahead_records_min: u32,
    /// Bytes that are read ahead at most, per partition, and one more fetch; counted in whole KiB.
    pub read_ahead_bytes_max: u64,
    /// Bytes that one fetch brings at most, over all partitions.
    pub fetch_bytes_max: u32,
    /// Bytes that one fetch brings at most, per partition.
    pub fetch_partition_bytes_max: u32,
}

impl KafkaOptions {
    /// The defaults, with these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            properties: BTreeMap::new(),
            client_id: "headwater".into(),
            delivery_timeout: Duration::from_secs(4),
            linger_ms: 5,
            queue_records_max: 200_000,
            queue_bytes_max: 256 << 20,
            record_bytes_max: 1_000_000,
            compression: "lz4".into(),
            session_timeout: Duration::from_secs(6),
            rebalance_timeout: Duration::from_secs(30),
            read_ahead_records_min: 20_000,
            read_ahead_bytes_max: 16 << 20,
            fetch_bytes_max: 16 << 20,
            fetch_partition_bytes_max: 4 << 20,
        }
    }

    /// What every client of ours has.
    ///
    /// # Errors
    /// `Refused` where an extra property is one of our own.
    pub(super) fn client(&self) -> Result<ClientConfig, EventLogError> {
        if let Some(own) = self.properties.keys().find(|key| OWN_PROPERTIES.contains(&key.as_str())) {
            return Err(EventLogError::Refused(format!("the Kafka property {own} is set by Headwater itself")));
        }
        let mut config = ClientConfig::new();
        // Five minutes, the default, would be how long new partitions go unnoticed.
        config.set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS.to_string());
        config.extend(self.properties.iter().map(|(key, value)| (key.clone(), value.clone())));
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("allow.auto.create.topics", "false")
            // Ten seconds, the default, would be the whole time that recovery may take.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("socket.keepalive.enable", "true")
            .set("topic.metadata.propagation.max.ms", "2000");
        Ok(config)
    }

    pub(super) fn producer(&self) -> Result<ClientConfig, EventLogError> {
        let mut config = self.client()?;
        let delivery_timeout_ms = self.delivery_timeout.as_millis().to_string();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", &delivery_timeout_ms)
            .set("request.timeout.ms", &delivery_timeout_ms)
            .set("linger.ms", self.linger_ms.to_string())
            .set("queue.buffering.max.messages", self.queue_records_max.to_string())
            .set("queue.buffering.max.kbytes", self.queue_bytes_max.div_ceil(1024).to_string())
            .set("message.max.bytes", self.record_bytes_max.to_string())
            .set("batch.size", self.record_bytes_max.to_string())
            .set("compression.type", &self.compression);
        Ok(config)
    }

    pub(super) fn consumer(&self, group: &str) -> Result<ClientConfig, EventLogError> {
        let mut config = self.client()?;
        let session_ms = self.session_timeout.as_millis();
        config
            .set("group.id", group)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_ms.to_string())
            // Not a third, as is usual: a member learns by a heartbeat that the group changes, and while a coordinator is
            // replaced its session must not end for want of one.
            .set("heartbeat.interval.ms", (session_ms / 6).to_string())
            .set("max.poll.interval.ms", self.rebalance_timeout.max(self.session_timeout).as_millis().to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "false")
            .set("check.crcs", "true")
            .set("queued.min.messages", self.read_ahead_records_min.to_string())
            .set("queued.max.messages.kbytes", self.read_ahead_bytes_max.div_ceil(1024).to_string())
            .set("fetch.max.bytes", self.fetch_bytes_max.to_string())
            .set("fetch.message.max.bytes", self.fetch_partition_bytes_max.to_string())
            // A partition that starts waits for the fetch that is under way for the others.
            .set("fetch.wait.max.ms", "200")
            // A second, the default, would be how long a reader that has caught up stands still.
            .set("fetch.queue.backoff.ms", "10");
        Ok(config)
    }
}

/// Without the values of the extra properties, which may be secrets.
impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .field("client_id", &self.client_id)
            .field("delivery_timeout", &self.delivery_timeout)
            .field("linger_ms", &self.linger_ms)
            .field("queue_records_max", &self.queue_records_max)
            .field("queue_bytes_max", &self.queue_bytes_max)
            .field("record_bytes_max", &self.record_bytes_max)
            .field("compression", &self.compression)
            .field("session_timeout", &self.session_timeout)
            .field("rebalance_timeout", &self.rebalance_timeout)
            .field("read_ahead_records_min", &self.read_ahead_records_min)
            .field("read_ahead_bytes_max", &self.read_ahead_bytes_max)
            .field("fetch_bytes_max", &self.fetch_bytes_max)
            .field("fetch_partition_bytes_max", &self.fetch_partition_bytes_max)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_not_undone_by_an_extra_property() {
        let mut options = KafkaOptions::new("127.0.0.1:1");
        options.properties.insert("enable.idempotence".into(), "false".into());
        assert!(matches!(options.producer(), Err(EventLogError::Refused(text)) if text.contains("enable.idempotence")));
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut options = KafkaOptions::new("127.0.0.1:1");
        options.properties.insert("sasl.password".into(), "hush".into());
        let printed = format!("{options:?}");
        assert!(printed.contains("sasl.password") && !printed.contains("hush"), "{printed}");
    }
}
