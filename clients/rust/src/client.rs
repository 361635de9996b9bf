use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use prost_types::Any;
use tokio::time::Instant;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::connect::Bearer;
use crate::error::unreachable;
use crate::publisher::{self, PublishAcks, PublishOptions, PublishSender};
use crate::subscription::{RebuildsSubscription, StatsSubscription};
use crate::v1::cache::cache_service_client::CacheServiceClient;
use crate::v1::ingest::ingest_service_client::IngestServiceClient;
use crate::v1::ingest::{ListStreamsRequest, PublishRequest, PublishResponse, Record, Stream};
use crate::v1::rebuild::rebuild_service_client::RebuildServiceClient;
use crate::v1::rebuild::{
    CancelRebuildRequest, ListRebuildsRequest, Rebuild, StartRebuildRequest, WatchRebuildsRequest,
};
use crate::v1::stats::stats_service_client::StatsServiceClient;
use crate::v1::stats::{
    ExplainVerdictRequest, ExplainVerdictResponse, GetStatsRequest, ListStatsRequest, QueryHistoryRequest,
    QueryHistoryResponse, Stat, StatQuery, StatResult, SubscribeStatsRequest,
};
use crate::{ConnectOptions, Error, RetryPolicy};

/// Entries asked for per page of a list, the most that the platform gives.
pub(crate) const PAGE_SIZE: i32 = 1000;
/// Pages that a list may have: a server whose pages never end is not followed for ever.
pub(crate) const PAGES_MAX: usize = 1000;

pub(crate) type Transport = InterceptedService<Channel, Bearer>;

/// A connection to the platform. Clones share it; it mends itself when it breaks.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) ingest: IngestServiceClient<Transport>,
    pub(crate) stats: StatsServiceClient<Transport>,
    pub(crate) rebuild: RebuildServiceClient<Transport>,
    pub(crate) cache: CacheServiceClient<Transport>,
    pub(crate) reflection: ServerReflectionClient<Transport>,
    pub(crate) endpoint: Arc<str>,
    pub(crate) deadline: Duration,
    pub(crate) retry: RetryPolicy,
}

/// The event as a record: `message_type` is the full name of its message, `bytes` its encoding.
pub fn record(message_type: &str, bytes: Vec<u8>) -> Record {
    Record { event: Some(Any { type_url: format!("type.googleapis.com/{message_type}"), value: bytes }) }
}

