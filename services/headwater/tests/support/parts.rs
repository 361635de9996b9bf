//! The real servers of one test, and a caller who publishes to the platform whatever happens to them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headwater_contracts::v1::ingest::record_result::Result as Answer;
use headwater_contracts::v1::ingest::{PublishRequest, Record};
use headwater_testkit::{Kafka, Options, Postgres, Redis, Registry, free_port};
use tokio::task::JoinHandle;
use tonic_types::StatusExt;

use super::calls::{PAGES, click, pages, reason, with_deadline};
use super::process::Ingest;

/// Users that the publisher makes up.
pub(crate) const USERS: usize = 50;
/// Events of a batch of the publisher.
const BATCH: usize = 10;
/// Longer than the platform waits for Kafka, so that its own answer is heard.
const CALL_MAX: Duration = Duration::from_secs(8);

/// Ports for servers that may not be there yet.
pub(crate) struct Ports {
    pub(crate) kafka: u16,
    pub(crate) registry: u16,
    pub(crate) redis: u16,
    pub(crate) postgres: u16,
}

/// Servers of a test's own.
pub(crate) struct Parts {
    pub(crate) kafka: Kafka,
    pub(crate) registry: Registry,
    pub(crate) redis: Redis,
    pub(crate) postgres: Postgres,
}

impl Ports {
    pub(crate) fn free() -> Self {
        let port = || free_port().unwrap();
        Self { kafka: port(), registry: port(), redis: port(), postgres: port() }
    }

    /// Starts all of them at the same time.
    pub(crate) fn start(&self) -> Parts {
        let on = |port: u16| Options::default().port(port);
        std::thread::scope(|scope| {
            let kafka = scope.spawn(|| Kafka::start(on(self.kafka)).unwrap());
            let registry = scope.spawn(|| Registry::start(on(self.registry)).unwrap());
            let redis = Redis::start(on(self.redis)).unwrap();
            let postgres = Postgres::start(on(self.postgres)).unwrap();
            Parts { kafka: kafka.join().unwrap(), registry: registry.join().unwrap(), redis, postgres }
        })
    }

    pub(crate) fn postgres_url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.postgres)
    }

    pub(crate) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    /// The arguments of `headwater serve` for these roles.
    pub(crate) fn serve(&self, roles: &str) -> Vec<String> {
        let registry = format!("http://127.0.0.1:{}/apis/ccompat/v7", self.registry);
        let redis = format!("redis://127.0.0.1:{}", self.redis);
        [
            "serve",
            "--role",
            roles,
            "--kafka-brokers",
            &self.brokers(),
            "--registry-url",
            &registry,
            "--redis-url",
            &redis,
            "--postgres-url",
            &self.postgres_url(),
            "--topics-partitions",
            "4",
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

/// What the publisher has done so far.
#[derive(Default)]
pub(crate) struct Done {
    /// Events that were accepted.
    pub(crate) accepted: usize,
    /// Token of the last batch.
    pub(crate) token: String,
    /// Reasons of failed calls and of records to retry.
    pub(crate) reasons: BTreeSet<String>,
}

/// Publishes batch after batch, each again and again with the same ids until it is accepted.
pub(crate) struct Publisher {
    done: Arc<Mutex<Done>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Clicks of [`USERS`] users on three pages.
    pub(crate) fn start(ingest: Ingest) -> Self {
        Self::on(ingest, PAGES, |number| {
            pages(&[click(&format!("user {}", number % USERS), &format!("/{}", number % 3))]).remove(0)
        })
    }

    /// The records that `make` makes of 0, 1, 2, … to a stream.
    pub(crate) fn on(mut ingest: Ingest, stream: &str, make: impl Fn(usize) -> Record + Send + 'static) -> Self {
        let stream = stream.to_owned();
        let done = Arc::new(Mutex::new(Done::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            async move {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let batch: Vec<Record> = (number..number + BATCH).map(&make).collect();
                    number += BATCH;
                    while !publish_once(&mut ingest, &stream, &batch, &done).await {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        Self { done, stop, task }
    }

    /// Events accepted so far, and the token of the last.
    pub(crate) fn so_far(&self) -> (usize, String) {
        let done = lock(&self.done);
        (done.accepted, done.token.clone())
    }

    /// Forgets and returns why calls failed until now.
    pub(crate) fn take_reasons(&self) -> BTreeSet<String> {
        std::mem::take(&mut lock(&self.done).reasons)
    }

    /// Waits until a batch that was begun after now is accepted.
    pub(crate) async fn goes_on(&self, limit: Duration) -> (usize, String) {
        let (before, _) = self.so_far();
        let began = Instant::now();
        loop {
            let (now, token) = self.so_far();
            if now > before + BATCH {
                return (now, token);
            }
            assert!(began.elapsed() < limit, "nothing is accepted for {limit:?}: {:?}", lock(&self.done).reasons);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends once the last batch is accepted; returns how many events were.
    pub(crate) async fn end(self) -> (usize, String) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        let done = lock(&self.done);
        (done.accepted, done.token.clone())
    }
}

async fn publish_once(ingest: &mut Ingest, stream: &str, batch: &[Record], done: &Mutex<Done>) -> bool {
    let request = PublishRequest { stream: stream.to_owned(), records: batch.to_vec() };
    match ingest.publish(with_deadline(request, CALL_MAX)).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            let mut done = lock(done);
            let mut all = true;
            for result in &answer.results {
                match &result.result {
                    Some(Answer::Accepted(_)) => {}
                    Some(Answer::Retry(retry)) => {
                        all = false;
                        done.reasons.insert(retry.reason().as_str_name().trim_start_matches("REASON_").to_owned());
                    }
                    other => panic!("a good event: {other:?}"),
                }
            }
            if all {
                done.accepted += batch.len();
                done.token = answer.consistency_token;
            }
            all
        }
        Err(status) => {
            let (_, name) = reason(&status);
            let advised = status.get_details_retry_info().is_some();
            lock(done).reasons.insert(if advised { name } else { format!("{name} without RetryInfo: {status:?}") });
            false
        }
    }
}

fn lock(done: &Mutex<Done>) -> MutexGuard<'_, Done> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}
