use std::pin::Pin;
use std::sync::Arc;

use futures::Stream as FutureStream;
use headwater_domain::StatKind as Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::{Shared, refusal};
use crate::v1::stats::stats_service_server::StatsService;
use crate::v1::stats::{
    ExplainVerdictRequest, ExplainVerdictResponse, GetStatsRequest, GetStatsResponse, ListStatsRequest,
    ListStatsResponse, QueryHistoryRequest, QueryHistoryResponse, Stat, StatKind, StatQuery, StatResult, StoredEvent,
    SubscribeStatsRequest, SubscribeStatsResponse,
};

const WINDOW_MAX_S: i64 = 24 * 3600;

#[derive(Debug)]
pub(super) struct Stats(pub(super) Arc<Shared>);

impl Shared {
    fn all_stats(&self) -> Vec<Stat> {
        let mut stats = Vec::new();
        for contract in self.contracts.streams() {
            let schema = &contract.schema;
            stats.extend(schema.stats.iter().map(|stat| {
                Stat {
                    stream: schema.name.clone(),
                    name: stat.name.clone(),
                    title: stat.title.clone(),
                    kind: match stat.kind {
                        Kind::Distinct { .. } => StatKind::Distinct,
                        Kind::Top { .. } => StatKind::Top,
                        Kind::Sum { .. } => StatKind::Sum,
                    }
                    .into(),
                    field: schema.columns[stat.kind.field()].name.clone(),
                    by: stat.kind.by().map(|by| schema.columns[by].name.clone()).unwrap_or_default(),
                    scale: stat.kind.scale(),
                    window_max: Some(prost_types::Duration { seconds: WINDOW_MAX_S, nanos: 0 }),
                }
            }));
        }
        stats
    }

    fn answer(&self, queries: &[StatQuery]) -> Result<Vec<StatResult>, Status> {
        queries.iter().map(|query| self.answer_one(query)).collect()
    }

    fn answer_one(&self, query: &StatQuery) -> Result<StatResult, Status> {
        let known = self.all_stats();
        let Some(stat) = known.iter().find(|stat| stat.stream == query.stream && stat.name == query.stat) else {
            let names: Vec<&str> =
                known.iter().filter(|stat| stat.stream == query.stream).map(|stat| stat.name.as_str()).collect();
            let detail = format!("{} has no statistic {:?}; it has {}", query.stream, query.stat, names.join(", "));
            return Err(refusal(Code::NotFound, "UNKNOWN_STAT", &detail, None));
        };
        if query.window.is_some_and(|window| window.seconds < 1 || window.seconds > WINDOW_MAX_S) {
            return Err(refusal(Code::InvalidArgument, "INVALID_WINDOW", "a window is 1 s to 24 h", None));
        }
        let key = (query.stream.clone(), query.stat.clone());
        let mut result = self.plan().results.get(&key).cloned().unwrap_or_else(|| StatResult {
            stream: query.stream.clone(),
            stat: query.stat.clone(),
            kind: stat.kind,
            scale: stat.scale,
            complete: true,
            ..StatResult::default()
        });
        if !query.by.is_empty() {
            result.values.retain(|value| value.key == query.by);
        }
        let limit = if query.limit == 0 { 5 } else { query.limit as usize };
        result.values.truncate(limit);
        Ok(result)
    }
}

#[tonic::async_trait]
impl StatsService for Stats {
    async fn list_stats(&self, request: Request<ListStatsRequest>) -> Result<Response<ListStatsResponse>, Status> {
        self.0.begin("ListStats", "", &request).await?;
        let request = request.into_inner();
        let mut stats = self.0.all_stats();
        stats.retain(|stat| request.stream.is_empty() || stat.stream == request.stream);
        // One a page, so that paging is exercised.
        let place: usize = request.page_token.parse().unwrap_or(0);
        let next_page_token = if place + 1 >= stats.len() { String::new() } else { (place + 1).to_string() };
        let stats = stats.into_iter().nth(place).into_iter().collect();
        Ok(Response::new(ListStatsResponse { stats, next_page_token }))
    }

    async fn get_stats(&self, request: Request<GetStatsRequest>) -> Result<Response<GetStatsResponse>, Status> {
        self.0.begin("GetStats", &request.get_ref().at_least.clone(), &request).await?;
        let results = self.0.answer(&request.into_inner().queries)?;
        Ok(Response::new(GetStatsResponse { results }))
    }

    type SubscribeStatsStream = Pin<Box<dyn FutureStream<Item = Result<SubscribeStatsResponse, Status>> + Send>>;

    async fn subscribe_stats(
        &self,
        request: Request<SubscribeStatsRequest>,
    ) -> Result<Response<Self::SubscribeStatsStream>, Status> {
        self.0.begin("SubscribeStats", &request.get_ref().at_least.clone(), &request).await?;
        let shared = Arc::clone(&self.0);
        let queries = request.into_inner().queries;
        let first = shared.answer(&queries)?;
        let mut changes = shared.figures.subscribe();
        let (answers, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut results = Ok(first);
            loop {
                let answer = results.map(|results| SubscribeStatsResponse { results });
                let failed = answer.is_err();
                if answers.send(answer).await.is_err() || failed || changes.changed().await.is_err() {
                    return;
                }
                results = shared.answer(&queries);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn query_history(
        &self,
        request: Request<QueryHistoryRequest>,
    ) -> Result<Response<QueryHistoryResponse>, Status> {
        self.0.begin("QueryHistory", "", &request).await?;
        let request = request.into_inner();
        let Some(contract) = self.0.contracts.stream(&request.stream) else {
            return Err(refusal(Code::NotFound, "UNKNOWN_STREAM", "no such stream", None));
        };
        let plan = self.0.plan();
        let events = (0_i64..)
            .zip(&plan.accepted)
            .filter(|(_, accepted)| accepted.stream == request.stream)
            .filter(|(_, accepted)| request.id.is_empty() || accepted.id == request.id)
            .map(|(offset, accepted)| StoredEvent {
                event: Some(prost_types::Any { type_url: contract.type_url(), value: accepted.bytes.clone() }),
                partition: 0,
                offset,
                appended_at: None,
                flagged_by: None,
            })
            .collect();
        Ok(Response::new(QueryHistoryResponse { events, next_page_token: String::new() }))
    }

    async fn explain_verdict(
        &self,
        request: Request<ExplainVerdictRequest>,
    ) -> Result<Response<ExplainVerdictResponse>, Status> {
        self.0.begin("ExplainVerdict", &request.get_ref().at_least.clone(), &request).await?;
        let ExplainVerdictRequest { stream, id, .. } = request.into_inner();
        if self.0.contracts.stream(&stream).is_none() {
            return Err(refusal(Code::NotFound, "UNKNOWN_STREAM", "no such stream", None));
        }
        Ok(Response::new(self.0.plan().explanations.get(&(stream, id)).cloned().unwrap_or_default()))
    }
}
