use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tokio::time::Instant;
use tonic::Streaming;

use crate::retry::Backoff;
use crate::v1::cache::{KeyState, WatchRequest, WatchResponse, watch_response};
use crate::{Client, Error, RetryPolicy};

/// A connection that held so long was well: what ends it later begins the attempts anew.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// What is watched, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// Keys to watch, at most 1,000 unless the platform is set otherwise. The state of each is told at once.
    pub keys: Vec<Bytes>,
    /// Watches every key that begins so; what is there already is not told. Empty: the whole namespace.
    pub prefix: Option<Bytes>,
    /// Whether to tell values too.
    pub values: bool,
    /// Attempts in a row to open the connection again. Default: 60, up to 5 s apart: some five minutes.
    pub retry: RetryPolicy,
}

impl Default for WatchOptions {
    fn default() -> Self {
        let retry = RetryPolicy { attempts_max: 60, ..RetryPolicy::default() };
        Self { keys: Vec::new(), prefix: None, values: false, retry }
    }
}

impl WatchOptions {
    /// These keys.
    pub fn keys<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self { keys: keys.into_iter().map(super::bytes_of).collect(), ..Self::default() }
    }

    /// Every key that begins so.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        Self { prefix: Some(super::bytes_of(prefix)), ..Self::default() }
    }

    /// The same, with values.
    #[must_use]
    pub fn with_values(self) -> Self {
        Self { values: true, ..self }
    }
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A key's state.
    State(KeyState),
    /// Changes may have been missed, because the store or the connection was away: the state of every watched key follows;
    /// what else begins with the prefix is to be read again by whoever needs it.
    Resync {
        /// Why, for people.
        detail: String,
    },
}

/// States of keys, now and whenever they change.
///
/// It tells states and not steps: of quick changes the last is told. A connection that ends or breaks is opened again, which
/// is told by [`WatchEvent::Resync`]. After an error comes nothing more.
pub struct Watch {
    events: BoxStream<'static, Result<WatchEvent, Error>>,
}

impl Watch {
    pub(super) async fn open(client: Client, namespace: String, options: WatchOptions) -> Result<Self, Error> {
        let WatchOptions { keys, prefix, values, retry } = options;
        let request = WatchRequest { namespace, keys, prefix, values };
        let mut link = Link { backoff: client.retry.backoff(), client, request, retry, open: None };
        let end = Instant::now() + link.client.deadline;
        link.connect(Some(end)).await?;
        link.backoff = retry.backoff();
        let events = stream::unfold(Some(link), |link| async {
            let mut link = link?;
            match link.next().await {
                Ok(event) => Some((Ok(event), Some(link))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Self { events: events.boxed() })
    }

    /// The next event. None: it failed before.
    ///
    /// # Errors
    /// Why it failed for good: the server refuses, or could not be reached in all attempts.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, Error> {
        self.events.next().await.transpose()
    }
}

impl Stream for Watch {
    type Item = Result<WatchEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

struct Link {
    client: Client,
    request: WatchRequest,
    retry: RetryPolicy,
    backoff: Backoff,
    /// The connection and since when it is.
    open: Option<(Streaming<WatchResponse>, Instant)>,
}

impl Link {
    async fn next(&mut self) -> Result<WatchEvent, Error> {
        loop {
            let Some((answers, since)) = &mut self.open else {
                return Err(Error::Protocol("a watch without a connection".into()));
            };
            let ended = match answers.message().await {
                Ok(Some(answer)) => {
                    self.backoff = self.retry.backoff();
                    match answer.event {
                        Some(watch_response::Event::State(state)) => return Ok(WatchEvent::State(state)),
                        Some(watch_response::Event::Resync(resync)) => {
                            return Ok(WatchEvent::Resync { detail: resync.detail });
                        }
                        // A kind of event that this version does not know.
                        None => continue,
                    }
                }
                Ok(None) => None,
                Err(status) => {
                    let error = Error::from_status(&status, &self.client.endpoint, self.client.deadline);
                    if !error.is_retryable() {
                        return Err(error);
                    }
                    Some(error)
                }
            };
            if since.elapsed() >= WELL_AFTER {
                self.backoff = self.retry.backoff();
            }
            self.open = None;
            let Some(wait) = self.backoff.next_wait(ended.as_ref().and_then(Error::retry_after)) else {
                return Err(ended.unwrap_or_else(|| Error::Protocol("the server ends every watch at once".into())));
            };
            tokio::time::sleep(wait).await;
            self.connect(None).await?;
            let detail = match ended {
                Some(error) => format!("the connection was lost: {error}"),
                None => "the server ended the connection".to_owned(),
            };
            return Ok(WatchEvent::Resync { detail });
        }
    }

    /// Opens the connection, within the attempts that are left, and where somebody waits for it, before the end.
    async fn connect(&mut self, end: Option<Instant>) -> Result<(), Error> {
        loop {
            let mut cache = self.client.cache.clone();
            // The end of the stream is not the deadline's: it is not told to the server.
            let opening = tokio::time::timeout(self.client.deadline, cache.watch(self.request.clone())).await;
            let error = match opening {
                Ok(Ok(answers)) => {
                    self.open = Some((answers.into_inner(), Instant::now()));
                    return Ok(());
                }
                Ok(Err(status)) => Error::from_status(&status, &self.client.endpoint, self.client.deadline),
                Err(_) => Error::Unreachable {
                    endpoint: self.client.endpoint.to_string(),
                    detail: format!("no answer within {} ms", self.client.deadline.as_millis()),
                },
            };
            let wait = if error.is_retryable() { self.backoff.next_wait(error.retry_after()) } else { None };
            match wait {
                Some(wait) if end.is_none_or(|end| Instant::now() + wait < end) => tokio::time::sleep(wait).await,
                _ => return Err(error),
            }
        }
    }
}
