//! SubscribeStats: figures now, and whenever they change.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use headwater_contracts::v1::stats::{StatResult, SubscribeStatsResponse};
use headwater_domain::Reason;
use headwater_serving::problem::Problem;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::query::Query;
use crate::service::Shared;

const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// Longest silence: a caller that hears nothing for longer knows that something is wrong.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Answers that wait for a slow caller; with one more under way it gets no newer ones until it has read.
const ANSWERS_MAX: usize = 1;

/// The answers of one SubscribeStats.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<SubscribeStatsResponse, Status>> + Send>>;

/// The interval that was asked for.
pub(crate) fn interval(asked: Option<&prost_types::Duration>) -> Result<Duration, Problem> {
    let Some(asked) = asked else { return Ok(INTERVAL_DEFAULT) };
    match crate::query::duration(asked) {
        Some(interval) if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) => Ok(interval),
        _ => Err(Problem::invalid_request("min_interval", "duration.range", "give 100 ms to 60 s, or nothing for 1 s")),
    }
}

pub(crate) fn answers(
    shared: Arc<Shared>,
    queries: Vec<Query>,
    interval: Duration,
    permit: OwnedSemaphorePermit,
) -> Answers {
    let (sender, receiver) = mpsc::channel(ANSWERS_MAX);
    tokio::spawn(async move {
        let _permit = permit;
        let drain = shared.drain.clone();
        tokio::select! {
            () = sender.closed() => {}
            () = drain.cancelled() => {
                let problem = Problem::new(Reason::NotReady, "the service is draining; subscribe again, to another replica");
                let _ = sender.try_send(Err(problem.into()));
            }
            () = send_changes(&shared, &queries, interval, &sender) => {}
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

async fn send_changes(
    shared: &Shared,
    queries: &[Query],
    interval: Duration,
    sender: &mpsc::Sender<Result<SubscribeStatsResponse, Status>>,
) {
    let mut last: Option<(Vec<StatResult>, Instant)> = None;
    loop {
        let begun = Instant::now();
        match shared.results(queries).await {
            Ok(results) => {
                let due = last.as_ref().is_none_or(|(last, at)| at.elapsed() >= SILENCE_MAX || differ(last, &results));
                if due {
                    if sender.send(Ok(SubscribeStatsResponse { results: results.clone() })).await.is_err() {
                        return;
                    }
                    last = Some((results, begun));
                }
            }
            Err(problem) => {
                let _ = sender.send(Err(problem.into())).await;
                return;
            }
        }
        // Silence is bounded even where the interval is longer.
        tokio::time::sleep_until((begun + interval.min(SILENCE_MAX)).into()).await;
    }
}

/// Whether anything but the moment changed.
fn differ(before: &[StatResult], now: &[StatResult]) -> bool {
    before.iter().zip(now).any(|(before, now)| {
        before.values != now.values
            || before.key_count != now.key_count
            || before.complete != now.complete
            || before.generation != now.generation
    })
}
