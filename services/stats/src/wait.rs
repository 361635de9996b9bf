//! Waiting until what a token stands for can be read.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use headwater_domain::{ConsistencyToken, Reason, StreamSchema};
use headwater_history::PartitionProgress;
use headwater_serving::problem::Problem;

use crate::figures::live_problem;
use crate::query::stream as stream_of;
use crate::service::Shared;
use crate::watch::history_problem;

/// How long it waits between two looks whether a token is visible: at first, and at most.
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(100);
/// What is left of a deadline for the answer itself: a tenth of it, within these bounds.
const ANSWER_TIME_MIN: Duration = Duration::from_millis(20);
const ANSWER_TIME_MAX: Duration = Duration::from_millis(500);

impl Shared {
    /// Waits until what the token stands for is counted.
    pub(crate) async fn wait_counted(&self, token: &ConsistencyToken, deadline: Instant) -> Result<(), Problem> {
        let stream = &stream_of(&self.contracts, &token.stream)?;
        let look = || async {
            let generation = self.watch.generation(stream).await?;
            let applied = self.live.applied(&generation).await.map_err(|error| live_problem(&error))?;
            Ok(self.watch.in_log(&token.stream, applied))
        };
        wait(token, deadline, "counted", look).await
    }

    /// Waits until what the token, which is of the stream, stands for is stored.
    pub(crate) async fn wait_stored(
        &self,
        schema: &StreamSchema,
        token: &ConsistencyToken,
        deadline: Instant,
    ) -> Result<(), Problem> {
        let look = || async {
            let progress = self.history.progress(schema).await.map_err(|error| history_problem(&error))?;
            let next = |of: PartitionProgress| (of.partition, of.next);
            Ok(self.watch.in_log(&schema.name, progress.into_iter().map(next).collect()))
        };
        wait(token, deadline, "stored", look).await
    }
}

/// Looks until every partition has come as far as the token says.
async fn wait<F>(
    token: &ConsistencyToken,
    deadline: Instant,
    done: &str,
    mut look: impl FnMut() -> F,
) -> Result<(), Problem>
where
    F: Future<Output = Result<BTreeMap<i32, i64>, Problem>>,
{
    let left = deadline.saturating_duration_since(Instant::now());
    let deadline = deadline - (left / 10).clamp(ANSWER_TIME_MIN, ANSWER_TIME_MAX);
    let mut pause = LOOK_MIN;
    loop {
        let reached = look().await?;
        let missing: Vec<String> = token
            .next
            .iter()
            .filter(|(partition, next)| reached.get(partition).is_none_or(|reached| reached < next))
            .map(|(partition, next)| {
                let at = reached.get(partition).map_or_else(|| "nothing".to_owned(), |at| format!("offset {at}"));
                format!("partition {partition} is at {at} of {next}")
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() + pause >= deadline {
            let detail = format!("not yet {done} before the deadline: {}", missing.join(", "));
            return Err(Problem::new(Reason::NotYetVisible, detail));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_MAX);
    }
}
