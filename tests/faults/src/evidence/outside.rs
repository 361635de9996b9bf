//! Kafka's offsets and the platform's answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use headwater_client::v1::stats::{StatQuery, StatResult};
use headwater_client::{Client, ConnectOptions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{Answer, End, Evidence, Position, rows};
use crate::check::asks;
use crate::event::Stream;

const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);
/// How long answers may say that they are incomplete, all together, before they are taken as they are.
const COMPLETE_WITHIN: Duration = Duration::from_secs(15);
const KEYS_MAX: u32 = 10_000;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `postgres://user@host:port/database`
    pub postgres: String,
    /// The Postgres schema.
    pub schema: String,
    /// `host:port,host:port`
    pub kafka: String,
    /// The processors' consumer group; each topic has its own, `GROUP.TOPIC`.
    pub group: String,
    /// `http://host:port` of a StatsService.
    pub stats: String,
}

impl Sources {
    /// Reads everything.
    ///
    /// # Errors
    /// Where one of them does not answer.
    pub async fn read(&self) -> Result<Evidence> {
        let mut evidence = rows::read(&self.postgres, &self.schema).await?;
        evidence.ends = tokio::task::block_in_place(|| self.ends())?;
        let client = Client::connect(ConnectOptions::new(&self.stats)).await?;
        let complete_by = Instant::now() + COMPLETE_WITHIN;
        for (stream, stat, window_s) in asks() {
            evidence.answers.push(answer(&client, stream, stat, window_s, complete_by).await?);
        }
        Ok(evidence)
    }

    /// How far each partition has come, by Postgres.
    ///
    /// # Errors
    /// Where Postgres does not answer.
    pub async fn positions(&self) -> Result<Vec<Position>> {
        rows::positions(&self.postgres, &self.schema).await
    }

    /// Where each partition ends, and what Kafka was told. It blocks.
    ///
    /// # Errors
    /// Where Kafka does not answer.
    pub fn ends(&self) -> Result<Vec<End>> {
        let mut ends = Vec::new();
        for stream in Stream::ALL {
            let topic = stream.name();
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &self.kafka)
                .set("group.id", format!("{}.{topic}", self.group))
                .create()?;
            let metadata = consumer.fetch_metadata(Some(topic), KAFKA_TIMEOUT).context("Kafka")?;
            let found = metadata.topics().iter().find(|found| found.name() == topic).context("no topic")?;
            let mut list = TopicPartitionList::new();
            for partition in found.partitions() {
                list.add_partition(topic, partition.id());
            }
            let committed = consumer.committed_offsets(list, KAFKA_TIMEOUT).context("Kafka's offsets")?;
            for element in committed.elements() {
                let partition = element.partition();
                let (_, high) = consumer.fetch_watermarks(topic, partition, KAFKA_TIMEOUT).context("Kafka's log")?;
                let committed = match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                };
                ends.push(End { stream, partition, committed, high });
            }
        }
        Ok(ends)
    }
}

async fn answer(
    client: &Client,
    stream: Stream,
    stat: &str,
    window_s: Option<i64>,
    complete_by: Instant,
) -> Result<Answer> {
    let window = window_s.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    let (stream_name, stat) = (stream.name().to_owned(), stat.to_owned());
    let query = StatQuery { stream: stream_name, stat, window, limit: KEYS_MAX, ..StatQuery::default() };
    loop {
        let result = client.get_stats(vec![query.clone()], "").await?.pop().context("no result")?;
        if result.complete || Instant::now() > complete_by {
            return read(stream, window_s, result);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn read(stream: Stream, window_s: Option<i64>, result: StatResult) -> Result<Answer> {
    ensure!(result.next_page_token.is_empty(), "{} has more than {KEYS_MAX} keys", result.stat);
    let ms = |at: prost_types::Timestamp| at.seconds * 1000 + i64::from(at.nanos) / 1_000_000;
    let mut values = BTreeMap::new();
    for value in result.values {
        ensure!(!value.overflowed, "{}: {:?} overflowed", result.stat, value.key);
        values.insert(value.key, value.value);
    }
    Ok(Answer {
        stream,
        stat: result.stat,
        window_s,
        as_of_ms: result.as_of.map(ms).context("as_of")?,
        window_start_ms: result.window_start.map(ms),
        complete: result.complete,
        values,
    })
}
