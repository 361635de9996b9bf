use std::sync::Arc;
use std::time::Duration;

use tonic::Streaming;

use crate::Error;
use crate::v1::rebuild::WatchRebuildsResponse;
use crate::v1::stats::SubscribeStatsResponse;

/// Answers of `SubscribeStats`. Where there is none any more the server ended it, for example to drain: subscribe again.
pub type StatsSubscription = Subscription<SubscribeStatsResponse>;

/// Answers of `WatchRebuilds`. Where there is none any more, nothing is being built.
pub type RebuildsSubscription = Subscription<WatchRebuildsResponse>;

/// Answers as they come.
#[derive(Debug)]
pub struct Subscription<A> {
    answers: Streaming<A>,
    endpoint: Arc<str>,
}

impl<A> Subscription<A> {
    pub(crate) fn new(answers: Streaming<A>, endpoint: Arc<str>) -> Self {
        Self { answers, endpoint }
    }

    /// The next answer. None: the server ended it.
    ///
    /// # Errors
    /// Why it broke. [`Error::is_retryable`] says whether asking again can help.
    pub async fn next(&mut self) -> Result<Option<A>, Error> {
        self.answers.message().await.map_err(|status| Error::from_status(&status, &self.endpoint, Duration::ZERO))
    }
}
