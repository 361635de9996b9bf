//! Reading the figures of a query.

use futures::{StreamExt, TryStreamExt, stream};
use headwater_contracts::v1::stats::{StatKind as ProtoKind, StatResult, StatValue};
use headwater_domain::{Reason, StatKind, format_units};
use headwater_history::AllTimeQuery;
use headwater_live::{Figure, LiveError, ReadRequest};
use headwater_serving::page;
use headwater_serving::problem::Problem;
use prost_types::Timestamp;
use tracing::warn;

use crate::query::Query;
use crate::service::Shared;
use crate::watch::history_problem;

/// Queries of one request that are read at a time.
const CONCURRENCY: usize = 8;

impl Shared {
    /// The results of queries, in order, all at one moment.
    pub(crate) async fn results(&self, queries: &[Query]) -> Result<Vec<StatResult>, Problem> {
        let as_of_ms = self.watch.now_ms();
        let read = queries.iter().cloned().map(|query| async move { self.result(&query, as_of_ms).await });
        let read: Vec<_> = read.collect();
        stream::iter(read).buffered(CONCURRENCY).try_collect().await
    }

    async fn result(&self, query: &Query, as_of_ms: i64) -> Result<StatResult, Problem> {
        let schema = &query.stream.schema;
        let generation = self.watch.generation(&query.stream).await?;
        let kind = query.kind();
        let all_time_distinct = matches!((kind, query.window), (StatKind::Distinct { .. }, None));
        let (entries, key_count, complete) = if all_time_distinct {
            let (entries, key_count) = self.all_time_distinct(query).await?;
            (entries, key_count, true)
        } else {
            let request = ReadRequest {
                stat: query.stat,
                kind,
                key: query.key.clone(),
                window: query.window,
                as_of_ms,
                skip: query.skip,
                limit: query.limit,
            };
            let figures = self.live.read(&generation, &request).await.map_err(|error| live_problem(&error))?;
            let complete = self.watch.complete(&generation, &figures.applied);
            (figures.entries, figures.key_count, complete)
        };
        let scale = kind.scale();
        let end = query.skip + entries.len();
        let more = query.key.is_none() && (end as u64) < key_count;
        let start_ms = query.window.map(|window| match kind {
            StatKind::Distinct { .. } => window.start_ms(as_of_ms),
            StatKind::Top { .. } | StatKind::Sum { .. } => window.minute_start_ms(as_of_ms),
        });
        Ok(StatResult {
            stream: schema.name.clone(),
            stat: schema.stats[query.stat].name.clone(),
            kind: proto_kind(kind).into(),
            scale,
            values: entries.into_iter().map(|(key, figure)| value(key, figure, scale)).collect(),
            as_of: Some(timestamp(as_of_ms)),
            window_start: start_ms.map(timestamp),
            lag: prost_types::Duration::try_from(self.watch.lag(&schema.name)).ok(),
            generation: generation.generation,
            complete,
            key_count,
            next_page_token: if more { page::token(&query.identity, &end.to_string()) } else { String::new() },
        })
    }

    async fn all_time_distinct(&self, query: &Query) -> Result<(Vec<(String, Figure)>, u64), Problem> {
        let kind = query.kind();
        let asked = AllTimeQuery {
            field: kind.field(),
            by: kind.by(),
            key: query.key.clone(),
            skip: query.skip,
            limit: query.limit,
        };
        let answer = self.history.all_time_distinct(&query.stream.schema, &asked).await;
        let (mut entries, key_count) = answer.map_err(|error| history_problem(&error))?;
        if let (Some(key), true) = (&query.key, entries.is_empty()) {
            entries.push((key.clone(), 0));
        }
        let figure = |count: u64| i64::try_from(count).map_or(Figure::Overflowed, Figure::Units);
        Ok((entries.into_iter().map(|(key, count)| (key, figure(count))).collect(), key_count))
    }
}

/// How a kind is called in the contract.
pub(crate) fn proto_kind(kind: StatKind) -> ProtoKind {
    match kind {
        StatKind::Distinct { .. } => ProtoKind::Distinct,
        StatKind::Top { .. } => ProtoKind::Top,
        StatKind::Sum { .. } => ProtoKind::Sum,
    }
}

/// A moment in the contract's form.
pub(crate) fn timestamp(ms: i64) -> Timestamp {
    Timestamp { seconds: ms.div_euclid(1000), nanos: (ms.rem_euclid(1000) * 1_000_000) as i32 }
}

/// The same of microseconds.
pub(crate) fn timestamp_of_us(us: i64) -> Timestamp {
    Timestamp { seconds: us.div_euclid(1_000_000), nanos: (us.rem_euclid(1_000_000) * 1000) as i32 }
}

fn value(key: String, figure: Figure, scale: u32) -> StatValue {
    match figure {
        Figure::Units(units) => StatValue { key, value: units, text: format_units(units, scale), overflowed: false },
        Figure::Overflowed => StatValue { key, value: 0, text: "overflowed".into(), overflowed: true },
    }
}

pub(crate) fn live_problem(error: &LiveError) -> Problem {
    warn!(%error, "live statistics");
    match error {
        LiveError::Unavailable(_) => {
            Problem::new(Reason::LiveUnavailable, "the live statistics are away; try again after the delay")
        }
        LiveError::Unsuitable(_) | LiveError::Refused(_) => {
            Problem::new(Reason::Internal, "the live statistics refused; the log of the service says why")
        }
    }
}
