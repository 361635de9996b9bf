//! RebuildService: asking for statistics to be built anew, and how far that has come. The processors do the work.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::Stream;
use headwater_contracts::v1::rebuild::rebuild_service_server::RebuildService;
use headwater_contracts::v1::rebuild::{
    CancelRebuildRequest, CancelRebuildResponse, ListRebuildsRequest, ListRebuildsResponse, Rebuild,
    RebuildState as ProtoState, StartRebuildRequest, StartRebuildResponse, WatchRebuildsRequest, WatchRebuildsResponse,
};
use headwater_contracts::{Contracts, StreamContract};
use headwater_domain::Reason;
use headwater_history::{BuildOutcome, GenerationRecord, GenerationState, History, HistoryQuery};
use headwater_live::{GenerationKey, LiveStatistics};
use headwater_serving::problem::Problem;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::figures::{live_problem, timestamp};
use crate::history::micros;
use crate::query::stream as stream_of;
use crate::watch::history_problem;

/// Longest request id, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// How often a watch looks.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// Longest silence of a watch.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Answers of a watch that wait for a slow caller.
const ANSWERS_MAX: usize = 1;
/// What `remaining` is at most.
const REMAINING_MAX_S: f64 = 366.0 * 86_400.0;

/// The service by which statistics are built anew.
#[derive(Clone)]
pub struct Rebuilds {
    shared: Arc<Shared>,
}

struct Shared {
    contracts: Arc<Contracts>,
    history: Arc<dyn History>,
    live: Arc<dyn LiveStatistics>,
    drain: CancellationToken,
}

impl Rebuilds {
    /// The service over these contracts and stores. Watches end with `drain`.
    pub fn new(
        contracts: Arc<Contracts>,
        history: Arc<dyn History>,
        live: Arc<dyn LiveStatistics>,
        drain: CancellationToken,
    ) -> Self {
        Self { shared: Arc::new(Shared { contracts, history, live, drain }) }
    }
}

#[tonic::async_trait]
impl RebuildService for Rebuilds {
    type WatchRebuildsStream = Pin<Box<dyn Stream<Item = Result<WatchRebuildsResponse, Status>> + Send>>;

    async fn start_rebuild(
        &self,
        request: Request<StartRebuildRequest>,
    ) -> Result<Response<StartRebuildResponse>, Status> {
        let rebuilds = self.shared.start(&request.into_inner()).await?;
        Ok(Response::new(StartRebuildResponse { rebuilds }))
    }

    async fn list_rebuilds(
        &self,
        request: Request<ListRebuildsRequest>,
    ) -> Result<Response<ListRebuildsResponse>, Status> {
        let name = request.into_inner().stream;
        let streams = match name.as_str() {
            "" => self.shared.streams(&[])?,
            name => vec![stream_of(&self.shared.contracts, name)?],
        };
        let mut rebuilds = Vec::new();
        for stream in streams {
            rebuilds.extend(self.shared.rebuilds(&stream).await?);
        }
        Ok(Response::new(ListRebuildsResponse { rebuilds }))
    }

