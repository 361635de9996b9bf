//! Whether the platform is whole: what is published now is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use headwater_client::v1::stats::StatQuery;
use headwater_client::{Client, ConnectOptions, RetryPolicy};
use uuid::Uuid;

use super::now_ms;
use super::sender::{Draft, Sender};
use super::stack::PARTITIONS;
use crate::event::{Body, Event, Fate, Stream};

/// What a fault's recovery may take.
pub(super) const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// When it is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(40);
const CALL_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Keys that are tried to find one for each partition.
const KEYS_TRIED: usize = 64;

/// Publishes to every partition of both streams, and waits until it is counted.
pub(super) struct Probe {
    sender: Arc<Sender>,
    stats: Client,
    /// A key for each partition, by stream.
    keys: Vec<(Stream, Vec<String>)>,
}

/// What became of a probe.
pub(super) struct Probed {
    /// Since the moment that was given; none where it was given up.
    pub(super) took: Option<Duration>,
    /// What was wrong at last.
    pub(super) why: String,
}

impl Probe {
    /// Finds keys for every partition.
    pub(super) async fn prepare(sender: Arc<Sender>, stats: &str) -> Result<Self> {
        let options = ConnectOptions {
            deadline: CALL_MAX,
            connect_timeout: Duration::from_secs(1),
            retry: RetryPolicy::none(),
            ..ConnectOptions::new(stats)
        };
        let mut probe = Self { sender, stats: Client::connect_lazy(&options)?, keys: Vec::new() };
        for stream in Stream::ALL {
            let names: Vec<String> = (0..KEYS_TRIED).map(|n| format!("probe-{n}")).collect();
            let events = probe.events(stream, &names)?;
            let sent = probe.sender.send(stream, &events, Instant::now() + GIVEN_UP_AFTER).await?;
            let mut keys = vec![None; usize::try_from(PARTITIONS)?];
            for (n, partition) in sent.acknowledged {
                let event = events.iter().find(|event| event.n == n).context("an answer to nothing")?;
                if let Some(key) = keys.get_mut(usize::try_from(partition)?) {
                    key.get_or_insert(event.key().to_owned());
                }
            }
            // An ingest that says nothing true of where records are leaves all of them to be tried each time.
            let keys: Option<Vec<String>> = keys.into_iter().collect();
            probe.keys.push((stream, keys.unwrap_or(names)));
        }
        Ok(probe)
    }

    /// Publishes now, again and again where it has to, and waits until all of it is counted and nothing is missing.
    pub(super) async fn run(&self, since: Instant) -> Probed {
        let until = since + GIVEN_UP_AFTER;
        let mut why = String::new();
        match tokio::time::timeout_at(until.into(), self.counted(until, &mut why)).await {
            Ok(Ok(())) => Probed { took: Some(since.elapsed()), why: String::new() },
            Ok(Err(error)) => Probed { took: None, why: format!("{error:#}") },
            Err(_) => Probed { took: None, why },
        }
    }

    async fn counted(&self, until: Instant, why: &mut String) -> Result<()> {
        why.push_str("it was not acknowledged");
        let mut waiting: Vec<(Stream, String)> = Vec::new();
        for (stream, keys) in &self.keys {
            let events = self.events(*stream, keys)?;
            let sent = self.sender.send(*stream, &events, until).await?;
            ensure!(sent.acknowledged.len() == events.len(), "not everything was acknowledged");
            waiting.extend(sent.tokens.into_iter().map(|token| (*stream, token)));
        }
        for (stream, token) in waiting {
            loop {
                match self.look(stream, &token).await {
                    Ok(()) => break,
                    Err(error) => *why = format!("{}: {error:#}", stream.name()),
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    async fn look(&self, stream: Stream, token: &str) -> Result<()> {
        let stat = match stream {
            Stream::PageEvents => "top_pages",
            Stream::Transactions => "account_total",
        };
        let query = StatQuery { stream: stream.name().into(), stat: stat.into(), limit: 1, ..StatQuery::default() };
        let results = self.stats.get_stats(vec![query], token).await?;
        ensure!(results.iter().all(|result| result.complete), "the answer is not complete");
        Ok(())
    }

    fn events(&self, stream: Stream, keys: &[String]) -> Result<Vec<Event>> {
        let draft = |key: &String| {
            let body = match stream {
                Stream::PageEvents => Body::Page {
                    user: key.clone(),
                    what: "click".into(),
                    page: "/probe".into(),
                    session: "probe".into(),
                },
                Stream::Transactions => Body::Money { account: key.clone(), hundredths: 1 },
            };
            Draft { stream, id: Uuid::now_v7().to_string(), time_us: now_ms() * 1000, fate: Fate::Stored, body }
        };
        self.sender.declare(keys.iter().map(draft).collect())
    }
}
