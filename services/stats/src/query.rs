//! From what a caller asks to what can be read.

use std::sync::Arc;
use std::time::Duration;

use headwater_contracts::v1::stats::StatQuery;
use headwater_contracts::{Contracts, StreamContract};
use headwater_domain::{ConsistencyToken, Reason, StatKind, Window};
use headwater_serving::page;
use headwater_serving::problem::Problem;

/// Keys of an answer where the caller names no number.
const LIMIT_DEFAULT: usize = 5;
/// Keys of an answer at most.
const LIMIT_MAX: usize = 10_000;
/// Queries of a request at most.
const QUERIES_MAX: usize = 100;

/// A query that can be read.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) stream: Arc<StreamContract>,
    pub(crate) stat: usize,
    pub(crate) key: Option<String>,
    pub(crate) window: Option<Window>,
    pub(crate) limit: usize,
    pub(crate) skip: usize,
    /// What the page token of the next answer is bound to.
    pub(crate) identity: String,
}

impl Query {
    pub(crate) fn kind(&self) -> StatKind {
        self.stream.schema.stats[self.stat].kind
    }
}

/// The queries of a request.
pub(crate) fn queries(contracts: &Contracts, window_max_ms: i64, asked: &[StatQuery]) -> Result<Vec<Query>, Problem> {
    if asked.is_empty() || asked.len() > QUERIES_MAX {
        let description = format!("{} queries; give 1 to {QUERIES_MAX}", asked.len());
        return Err(Problem::invalid_request("queries", "repeated.items", description));
    }
    asked.iter().enumerate().map(|(i, asked)| query(contracts, window_max_ms, i, asked)).collect()
}

/// The stream of that name.
pub(crate) fn stream(contracts: &Contracts, name: &str) -> Result<Arc<StreamContract>, Problem> {
    contracts.stream(name).cloned().ok_or_else(|| {
        let names: Vec<&str> = contracts.streams().map(|stream| stream.schema.name.as_str()).collect();
        let detail = format!("there is no stream {name:?}; the streams are {}", names.join(", "));
        Problem::new(Reason::UnknownStream, detail).with_metadata("stream", name)
    })
}

/// What a token stands for; none where it is empty.
pub(crate) fn token(contracts: &Contracts, text: &str) -> Result<Option<ConsistencyToken>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let token = ConsistencyToken::decode(text).map_err(|error| {
        Problem::new(Reason::InvalidToken, error.to_string()).with_violation(
            "at_least",
            "headwater.consistency_token",
            "give the consistency_token of a Publish as it is",
        )
    })?;
    stream(contracts, &token.stream)?;
    Ok(Some(token))
}

/// A duration of the contract; none where it is negative or too great to be one.
pub(crate) fn duration(asked: &prost_types::Duration) -> Option<Duration> {
    Duration::try_from(*asked).ok()
}

fn query(contracts: &Contracts, window_max_ms: i64, i: usize, asked: &StatQuery) -> Result<Query, Problem> {
    let stream = stream(contracts, &asked.stream)?;
    let Some((stat, spec)) = stream.schema.stat(&asked.stat) else {
        let names: Vec<&str> = stream.schema.stats.iter().map(|stat| stat.name.as_str()).collect();
        let detail = format!(
            "the stream {:?} has no statistic {:?}; it has {}",
            asked.stream,
            asked.stat,
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        );
        return Err(Problem::new(Reason::UnknownStat, detail).with_metadata("stat", &asked.stat));
    };
    if !asked.by.is_empty() && spec.kind.by().is_none() {
        let description = format!("{} is one figure for the stream; leave `by` empty", asked.stat);
        return Err(Problem::invalid_request(format!("queries[{i}].by"), "headwater.by", description));
    }
    let limit = match asked.limit as usize {
        0 => LIMIT_DEFAULT,
        limit if limit <= LIMIT_MAX => limit,
        limit => {
            let description = format!("{limit} is more than {LIMIT_MAX}; read further keys by page_token");
            return Err(Problem::invalid_request(format!("queries[{i}].limit"), "uint32.lte", description));
        }
    };
    let window = asked.window.as_ref().map(|asked| window(i, asked, window_max_ms)).transpose()?;
    let window_text = asked.window.as_ref().map_or_else(|| "all".to_owned(), |w| format!("{}.{}", w.seconds, w.nanos));
    let identity = format!("GetStats {} {} {window_text} {}", asked.stream, asked.stat, asked.by);
    let skip = page::after(&identity, &asked.page_token)?
        .map(|skip| skip.parse().map_err(|_| Problem::new(Reason::InvalidPageToken, "the page token is not one")))
        .transpose()?
        .unwrap_or(0);
    let key = (!asked.by.is_empty()).then(|| asked.by.clone());
    Ok(Query { stream, stat, key, window, limit, skip, identity })
}

fn window(i: usize, asked: &prost_types::Duration, window_max_ms: i64) -> Result<Window, Problem> {
    let ms = duration(asked).map_or(-1, |length| i64::try_from(length.as_millis()).unwrap_or(i64::MAX));
    Window::new(ms, window_max_ms).map_err(|error| {
        Problem::new(Reason::InvalidWindow, format!("queries[{i}].window: {error} (stats.window_max_s)"))
            .with_violation(format!("queries[{i}].window"), "headwater.window", error.to_string())
    })
}
