//! Watch: the states of keys, now and whenever they change.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use headwater_cache::{Answer, Ask, Cache, CacheError, Layer, Namespace, Outcome, Watch, WatchEvent, etag_of};
use headwater_contracts::v1::cache as proto;
use headwater_domain::Reason;
use headwater_serving::Problem;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::problems::problem;
use crate::service::CacheFront;

/// States that wait for a slow caller; until it has read them, what changes again is told once.
const ANSWERS_MAX: usize = 16;
/// How long to wait before the store is asked again that was away.
const RETRY: Duration = Duration::from_millis(100);
/// Keys in a row that may be refused before there is a pause, and pauses of [`RETRY`] at most that one lasts: where the store
/// refuses all, it is asked seldom.
const REFUSED_MAX: u32 = 64;
const REFUSED_PAUSE_MAX: u32 = 8;
/// Keys of a watch at most whose end is looked for; of others the store's own word is told.
const ENDS_MAX: usize = 10_000;
/// How long after its time a key is looked at: the store's clock and ours differ in how they round.
const END_SLACK: Duration = Duration::from_millis(5);

/// The answers of one Watch.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<proto::WatchResponse, Status>> + Send>>;

impl CacheFront {
    pub(crate) fn answer_watch(&self, asked: proto::WatchRequest) -> Result<Answers, Problem> {
        let namespace = self.cache.namespace(&asked.namespace).map_err(problem)?;
        self.check_watch(&namespace, &asked)?;
        let watch = self.cache.watch(&namespace, asked.keys, asked.prefix).map_err(problem)?;
        let (sender, receiver) = mpsc::channel(ANSWERS_MAX);
        let told = Told { namespace: asked.namespace, values: asked.values };
        let (cache, drain) = (self.cache.clone(), self.drain.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = drain.cancelled() => {
                    let detail = "the service is draining; watch again, at another replica";
                    let _ = sender.try_send(Err(Problem::new(Reason::NotReady, detail).into()));
                }
                () = tell(&cache, &watch, &told, &sender) => {}
            }
        });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }

    fn check_watch(&self, namespace: &Namespace, asked: &proto::WatchRequest) -> Result<(), Problem> {
        let (keys, most) = (asked.keys.len(), self.options.watch_keys_max);
        if keys > most {
            let expected = format!("has {keys}, must have {most} at most (cache.watch_keys_max)");
            return Err(Problem::invalid_request("keys", "repeated.max_items", expected));
        }
        let most = namespace.info.policy.key_bytes_max;
        let wrong = asked.keys.iter().position(|key| key.is_empty() || key.len() as u64 > most);
        if let Some(at) = wrong {
            let expected = format!("has {} bytes, must have 1 to {most} (key_bytes_max)", asked.keys[at].len());
            return Err(Problem::invalid_request(format!("keys[{at}]"), "bytes.len", expected));
        }
        if asked.prefix.as_ref().is_some_and(|prefix| prefix.len() as u64 > most) {
            let expected = format!("must have {most} bytes at most (key_bytes_max)");
            return Err(Problem::invalid_request("prefix", "bytes.max_len", expected));
        }
        Ok(())
    }
}

async fn tell(cache: &Cache, watch: &Watch, asked: &Told, sender: &mpsc::Sender<Result<proto::WatchResponse, Status>>) {
    let mut ends = Ends::default();
    let mut refused = 0_u32;
    loop {
        let (event, ended) = tokio::select! {
            event = watch.next() => (event, None),
            key = ends.next() => (look(cache, asked, key.clone()).await, Some(key)),
        };
        let event = match (event, ended) {
            (Ok(event), _) => {
                refused = 0;
                event
            }
            (Err(CacheError::Refused(_)), Some(key)) => nothing_at(key),
            // Of one key as a rule, which waits behind the others of the watch now: those are told first.
            (Err(CacheError::Refused(_) | CacheError::LoadFailed { .. }), None) => {
                refused = refused.saturating_add(1);
                if refused.is_multiple_of(REFUSED_MAX) {
                    tokio::time::sleep(RETRY * (refused / REFUSED_MAX).min(REFUSED_PAUSE_MAX)).await;
                }
                continue;
            }
            // What is missed meanwhile is told after it.
            (Err(CacheError::Unavailable(_) | CacheError::LoadFailed { .. }), ended) => {
                if let Some(key) = ended {
                    ends.set(&key, Some(1));
                }
                tokio::time::sleep(RETRY).await;
                continue;
            }
            (Err(error), _) => {
                let _ = sender.send(Err(problem(error).into())).await;
                return;
            }
        };
        if let WatchEvent::State { key, answer } = &event {
            ends.set(key, answer.ttl_ms);
        }
        if sender.send(Ok(response(event, asked.values))).await.is_err() {
            return;
        }
    }
}

/// What a watch tells of.
struct Told {
    namespace: String,
    values: bool,
}

/// The state of a key whose time to live has ended. Redis tells of that when it comes upon the key, and of a value that is
/// kept past its time not at all.
async fn look(cache: &Cache, asked: &Told, key: Bytes) -> Result<WatchEvent, CacheError> {
    let namespace = cache.namespace(&asked.namespace)?;
    let ask = Ask { no_cache: true, lease_ms: None };
    let answer = cache.get(&namespace, &key, &ask).await?;
    Ok(WatchEvent::State { key, answer })
}

/// That a key has no value that could be read.
fn nothing_at(key: Bytes) -> WatchEvent {
    let answer = Answer {
        value: None,
        outcome: Outcome::Miss,
        layer: Layer::L2,
        forward: None,
        ttl_ms: None,
        is_collapsed: false,
        lease: None,
        detail: None,
    };
    WatchEvent::State { key, answer }
}

/// When the values that were told of end.
#[derive(Default)]
struct Ends {
    by_time: BTreeSet<(Instant, Bytes)>,
    of_key: HashMap<Bytes, Instant>,
}

impl Ends {
    /// A key was told of, with so much time left.
    fn set(&mut self, key: &Bytes, ttl_ms: Option<i64>) {
        if let Some(at) = self.of_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
        // What is stale already ends when the store says so.
        let left = ttl_ms.and_then(|ttl_ms| u64::try_from(ttl_ms).ok()).filter(|left| *left > 0);
        if let Some(left) = left
            && self.of_key.len() < ENDS_MAX
        {
            let at = Instant::now() + Duration::from_millis(left) + END_SLACK;
            self.of_key.insert(key.clone(), at);
            self.by_time.insert((at, key.clone()));
        }
    }

    /// The next key whose time ends, then. May be dropped and asked again without loss but of a key that was given.
    async fn next(&mut self) -> Bytes {
        let Some((at, _)) = self.by_time.first() else { return std::future::pending().await };
        tokio::time::sleep_until(*at).await;
        let Some((_, key)) = self.by_time.pop_first() else { return std::future::pending().await };
        self.of_key.remove(&key);
        key
    }
}

fn response(event: WatchEvent, values: bool) -> proto::WatchResponse {
    let event = match event {
        WatchEvent::State { key, answer } => proto::watch_response::Event::State(proto::KeyState {
            key,
            found: answer.value.is_some(),
            etag: answer.value.as_ref().map(|value| Bytes::copy_from_slice(&etag_of(value))).unwrap_or_default(),
            ttl_ms: answer.ttl_ms,
            value: answer.value.filter(|_| values),
        }),
        WatchEvent::Resync { detail } => proto::watch_response::Event::Resync(proto::Resync { detail }),
    };
    proto::WatchResponse { event: Some(event) }
}
