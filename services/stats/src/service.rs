use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_contracts::Contracts;
use headwater_contracts::v1::stats::stats_service_server::StatsService;
use headwater_contracts::v1::stats::{
    ExplainVerdictRequest, ExplainVerdictResponse, GetStatsRequest, GetStatsResponse, ListStatsRequest,
    ListStatsResponse, QueryHistoryRequest, QueryHistoryResponse, Stat, SubscribeStatsRequest,
};
use headwater_domain::Reason;
use headwater_event_log::EventLog;
use headwater_history::History;
use headwater_live::LiveStatistics;
use headwater_serving::Deadline;
use headwater_serving::page;
use headwater_serving::problem::Problem;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Request, Response, Status};

use crate::figures::proto_kind;
use crate::query::{queries, stream, token};
use crate::subscribe::{self, Answers, interval};
use crate::watch::Watch;

/// How long a token is waited for where the call has no deadline.
const WAIT_DEFAULT: Duration = Duration::from_secs(10);

/// The bounds of stats. Each is a setting of the same name.
#[derive(Clone, Debug)]
pub struct StatsOptions {
    /// Longest window, in milliseconds.
    pub window_max_ms: i64,
    /// SubscribeStats calls at a time, at most.
    pub subscriptions_max: usize,
}

/// The stats service.
#[derive(Clone)]
pub struct Stats {
    shared: Arc<Shared>,
}

/// What all calls have in common.
pub(crate) struct Shared {
    pub(crate) options: StatsOptions,
    pub(crate) contracts: Arc<Contracts>,
    pub(crate) history: Arc<dyn History>,
    pub(crate) live: Arc<dyn LiveStatistics>,
    pub(crate) watch: Watch,
    pub(crate) subscriptions: Arc<Semaphore>,
    pub(crate) drain: CancellationToken,
}

impl Stats {
    /// The service over these contracts and stores. With a log it can also tell how far the log is ahead of the figures.
    pub fn new(
        options: StatsOptions,
        contracts: Arc<Contracts>,
        history: Arc<dyn History>,
        live: Arc<dyn LiveStatistics>,
        log: Option<Arc<dyn EventLog>>,
        drain: CancellationToken,
    ) -> Self {
        let watch = Watch::new(Arc::clone(&contracts), Arc::clone(&history), Arc::clone(&live), log);
        let subscriptions = Arc::new(Semaphore::new(options.subscriptions_max.min(Semaphore::MAX_PERMITS)));
        Self { shared: Arc::new(Shared { options, contracts, history, live, watch, subscriptions, drain }) }
    }

    /// Looks after generations and lag until it is dropped; tells `condition` what is away (the reason) or not (none).
    pub async fn run(&self, condition: impl Fn(&str, Option<String>)) {
        self.shared.watch.run(condition).await;
    }
}

#[tonic::async_trait]
impl StatsService for Stats {
    type SubscribeStatsStream = Answers;

    async fn list_stats(&self, request: Request<ListStatsRequest>) -> Result<Response<ListStatsResponse>, Status> {
        let asked = request.into_inner();
        if !asked.stream.is_empty() {
            stream(&self.shared.contracts, &asked.stream)?;
        }
        let identity = format!("ListStats {}", asked.stream);
        let skip: usize = match page::after(&identity, &asked.page_token)? {
            Some(text) => text.parse().map_err(|_| Problem::new(Reason::InvalidPageToken, "not a page token"))?,
            None => 0,
        };
        let size = page::size(asked.page_size)?;
        let all = self.shared.stats(&asked.stream);
        let stats: Vec<Stat> = all.iter().skip(skip).take(size).cloned().collect();
        let end = skip + stats.len();
        let next_page_token = if end < all.len() { page::token(&identity, &end.to_string()) } else { String::new() };
        Ok(Response::new(ListStatsResponse { stats, next_page_token }))
    }

    async fn get_stats(&self, request: Request<GetStatsRequest>) -> Result<Response<GetStatsResponse>, Status> {
        let deadline = deadline_of(request.extensions());
        let asked = request.into_inner();
        let shared = &self.shared;
        let queries = queries(&shared.contracts, shared.options.window_max_ms, &asked.queries)?;
        if let Some(token) = token(&shared.contracts, &asked.at_least)? {
            shared.wait_counted(&token, deadline).await?;
        }
        let results = shared.results(&queries).await?;
        Ok(Response::new(GetStatsResponse { results }))
    }

    async fn subscribe_stats(
        &self,
        request: Request<SubscribeStatsRequest>,
    ) -> Result<Response<Self::SubscribeStatsStream>, Status> {
        let deadline = deadline_of(request.extensions());
        let asked = request.into_inner();
        let shared = &self.shared;
        let queries = queries(&shared.contracts, shared.options.window_max_ms, &asked.queries)?;
        let interval = interval(asked.min_interval.as_ref())?;
        let permit = Arc::clone(&shared.subscriptions).try_acquire_owned().map_err(|_| {
            Problem::new(
                Reason::Overloaded,
                "too many subscriptions (stats.subscriptions_max); try again after the delay",
            )
        })?;
        if let Some(token) = token(&shared.contracts, &asked.at_least)? {
            shared.wait_counted(&token, deadline).await?;
        }
        Ok(Response::new(subscribe::answers(Arc::clone(shared), queries, interval, permit)))
    }

    async fn query_history(
        &self,
        request: Request<QueryHistoryRequest>,
    ) -> Result<Response<QueryHistoryResponse>, Status> {
        Ok(Response::new(self.shared.query_history(request.into_inner()).await?))
    }

    async fn explain_verdict(
        &self,
        request: Request<ExplainVerdictRequest>,
    ) -> Result<Response<ExplainVerdictResponse>, Status> {
        let deadline = deadline_of(request.extensions());
        Ok(Response::new(self.shared.explain_verdict(request.into_inner(), deadline).await?))
    }
}

impl Shared {
    fn stats(&self, of: &str) -> Vec<Stat> {
        let window_max = prost_types::Duration { seconds: self.options.window_max_ms / 1000, nanos: 0 };
        let streams = self.contracts.streams().filter(|stream| of.is_empty() || stream.schema.name == of);
        let mut stats: Vec<Stat> = streams
            .flat_map(|stream| {
                let schema = &stream.schema;
                let field = |column: usize| schema.columns[column].name.clone();
                schema.stats.iter().map(move |stat| Stat {
                    stream: schema.name.clone(),
                    name: stat.name.clone(),
                    title: stat.title.clone(),
                    kind: proto_kind(stat.kind).into(),
                    field: field(stat.kind.field()),
                    by: stat.kind.by().map(field).unwrap_or_default(),
                    scale: stat.kind.scale(),
                    window_max: Some(window_max),
                })
            })
            .collect();
        stats.sort_by(|a, b| (&a.stream, &a.name).cmp(&(&b.stream, &b.name)));
        stats
    }
}

fn deadline_of(extensions: &Extensions) -> Instant {
    extensions.get::<Deadline>().map_or_else(|| Instant::now() + WAIT_DEFAULT, |deadline| deadline.0.into())
}
