//! Looks at processes and offsets again and again while everything runs.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio_postgres::NoTls;

use super::now_ms;
use super::process::{Roster, Running};
use super::stack::{GROUP, PARTITIONS};
use crate::event::Stream;
use crate::journal::Lines;
use crate::measures::{Measure, Moment, Sample};

const EVERY: Duration = Duration::from_secs(1);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const PAGE_BYTES: u64 = 4096;
/// What a process says of itself.
const TASKS: &str = "headwater_runtime_tasks";
const CALLS: &str = "headwater_rpc_calls_in_flight";

/// Threads that look, until it is ended.
pub(super) struct Gauge {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Gauge {
    pub(super) fn start(roster: &Roster, measures: &Arc<Lines>, kafka: &str, postgres: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut gauge = Self { stop, threads: Vec::new() };
        gauge.thread({
            let (roster, measures) = (roster.clone(), Arc::clone(measures));
            move || {
                let samples = samples(&roster, Moment::Under);
                measures.add(&samples.into_iter().map(Measure::Process).collect::<Vec<_>>())
            }
        });
        let (measures, kafka, postgres) = (Arc::clone(measures), kafka.to_owned(), postgres.to_owned());
        let mut hints = Hints { kafka, postgres, consumers: Vec::new() };
        gauge.thread(move || {
            // A broker or Postgres that is away is what this run is about.
            measures.add(&hints.look().unwrap_or_default())
        });
        gauge
    }

    pub(super) fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok().context("a thread that looks panicked")??;
        }
        Ok(())
    }

    fn thread(&mut self, mut look: impl FnMut() -> Result<()> + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                look()?;
                std::thread::sleep(EVERY);
            }
            Ok(())
        }));
    }
}

/// Every process that runs, as it is now.
pub(super) fn samples(roster: &Roster, moment: Moment) -> Vec<Sample> {
    // One that has just been killed has nothing to tell.
    roster.all().into_iter().filter_map(|(name, running)| sample(name, &running, moment)).collect()
}

fn sample(name: String, running: &Running, moment: Moment) -> Option<Sample> {
    let process = format!("/proc/{}", running.pid);
    let pages: u64 = fs::read_to_string(format!("{process}/statm")).ok()?.split_whitespace().nth(1)?.parse().ok()?;
    let descriptors = fs::read_dir(format!("{process}/fd")).ok()?.count() as u64;
    // Not under load: a process that is paused does not answer.
    let page = if moment == Moment::Under { None } else { metrics(running.http_port) };
    Some(Sample {
        at_ms: now_ms(),
        moment,
        name,
        role: running.role.to_owned(),
        pid: running.pid,
        rss_kib: pages * PAGE_BYTES / 1024,
        descriptors,
        tasks: page.as_deref().and_then(|page| metric(page, TASKS)),
        queued: page.as_deref().and_then(|page| metric(page, CALLS)),
    })
}

fn metrics(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), ASK_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(ASK_TIMEOUT)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, page)| page.to_owned())
}

/// What the samples of a metric add up to; none where there is no such metric.
fn metric(page: &str, name: &str) -> Option<u64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with(['{', ' ']).then(|| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).flatten()
    });
    values.map(|value| value as u64).reduce(|sum, value| sum + value)
}

/// Compares Kafka's committed offsets with Postgres's.
struct Hints {
    kafka: String,
    postgres: String,
    consumers: Vec<(Stream, BaseConsumer)>,
}

impl Hints {
    /// First what Kafka has, then what Postgres has, which may be more by then and never less.
    fn look(&mut self) -> Result<Vec<Measure>> {
        if self.consumers.is_empty() {
            for stream in Stream::ALL {
                let consumer = ClientConfig::new()
                    .set("bootstrap.servers", &self.kafka)
                    .set("group.id", format!("{GROUP}.{}", stream.name()))
                    .create()?;
                self.consumers.push((stream, consumer));
            }
        }
        let mut told = Vec::new();
        for (stream, consumer) in &self.consumers {
            let mut list = TopicPartitionList::new();
            for partition in 0..PARTITIONS {
                list.add_partition(stream.name(), partition);
            }
            for element in consumer.committed_offsets(list, ASK_TIMEOUT)?.elements() {
                if let Offset::Offset(offset) = element.offset() {
                    told.push((*stream, element.partition(), offset));
                }
            }
        }
        let stands = stands(&self.postgres)?;
        let at_ms = now_ms();
        let hints = told.into_iter().map(|(stream, partition, committed)| {
            let next = stands.iter().find(|(of, at, _)| (of.as_str(), *at) == (stream.name(), partition));
            Measure::Hint { at_ms, stream, partition, committed, next: next.map_or(0, |(_, _, next)| *next) }
        });
        Ok(hints.collect())
    }
}

/// Where each partition stands in Postgres.
fn stands(url: &str) -> Result<Vec<(String, i32, i64)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked = async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            let connection = tokio::spawn(connection);
            let sql = "SELECT stream, partition, coalesce(next_offset, 0) FROM headwater.offsets";
            let rows = client.query(sql, &[]).await?;
            drop(client);
            connection.await??;
            anyhow::Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
        };
        tokio::time::timeout(ASK_TIMEOUT, asked).await?
    })
}
