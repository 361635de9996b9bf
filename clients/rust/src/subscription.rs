use std::sync::Arc;
use std::time::Duration;

use tonic::Streaming;

use crate::Error;
use crate::v1::stats::SubscribeStatsResponse;

/// Answers of `SubscribeStats`, as they come.
#[derive(Debug)]
pub struct StatsSubscription {
    answers: Streaming<SubscribeStatsResponse>,
    endpoint: Arc<str>,
}

impl StatsSubscription {
    pub(crate) fn new(answers: Streaming<SubscribeStatsResponse>, endpoint: Arc<str>) -> Self {
        Self { answers, endpoint }
    }

    /// The next answer. None: the server ended the subscription, for example to drain; subscribe again.
    ///
    /// # Errors
    /// Why it broke. [`Error::is_retryable`] says whether subscribing again can help.
    pub async fn next(&mut self) -> Result<Option<SubscribeStatsResponse>, Error> {
        self.answers.message().await.map_err(|status| Error::from_status(&status, &self.endpoint, Duration::ZERO))
    }
}
