use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream as FutureStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Accepted, Shared, refusal};
use crate::v1::error::Reason;
use crate::v1::ingest::ingest_service_server::IngestService;
use crate::v1::ingest::{
    Accepted as AcceptedResult, FieldViolation, ListStreamsRequest, ListStreamsResponse, PublishRequest,
    PublishResponse, PublishStreamRequest, PublishStreamResponse, Record, RecordResult, Rejected, Retry, Stream,
    record_result,
};

const RECORDS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Ingest(pub(super) Arc<Shared>);

impl Shared {
    fn take(&self, stream: &str, records: &[Record]) -> Result<(Vec<RecordResult>, String), Status> {
        if records.is_empty() {
            return Err(refusal(Code::InvalidArgument, "EMPTY_BATCH", "a batch has at least one record", None));
        }
        if records.len() > RECORDS_MAX {
            return Err(refusal(Code::InvalidArgument, "BATCH_TOO_LARGE", "at most 10000 records", None));
        }
        if self.contracts.stream(stream).is_none() {
            let detail = format!("there is no stream {stream:?}; the streams are page-events, transactions");
            return Err(refusal(Code::NotFound, "UNKNOWN_STREAM", &detail, None));
        }
        let retries = self.plan().retries.pop_front().unwrap_or(0);
        let results: Vec<RecordResult> =
            records.iter().enumerate().map(|(index, record)| self.judge(stream, record, index < retries)).collect();
        let any = results.iter().any(|result| matches!(result.result, Some(record_result::Result::Accepted(_))));
        let token = if any { format!("token-{}", self.plan().accepted.len()) } else { String::new() };
        Ok((results, token))
    }

    fn judge(&self, stream: &str, record: &Record, retry: bool) -> RecordResult {
        let reject = |reason: Reason, detail: String, violations: Vec<FieldViolation>| RecordResult {
            result: Some(record_result::Result::Rejected(Rejected { reason: reason.into(), detail, violations })),
        };
        if retry {
            return RecordResult {
                result: Some(record_result::Result::Retry(Retry {
                    reason: Reason::EventLogUnavailable.into(),
                    retry_delay: prost_types::Duration::try_from(Duration::from_millis(20)).ok(),
                    detail: "the event log did not acknowledge".into(),
                })),
            };
        }
        let (Some(event), Some(contract)) = (&record.event, self.contracts.stream(stream)) else {
            return reject(Reason::Malformed, "no event".into(), Vec::new());
        };
        if event.type_url != contract.type_url() {
            return reject(Reason::WrongType, format!("{} is not of this stream", event.type_url), Vec::new());
        }
        match contract.check(&event.value) {
            Ok(checked) => {
                let id = contract.schema.id_of(&checked).to_owned();
                let mut plan = self.plan();
                let offset = i64::try_from(plan.accepted.len()).unwrap_or(i64::MAX);
                plan.accepted.push(Accepted { stream: stream.to_owned(), id: id.clone(), bytes: event.value.clone() });
                RecordResult {
                    result: Some(record_result::Result::Accepted(AcceptedResult { partition: 0, offset, id })),
                }
            }
            Err(defect) => reject(
                Reason::try_from(defect.reason.number()).unwrap_or(Reason::Internal),
                defect.detail,
                defect
                    .fields
                    .into_iter()
                    .map(|field| FieldViolation {
                        field: field.field,
                        rule: field.rule,
                        description: field.description,
                    })
                    .collect(),
            ),
        }
    }
}

#[tonic::async_trait]
impl IngestService for Ingest {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        self.0.begin("Publish", "", &request).await?;
        let request = request.into_inner();
        let (results, consistency_token) = self.0.take(&request.stream, &request.records)?;
        Ok(Response::new(PublishResponse { results, consistency_token }))
    }

    type PublishStreamStream = Pin<Box<dyn FutureStream<Item = Result<PublishStreamResponse, Status>> + Send>>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        self.0.begin("PublishStream", "", &request).await?;
        let shared = Arc::clone(&self.0);
        let break_after = shared.plan().break_after.pop_front();
        let mut requests = request.into_inner();
        let (answers, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut batches = 0;
            while let Ok(Some(request)) = requests.message().await {
                let taken = shared.take(&request.stream, &request.records);
                batches += 1;
                if break_after == Some(batches) {
                    let _ = answers.send(Err(Status::unavailable("cut"))).await;
                    return;
                }
                let (delay, silent) = {
                    let plan = shared.plan();
                    (plan.delay, plan.silent)
                };
                tokio::time::sleep(delay).await;
                if silent {
                    continue;
                }
                let answer = taken.map(|(results, consistency_token)| PublishStreamResponse {
                    sequence: request.sequence,
                    results,
                    consistency_token,
                });
                let failed = answer.is_err();
                if answers.send(answer).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn list_streams(
        &self,
        request: Request<ListStreamsRequest>,
    ) -> Result<Response<ListStreamsResponse>, Status> {
        self.0.begin("ListStreams", "", &request).await?;
        let mut streams = self.0.contracts.streams().map(|contract| {
            let schema = &contract.schema;
            let column = |index: usize| schema.columns[index].name.clone();
            Stream {
                name: schema.name.clone(),
                message_type: schema.message.clone(),
                id_field: column(schema.id),
                key_field: column(schema.key),
                time_field: column(schema.time),
                stats: schema.stats.iter().map(|stat| stat.name.clone()).collect(),
                rules: schema.rules.iter().map(|rule| rule.name.clone()).collect(),
                partitions: 1,
                schema_id: 1,
            }
        });
        // One stream a page, so that paging is exercised.
        let place: usize = request.into_inner().page_token.parse().unwrap_or(0);
        let last = place + 1 >= streams.len();
        let next_page_token = if last { String::new() } else { (place + 1).to_string() };
        Ok(Response::new(ListStreamsResponse { streams: streams.nth(place).into_iter().collect(), next_page_token }))
    }
}