    async fn watch_rebuilds(
        &self,
        request: Request<WatchRebuildsRequest>,
    ) -> Result<Response<Self::WatchRebuildsStream>, Status> {
        let request_id = request.into_inner().request_id;
        let shared = Arc::clone(&self.shared);
        let watched = shared.watched(&request_id).await?;
        let (sender, receiver) = mpsc::channel(ANSWERS_MAX);
        tokio::spawn(async move {
            let drain = shared.drain.clone();
            tokio::select! {
                () = sender.closed() => {}
                () = drain.cancelled() => {
                    let problem = Problem::new(Reason::NotReady, "the service is draining; watch again, at another replica");
                    let _ = sender.try_send(Err(problem.into()));
                }
                () = shared.tell(&watched, &sender) => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn cancel_rebuild(
        &self,
        request: Request<CancelRebuildRequest>,
    ) -> Result<Response<CancelRebuildResponse>, Status> {
        let asked = request.into_inner();
        let stream = stream_of(&self.shared.contracts, &asked.stream)?;
        let rebuild = self.shared.cancel(&stream, asked.generation).await?;
        Ok(Response::new(CancelRebuildResponse { rebuild: Some(rebuild) }))
    }
}

/// Stream and generation.
type Which = (String, i64);

impl Shared {
    async fn start(&self, asked: &StartRebuildRequest) -> Result<Vec<Rebuild>, Problem> {
        if asked.request_id.len() > REQUEST_ID_BYTES_MAX || asked.request_id.contains(char::is_control) {
            let what = format!("give at most {REQUEST_ID_BYTES_MAX} bytes, without control characters");
            return Err(Problem::invalid_request("request_id", "string.max_bytes", &what));
        }
        let range = range_us(asked)?;
        let mut streams = Vec::new();
        for stream in self.streams(&asked.streams)? {
            let Some((start_us, end_us)) = range else {
                streams.push(stream);
                continue;
            };
            let query = HistoryQuery { start_us, end_us, limit: 1, ..HistoryQuery::default() };
            let found = self.history.query(&stream.schema, &query).await.map_err(|error| history_problem(&error))?;
            if !found.rows.is_empty() {
                streams.push(stream);
            }
        }
        let request_id =
            if asked.request_id.is_empty() { uuid::Uuid::now_v7().to_string() } else { asked.request_id.clone() };
        // All or none, but for what others begin at the same moment.
        for stream in &streams {
            self.may_begin(stream, &request_id, asked.without_dropped).await?;
        }
        let mut rebuilds = Vec::with_capacity(streams.len());
        for stream in &streams {
            let outcome = self.history.build_generation(&stream.schema, &request_id).await;
            match outcome.map_err(|error| history_problem(&error))? {
                BuildOutcome::Started(record) => rebuilds.push(self.rebuild(stream, record).await?),
                BuildOutcome::Busy(other) => return Err(busy(stream, &other)),
                BuildOutcome::NoneYet => return Err(none_yet(stream)),
            }
        }
        Ok(rebuilds)
    }

    async fn may_begin(&self, stream: &StreamContract, request_id: &str, without_dropped: bool) -> Result<(), Problem> {
        let generations = self.generations(stream).await?;
        if generations.iter().any(|record| record.request_id.as_deref() == Some(request_id)) {
            return Ok(());
        }
        if let Some(other) = generations.iter().find(|record| record.state == GenerationState::Building) {
            return Err(busy(stream, other));
        }
        if !generations.iter().any(|record| record.state == GenerationState::Current) {
            return Err(none_yet(stream));
        }
        let dropped = self.history.dropped_before_us(&stream.schema).await.map_err(|error| history_problem(&error))?;
        match dropped {
            Some(before_us) if !without_dropped => {
                let name = &stream.schema.name;
                let before = timestamp(before_us.div_euclid(1000)).to_string();
                let detail = format!(
                    "events of {name:?} before {before} are not stored any more: figures of all time would lose what \
                     they added; say without_dropped to build all the same"
                );
                let problem = Problem::new(Reason::EventsDropped, detail);
                Err(problem.with_metadata("stream", name).with_metadata("dropped_before", &before))
            }
            _ => Ok(()),
        }
    }

    /// The streams of these names, by name and once each; all where there are none.
    fn streams(&self, names: &[String]) -> Result<Vec<Arc<StreamContract>>, Problem> {
        let mut streams: Vec<Arc<StreamContract>> = match names {
            [] => self.contracts.streams().cloned().collect(),
            names => names.iter().map(|name| stream_of(&self.contracts, name)).collect::<Result<_, _>>()?,
        };
        streams.sort_by(|a, b| a.schema.name.cmp(&b.schema.name));
        streams.dedup_by(|a, b| a.schema.name == b.schema.name);
        Ok(streams)
    }

    async fn generations(&self, stream: &StreamContract) -> Result<Vec<GenerationRecord>, Problem> {
        self.history.generations(&stream.schema).await.map_err(|error| history_problem(&error))
    }

    /// Those that a request asked for: a generation that a contract made is none.
    async fn rebuilds(&self, stream: &StreamContract) -> Result<Vec<Rebuild>, Problem> {
        let mut rebuilds = Vec::new();
        for record in self.generations(stream).await? {
            if record.request_id.is_some() {
                rebuilds.push(self.rebuild(stream, record).await?);
            }
        }
        Ok(rebuilds)
    }

    async fn rebuild(&self, stream: &StreamContract, record: GenerationRecord) -> Result<Rebuild, Problem> {
        let state = match record.state {
            GenerationState::Building => ProtoState::Building,
            GenerationState::Current | GenerationState::Replaced => ProtoState::Done,
            GenerationState::Cancelled => ProtoState::Cancelled,
        };
        let (mut records, mut records_done) = (0, 0);
        let mut remaining = None;
        if matches!(record.state, GenerationState::Building | GenerationState::Current) {
            let key = GenerationKey {
                stream: stream.schema.name.clone(),
                generation: record.generation.number,
                shards: record.generation.shards,
            };
            let progress = self.history.progress(&stream.schema).await.map_err(|error| history_problem(&error))?;
            let applied = self.live.applied(&key).await.map_err(|error| live_problem(&error))?;
            for place in progress {
                let done = applied.get(&place.partition).map_or(0, |offset| offset - place.start);
                let all = place.next - place.start;
                records += all;
                records_done += done.clamp(0, all);
            }
            if state == ProtoState::Building {
                remaining = remaining_s(now_ms() - record.made_ms, records_done, records);
            }
        }
        Ok(Rebuild {
            stream: stream.schema.name.clone(),
            generation: record.generation.number,
            state: state.into(),
            request_id: record.request_id.unwrap_or_default(),
            started_at: Some(timestamp(record.made_ms)),
            records_done,
            records,
            remaining: remaining.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        })
    }

    /// What a watch is about.
    async fn watched(&self, request_id: &str) -> Result<Vec<Which>, Problem> {
        let mut watched = Vec::new();
        for stream in self.streams(&[])? {
            for record in self.generations(&stream).await? {
                let is_asked_for = match request_id {
                    "" => record.state == GenerationState::Building,
                    id => record.request_id.as_deref() == Some(id),
                };
                if is_asked_for {
                    watched.push((stream.schema.name.clone(), record.generation.number));
                }
            }
        }
        Ok(watched)
    }

    /// Tells until nothing of what is watched is being built.
    async fn tell(&self, watched: &[Which], sender: &mpsc::Sender<Result<WatchRebuildsResponse, Status>>) {
        let mut told: Option<(Vec<Rebuild>, Instant)> = None;
        loop {
            let rebuilds = match self.now(watched).await {
                Ok(rebuilds) => rebuilds,
                Err(problem) => {
                    let _ = sender.send(Err(problem.into())).await;
                    return;
                }
            };
            let is_over = rebuilds.iter().all(|rebuild| rebuild.state() != ProtoState::Building);
            let is_news = told.as_ref().is_none_or(|(last, at)| *last != rebuilds || at.elapsed() >= SILENCE_MAX);
            if is_news {
                if sender.send(Ok(WatchRebuildsResponse { rebuilds: rebuilds.clone() })).await.is_err() {
                    return;
                }
                told = Some((rebuilds, Instant::now()));
            }
            if is_over {
                return;
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }

    async fn now(&self, watched: &[Which]) -> Result<Vec<Rebuild>, Problem> {
        let mut generations: HashMap<&str, Vec<GenerationRecord>> = HashMap::new();
        let mut rebuilds = Vec::with_capacity(watched.len());
        for (name, number) in watched {
            let stream = stream_of(&self.contracts, name)?;
            if !generations.contains_key(name.as_str()) {
                generations.insert(name, self.generations(&stream).await?);
            }
            let record = generations[name.as_str()].iter().find(|record| record.generation.number == *number);
            if let Some(record) = record {
                rebuilds.push(self.rebuild(&stream, record.clone()).await?);
            }
        }
        Ok(rebuilds)
    }

    async fn cancel(&self, stream: &StreamContract, number: i64) -> Result<Rebuild, Problem> {
        let name = &stream.schema.name;
        let unknown = |what: String| {
            let problem = Problem::new(Reason::UnknownRebuild, format!("{name:?} has no {what}"));
            problem.with_metadata("stream", name).with_metadata("generation", number.to_string())
        };
        let building = |record: &&GenerationRecord| {
            record.state == GenerationState::Building && (number == 0 || record.generation.number == number)
        };
        let all = self.generations(stream).await?;
        let Some(record) = all.iter().find(building) else {
            return Err(unknown(match number {
                0 => "generation that is being built".into(),
                number => format!("generation {number} that is being built"),
            }));
        };
        let number = record.generation.number;
        let cancelled = self.history.cancel_generation(&stream.schema, number).await;
        if !cancelled.map_err(|error| history_problem(&error))? {
            return Err(unknown(format!("generation {number} that is being built any more: it is done")));
        }
        self.rebuild(stream, GenerationRecord { state: GenerationState::Cancelled, ..record.clone() }).await
    }
}

fn range_us(asked: &StartRebuildRequest) -> Result<Option<(i64, Option<i64>)>, Problem> {
    let start_us = asked.start_time.as_ref().map(|time| micros("start_time", time)).transpose()?;
    let end_us = asked.end_time.as_ref().map(|time| micros("end_time", time)).transpose()?;
    match (start_us, end_us) {
        (None, None) => Ok(None),
        (Some(start_us), Some(end_us)) if end_us <= start_us => {
            Err(Problem::invalid_request("end_time", "headwater.order", "it is not after start_time"))
        }
        (start_us, end_us) => Ok(Some((start_us.unwrap_or(i64::MIN), end_us))),
    }
}

fn busy(stream: &StreamContract, other: &GenerationRecord) -> Problem {
    let (name, number) = (&stream.schema.name, other.generation.number);
    let request_id = other.request_id.as_deref().unwrap_or_default();
    let detail = format!(
        "generation {number} of {name:?} is being built already, for the request {request_id:?}; wait for it, or cancel it"
    );
    let problem = Problem::new(Reason::RebuildRunning, detail);
    problem.with_metadata("stream", name).with_metadata("generation", number.to_string())
}

fn none_yet(stream: &StreamContract) -> Problem {
    let name = &stream.schema.name;
    Problem::new(Reason::NotReady, format!("no processor has begun on the stream {name:?} yet; try again"))
}

/// Whole seconds until the rest is done, at the pace so far; none where that says nothing, or nothing is left.
fn remaining_s(elapsed_ms: i64, done: i64, all: i64) -> Option<i64> {
    if done <= 0 || elapsed_ms <= 0 || done >= all {
        return None;
    }
    let seconds = (all - done) as f64 * elapsed_ms as f64 / done as f64 / 1000.0;
    Some(seconds.ceil().min(REMAINING_MAX_S) as i64)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_told_by_the_pace_so_far() {
        assert_eq!(remaining_s(2000, 100, 400), Some(6));
        assert_eq!(remaining_s(1000, 1, 3), Some(2));
        assert_eq!(remaining_s(1000, 0, 3), None, "no pace yet");
        assert_eq!(remaining_s(-5, 1, 3), None, "clocks differ");
        assert_eq!(remaining_s(1000, 3, 3), None, "nothing is left");
        assert_eq!(remaining_s(i64::MAX, 1, i64::MAX), Some(REMAINING_MAX_S as i64));
    }
}
