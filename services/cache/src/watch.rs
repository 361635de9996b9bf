//! Watch: the states of keys, now and whenever they change.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use headwater_cache::{CacheError, Namespace, Watch, WatchEvent, etag_of};
use headwater_contracts::v1::cache as proto;
use headwater_domain::Reason;
use headwater_serving::Problem;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::problems::problem;
use crate::service::CacheFront;

/// States that wait for a slow caller; until it has read them, what changes again is told once.
const ANSWERS_MAX: usize = 16;
/// How long to wait before the store is asked again that was away.
const RETRY: Duration = Duration::from_millis(100);

/// The answers of one Watch.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<proto::WatchResponse, Status>> + Send>>;

impl CacheFront {
    pub(crate) fn answer_watch(&self, asked: proto::WatchRequest) -> Result<Answers, Problem> {
        let namespace = self.cache.namespace(&asked.namespace).map_err(problem)?;
        self.check_watch(&namespace, &asked)?;
        let watch = self.cache.watch(&namespace, asked.keys, asked.prefix).map_err(problem)?;
        let (sender, receiver) = mpsc::channel(ANSWERS_MAX);
        let drain = self.drain.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = drain.cancelled() => {
                    let detail = "the service is draining; watch again, at another replica";
                    let _ = sender.try_send(Err(Problem::new(Reason::NotReady, detail).into()));
                }
                () = tell(&watch, asked.values, &sender) => {}
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

async fn tell(watch: &Watch, values: bool, sender: &mpsc::Sender<Result<proto::WatchResponse, Status>>) {
    loop {
        let event = match watch.next().await {
            Ok(event) => event,
            // What is missed meanwhile is told after it.
            Err(CacheError::Unavailable(_) | CacheError::Refused(_) | CacheError::LoadFailed { .. }) => {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            Err(error) => {
                let _ = sender.send(Err(problem(error).into())).await;
                return;
            }
        };
        if sender.send(Ok(response(event, values))).await.is_err() {
            return;
        }
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
