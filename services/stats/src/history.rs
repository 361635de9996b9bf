//! Reading stored events.

use headwater_contracts::StreamContract;
use headwater_contracts::v1::stats::{
    FlaggedBy, QueryHistoryRequest, QueryHistoryResponse, StoredEvent, VerdictFilter as ProtoFilter,
};
use headwater_domain::{Reason, Verdict};
use headwater_history::{HistoryQuery, HistoryRow, VerdictFilter};
use headwater_serving::page;
use headwater_serving::problem::Problem;
use prost_types::{Any, Timestamp};

use crate::figures::timestamp;
use crate::query::stream as stream_of;
use crate::service::Shared;
use crate::watch::history_problem;

impl Shared {
    pub(crate) async fn query_history(&self, asked: QueryHistoryRequest) -> Result<QueryHistoryResponse, Problem> {
        let stream = stream_of(&self.contracts, &asked.stream)?;
        let Some(start) = &asked.start_time else {
            return Err(Problem::invalid_request("start_time", "required", "give the moment to begin at"));
        };
        let start_us = micros("start_time", start)?;
        let end_us = asked.end_time.as_ref().map(|end| micros("end_time", end)).transpose()?;
        if end_us.is_some_and(|end_us| end_us < start_us) {
            return Err(Problem::invalid_request("end_time", "headwater.order", "it is before start_time"));
        }
        let verdict = match ProtoFilter::try_from(asked.verdict) {
            Ok(ProtoFilter::Unspecified) => VerdictFilter::All,
            Ok(ProtoFilter::Counted) => VerdictFilter::Counted,
            Ok(ProtoFilter::Flagged) => VerdictFilter::Flagged,
            Err(_) => return Err(Problem::invalid_request("verdict", "enum.defined_only", "no such filter")),
        };
        let limit = page::size(asked.page_size)?;
        let identity =
            format!("QueryHistory {} {start_us} {end_us:?} {verdict:?} {:?} {:?}", asked.stream, asked.key, asked.id);
        let after = page::after(&identity, &asked.page_token)?.map(|last| place(&last)).transpose()?;
        let given = |text: String| (!text.is_empty()).then_some(text);
        let query =
            HistoryQuery { start_us, end_us, key: given(asked.key), id: given(asked.id), verdict, after, limit };
        let found = self.history.query(&stream.schema, &query).await.map_err(|error| history_problem(&error))?;
        let next_page_token = match found.rows.last() {
            Some(last) if found.more => {
                let schema = &stream.schema;
                let (time_us, id) = (schema.time_us_of(&last.row.event), schema.id_of(&last.row.event));
                page::token(&identity, &format!("{time_us} {id}"))
            }
            _ => String::new(),
        };
        let events = found.rows.into_iter().map(|row| event(&stream, row)).collect::<Result<_, _>>()?;
        Ok(QueryHistoryResponse { events, next_page_token })
    }
}

fn event(stream: &StreamContract, row: HistoryRow) -> Result<StoredEvent, Problem> {
    let value = stream.encode(&row.row.event).map_err(|problem| {
        Problem::new(Reason::Internal, format!("a stored event does not fit the contract any more: {problem}"))
    })?;
    let flagged_by = match row.row.verdict {
        Verdict::Counted => None,
        Verdict::Flagged { rule, version, count } => Some(FlaggedBy { rule, version, count }),
    };
    Ok(StoredEvent {
        event: Some(Any { type_url: stream.type_url(), value }),
        partition: row.partition,
        offset: row.row.offset,
        appended_at: Some(timestamp(row.row.appended_ms)),
        flagged_by,
    })
}

fn place(last: &str) -> Result<(i64, String), Problem> {
    let parsed = last.split_once(' ').and_then(|(time_us, id)| Some((time_us.parse().ok()?, id.to_owned())));
    parsed.ok_or_else(|| Problem::new(Reason::InvalidPageToken, "the page token is not one of this method"))
}

pub(crate) fn micros(field: &str, time: &Timestamp) -> Result<i64, Problem> {
    let us = time.seconds.checked_mul(1_000_000).and_then(|us| us.checked_add(i64::from(time.nanos / 1000)));
    us.filter(|_| (0..1_000_000_000).contains(&time.nanos))
        .ok_or_else(|| Problem::invalid_request(field, "timestamp.range", "not a moment that a timestamp can hold"))
}