impl Client {
    /// Connects now.
    ///
    /// # Errors
    /// A wrong option, or no server at the address (after the retries that the options allow).
    pub async fn connect(options: ConnectOptions) -> Result<Self, Error> {
        let endpoint = options.channel()?;
        let bearer = options.bearer()?;
        let mut backoff = options.retry.backoff();
        loop {
            match endpoint.connect().await {
                Ok(channel) => return Ok(Self::over(channel, bearer, &options)),
                Err(error) => match backoff.next_wait(None) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(unreachable(&options.endpoint, &error)),
                },
            }
        }
    }

    /// Connects with the first call, which is then the one to fail.
    ///
    /// # Errors
    /// A wrong option.
    pub fn connect_lazy(options: &ConnectOptions) -> Result<Self, Error> {
        let bearer = options.bearer()?;
        Ok(Self::over(options.channel()?.connect_lazy(), bearer, options))
    }

    fn over(channel: Channel, bearer: Bearer, options: &ConnectOptions) -> Self {
        let transport = InterceptedService::new(channel, bearer);
        let bytes_max = options.answer_bytes_max;
        Self {
            ingest: IngestServiceClient::new(transport.clone()).max_decoding_message_size(bytes_max),
            stats: StatsServiceClient::new(transport.clone()).max_decoding_message_size(bytes_max),
            rebuild: RebuildServiceClient::new(transport.clone()).max_decoding_message_size(bytes_max),
            cache: CacheServiceClient::new(transport.clone()).max_decoding_message_size(bytes_max),
            reflection: ServerReflectionClient::new(transport).max_decoding_message_size(bytes_max),
            endpoint: options.endpoint.as_str().into(),
            deadline: options.deadline,
            retry: options.retry,
        }
    }

    /// The same connection with another deadline for its unary calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same connection with other retries of its unary calls.
    #[must_use]
    pub fn with_retry(&self, retry: RetryPolicy) -> Self {
        Self { retry, ..self.clone() }
    }

    /// The address that it was made with.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Publishes a batch. Each record has its own result, in order; the call succeeds though records be refused.
    ///
    /// # Errors
    /// Where the batch as a whole was not looked at.
    pub async fn publish(&self, stream: &str, records: Vec<Record>) -> Result<PublishResponse, Error> {
        self.unary(PublishRequest { stream: stream.to_owned(), records }, |request| {
            let mut ingest = self.ingest.clone();
            async move { ingest.publish(request).await }
        })
        .await
    }

    /// Opens a stream to publish batch after batch: see [`PublishSender`] and [`PublishAcks`].
    ///
    /// # Errors
    /// A wrong option. Failures of the stream come with the acknowledgements.
    pub fn publish_stream(&self, options: PublishOptions) -> Result<(PublishSender, PublishAcks), Error> {
        publisher::open(self.clone(), options)
    }

    /// The streams that can be published to.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn list_streams(&self) -> Result<Vec<Stream>, Error> {
        let mut streams = Vec::new();
        let mut page_token = String::new();
        for _ in 0..PAGES_MAX {
            let page = self
                .unary(ListStreamsRequest { page_size: PAGE_SIZE, page_token }, |request| {
                    let mut ingest = self.ingest.clone();
                    async move { ingest.list_streams(request).await }
                })
                .await?;
            streams.extend(page.streams);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(streams);
            }
        }
        Err(Error::Protocol(format!("ListStreams has more than {PAGES_MAX} pages")))
    }

    /// The statistics of a stream; of all, where `stream` is empty.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn list_stats(&self, stream: &str) -> Result<Vec<Stat>, Error> {
        let mut stats = Vec::new();
        let mut page_token = String::new();
        for _ in 0..PAGES_MAX {
            let request = ListStatsRequest { stream: stream.to_owned(), page_size: PAGE_SIZE, page_token };
            let page = self
                .unary(request, |request| {
                    let mut stats = self.stats.clone();
                    async move { stats.list_stats(request).await }
                })
                .await?;
            stats.extend(page.stats);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(stats);
            }
        }
        Err(Error::Protocol(format!("ListStats has more than {PAGES_MAX} pages")))
    }

    /// Statistics as they are now: one result per query, in order. `at_least` is a consistency token or empty: the answer
    /// waits, to the deadline, until what the token stands for is counted.
    ///
    /// # Errors
    /// Where the call failed, or what the token stands for was not visible in time.
    pub async fn get_stats(&self, queries: Vec<StatQuery>, at_least: &str) -> Result<Vec<StatResult>, Error> {
        let asked = queries.len();
        let answer = self
            .unary(GetStatsRequest { queries, at_least: at_least.to_owned() }, |request| {
                let mut stats = self.stats.clone();
                async move { stats.get_stats(request).await }
            })
            .await?;
        if answer.results.len() != asked {
            return Err(Error::Protocol(format!("{} results for {asked} queries", answer.results.len())));
        }
        Ok(answer.results)
    }

    /// Statistics now and whenever they change. The subscription has no deadline.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn subscribe_stats(&self, request: SubscribeStatsRequest) -> Result<StatsSubscription, Error> {
        let mut backoff = self.retry.backoff();
        loop {
            let opening = self.stats.clone().subscribe_stats(request.clone()).await;
            let error = match opening {
                Ok(answers) => return Ok(StatsSubscription::new(answers.into_inner(), Arc::clone(&self.endpoint))),
                Err(status) => Error::from_status(&status, &self.endpoint, self.deadline),
            };
            let wait = if error.is_retryable() { backoff.next_wait(error.retry_after()) } else { None };
            let Some(wait) = wait else { return Err(error) };
            tokio::time::sleep(wait).await;
        }
    }

    /// A page of stored events, oldest first.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn query_history(&self, request: QueryHistoryRequest) -> Result<QueryHistoryResponse, Error> {
        self.unary(request, |request| {
            let mut stats = self.stats.clone();
            async move { stats.query_history(request).await }
        })
        .await
    }

    /// A page of what became of the records with an event's id. With a token it waits, to the deadline, until what that
    /// stands for is stored.
    ///
    /// # Errors
    /// Where the call failed, or what the token stands for was not stored in time.
    pub async fn explain_verdict(&self, request: ExplainVerdictRequest) -> Result<ExplainVerdictResponse, Error> {
        self.unary(request, |request| {
            let mut stats = self.stats.clone();
            async move { stats.explain_verdict(request).await }
        })
        .await
    }

    /// Begins to build statistics anew. With a request id it is called again where that can help; without one it is called
    /// once, since every call would be a build of its own.
    ///
    /// # Errors
    /// Where the call failed, or the platform will not.
    pub async fn start_rebuild(&self, request: StartRebuildRequest) -> Result<Vec<Rebuild>, Error> {
        let retry = if request.request_id.is_empty() { RetryPolicy::none() } else { self.retry };
        let answer = self
            .attempt(&retry, request, |request| {
                let mut rebuild = self.rebuild.clone();
                async move { rebuild.start_rebuild(request).await }
            })
            .await?;
        Ok(answer.rebuilds)
    }

    /// What is being built of a stream, and what was lately; of all, where `stream` is empty.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn list_rebuilds(&self, stream: &str) -> Result<Vec<Rebuild>, Error> {
        let answer = self
            .unary(ListRebuildsRequest { stream: stream.to_owned() }, |request| {
                let mut rebuild = self.rebuild.clone();
                async move { rebuild.list_rebuilds(request).await }
            })
            .await?;
        Ok(answer.rebuilds)
    }

    /// How far the rebuilds of a request have come, until they have ended; all that are being built, where it is empty.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn watch_rebuilds(&self, request_id: &str) -> Result<RebuildsSubscription, Error> {
        let request = WatchRebuildsRequest { request_id: request_id.to_owned() };
        let opening = self.rebuild.clone().watch_rebuilds(request).await;
        let answers = opening.map_err(|status| Error::from_status(&status, &self.endpoint, self.deadline))?;
        Ok(RebuildsSubscription::new(answers.into_inner(), Arc::clone(&self.endpoint)))
    }

    /// Gives up what is being built of a stream: the generation of that number, or whichever it is where it is 0.
    ///
    /// # Errors
    /// Where the call failed, or nothing is being built.
    pub async fn cancel_rebuild(&self, stream: &str, generation: i64) -> Result<Rebuild, Error> {
        let request = CancelRebuildRequest { stream: stream.to_owned(), generation };
        let answer = self
            .unary(request, |request| {
                let mut rebuild = self.rebuild.clone();
                async move { rebuild.cancel_rebuild(request).await }
            })
            .await?;
        answer.rebuild.ok_or_else(|| Error::Protocol("CancelRebuild answered without a rebuild".into()))
    }

    /// Calls within the deadline, again where that can help; the server is told how much time is left.
    pub(crate) async fn unary<Q, A, F>(&self, message: Q, call: impl Fn(Request<Q>) -> F) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.attempt(&self.retry, message, call).await
    }

    /// Calls within the deadline and once: for what would be something else when it is done twice.
    pub(crate) async fn once<Q, A, F>(&self, message: Q, call: impl Fn(Request<Q>) -> F) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.attempt(&RetryPolicy::none(), message, call).await
    }

    async fn attempt<Q, A, F>(
        &self,
        retry: &RetryPolicy,
        message: Q,
        call: impl Fn(Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let late = || Error::DeadlineExceeded { after: self.deadline };
        let end = Instant::now() + self.deadline;
        let mut backoff = retry.backoff();
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(end.saturating_duration_since(Instant::now()));
            let error = match tokio::time::timeout_at(end, call(request)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => Error::from_status(&status, &self.endpoint, self.deadline),
                Err(_) => return Err(late()),
            };
            let wait = if error.is_retryable() { backoff.next_wait(error.retry_after()) } else { None };
            match wait {
                // A wait that the deadline does not allow would hide the reason behind DEADLINE_EXCEEDED.
                Some(wait) if Instant::now() + wait < end => tokio::time::sleep(wait).await,
                _ => return Err(error),
            }
        }
    }
}
