use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater_contracts::v1::error::Reason;
use headwater_contracts::v1::event::{PageEvent, Transaction};
use headwater_contracts::v1::ingest::{
    Accepted, PublishRequest, PublishResponse, Record, RecordResult, Rejected, record_result::Result as Answer,
};
use headwater_contracts::v1::stats::{
    ExplainVerdictRequest, ExplainedRecord, GetStatsRequest, QueryHistoryRequest, QueryHistoryResponse, StatQuery,
    StatResult,
};
use prost::Message;
use prost_types::{Any, Timestamp};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::process::{Ingest, Stats};

pub(crate) const PAGES: &str = "page-events";
pub(crate) const TRANSACTIONS: &str = "transactions";
pub(crate) const PAGE_TYPE: &str = "type.googleapis.com/headwater.event.v1.PageEvent";
pub(crate) const TRANSACTION_TYPE: &str = "type.googleapis.com/headwater.event.v1.Transaction";
/// Deadline of calls that say nothing else.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

pub(crate) fn timestamp(ms: i64) -> Timestamp {
    Timestamp { seconds: ms.div_euclid(1000), nanos: (ms.rem_euclid(1000) * 1_000_000) as i32 }
}

pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A click, which no rule flags, now.
pub(crate) fn click(user: &str, page: &str) -> PageEvent {
    PageEvent {
        event_id: Uuid::now_v7().to_string(),
        timestamp: Some(timestamp(now_ms())),
        user_id: user.into(),
        event_type: "click".into(),
        page_url: page.into(),
        session_id: format!("session of {user}"),
    }
}

/// A movement of that many hundredths, now.
pub(crate) fn transaction(account: &str, hundredths: i64) -> Transaction {
    Transaction {
        transaction_id: Uuid::now_v7().to_string(),
        account_number: account.into(),
        transaction_reference: String::new(),
        transaction_datetime: Some(timestamp(now_ms())),
        amount: hundredths as f64 / 100.0,
    }
}

pub(crate) fn record(type_url: &str, value: Vec<u8>) -> Record {
    Record { event: Some(Any { type_url: type_url.into(), value }) }
}

pub(crate) fn pages(events: &[PageEvent]) -> Vec<Record> {
    events.iter().map(|event| record(PAGE_TYPE, event.encode_to_vec())).collect()
}

pub(crate) fn transactions(events: &[Transaction]) -> Vec<Record> {
    events.iter().map(|event| record(TRANSACTION_TYPE, event.encode_to_vec())).collect()
}

/// A request with a deadline.
pub(crate) fn with_deadline<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

pub(crate) async fn publish(
    ingest: &mut Ingest,
    stream: &str,
    records: Vec<Record>,
) -> Result<PublishResponse, Status> {
    let request = PublishRequest { stream: stream.into(), records };
    Ok(ingest.publish(with_deadline(request, DEADLINE)).await?.into_inner())
}

/// Publishes, and returns the token; everything must be accepted.
pub(crate) async fn publish_all(ingest: &mut Ingest, stream: &str, records: Vec<Record>) -> String {
    let count = records.len();
    let answer = publish(ingest, stream, records).await.unwrap();
    assert_eq!(answer.results.len(), count);
    for result in &answer.results {
        accepted(result);
    }
    answer.consistency_token
}

pub(crate) fn accepted(result: &RecordResult) -> &Accepted {
    match &result.result {
        Some(Answer::Accepted(accepted)) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

pub(crate) fn rejected(result: &RecordResult) -> &Rejected {
    match &result.result {
        Some(Answer::Rejected(rejected)) => rejected,
        other => panic!("not rejected: {other:?}"),
    }
}

/// The reason of a rejection, as ErrorInfo writes it.
pub(crate) fn reason_of_record(result: &RecordResult) -> String {
    rejected(result).reason().as_str_name().trim_start_matches("REASON_").to_owned()
}

/// Code and reason of a failed call.
pub(crate) fn reason(status: &Status) -> (Code, String) {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    // A reason that the contract does not name is none.
    assert!(reason.is_empty() || Reason::from_str_name(&format!("REASON_{reason}")).is_some(), "{reason}");
    (status.code(), reason)
}

/// Fields that a status says are at fault.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

/// How long a status says to wait.
pub(crate) fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// A query of all keys of all time; tests change what they mean otherwise.
pub(crate) fn query(stream: &str, stat: &str) -> StatQuery {
    StatQuery { stream: stream.into(), stat: stat.into(), ..StatQuery::default() }
}

pub(crate) async fn get(stats: &mut Stats, query: StatQuery, at_least: &str) -> Result<StatResult, Status> {
    let request = GetStatsRequest { queries: vec![query], at_least: at_least.into() };
    let mut answer = stats.get_stats(with_deadline(request, DEADLINE)).await?.into_inner();
    assert_eq!(answer.results.len(), 1);
    Ok(answer.results.remove(0))
}

/// Keys and figures of a result.
pub(crate) fn figures(result: &StatResult) -> Vec<(&str, i64)> {
    result.values.iter().map(|value| (value.key.as_str(), value.value)).collect()
}

/// A query of everything that a stream has stored.
pub(crate) fn all_of(stream: &str) -> QueryHistoryRequest {
    QueryHistoryRequest {
        stream: stream.into(),
        start_time: Some(timestamp(0)),
        page_size: 1000,
        ..QueryHistoryRequest::default()
    }
}

pub(crate) async fn history(stats: &mut Stats, request: QueryHistoryRequest) -> Result<QueryHistoryResponse, Status> {
    Ok(stats.query_history(with_deadline(request, DEADLINE)).await?.into_inner())
}

/// What became of the records with an event's id, once what the token stands for is stored; all on one page.
pub(crate) async fn explained(stats: &mut Stats, stream: &str, id: &str, at_least: &str) -> Vec<ExplainedRecord> {
    let (stream, id, at_least) = (stream.into(), id.into(), at_least.into());
    let request = ExplainVerdictRequest { stream, id, at_least, ..ExplainVerdictRequest::default() };
    let answer = stats.explain_verdict(with_deadline(request, DEADLINE)).await.unwrap().into_inner();
    assert_eq!(answer.next_page_token, "");
    answer.records
}

/// The page events of an answer.
pub(crate) fn stored_pages(answer: &QueryHistoryResponse) -> Vec<PageEvent> {
    let value = |event: &Option<Any>| event.as_ref().expect("a stored event has its event").value.clone();
    answer.events.iter().map(|stored| PageEvent::decode(value(&stored.event).as_slice()).unwrap()).collect()
}
