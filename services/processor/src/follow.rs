//! Keeps live statistics of one partition at what the history has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_contracts::StreamContract;
use headwater_domain::{LiveBatch, RuleCounts, StoredEvent, judge};
use headwater_history::{HistoryError, PartitionProgress};
use headwater_live::{ApplyOutcome, GenerationKey, LiveError};
use headwater_planted::{self as planted, Bug};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};

use crate::assignment::Shared;
use crate::batch::live_batch;
use crate::generations::{FilledNow, is_wanted};

/// How often an idle partition looks whether live statistics lost something.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Batches that a replay reads from the history at a time.
const REPLAY_BATCHES_MAX: usize = 32;
/// Offsets in a batch that is made of rows: few enough that no read looks through the table, and sorts it, to find the
/// first of many.
const BRIDGE_OFFSETS_MAX: i64 = 5000;
/// Replays that one call tries before it leaves the rest to the next check.
const REPLAYS_MAX: usize = 8;

/// A batch that the history has.
#[derive(Debug)]
pub(crate) struct CommittedBatch {
    pub(crate) first: i64,
    pub(crate) next: i64,
    pub(crate) is_start: bool,
    pub(crate) stored: Vec<StoredEvent>,
}

/// Keeps every generation that is filled at what the history has, of one partition.
struct Followers {
    shared: Arc<Shared>,
    stream: Arc<StreamContract>,
    partition: i32,
    /// The generations that are filled.
    filled: Arc<FilledNow>,
    /// Where the partition's batches come from: each follower has a receiver of its own, and what it misses it replays.
    batches: broadcast::Receiver<Arc<CommittedBatch>>,
    /// The offset that the history has. Closed when the partition is somebody else's.
    committed: watch::Receiver<Option<i64>>,
}

/// The followers of a partition, at work for as long as this is held, also where the work on the partition has stopped:
/// what live statistics lose is mended, and a new generation built, of what the history has.
pub(crate) struct Following {
    /// Batches for live statistics, lossy: what a slow follower misses is replayed from the history.
    pub(crate) batches: broadcast::Sender<Arc<CommittedBatch>>,
    /// The offset that the history has.
    pub(crate) committed: watch::Sender<Option<i64>>,
    task: AbortOnDropHandle<()>,
}

impl Following {
    /// Follows a partition of which the history has everything before `next`.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        stream: &Arc<StreamContract>,
        partition: i32,
        filled: Arc<FilledNow>,
        next: Option<i64>,
    ) -> Self {
        let (batches, batch_queue) = broadcast::channel(shared.options.live_queue_max.max(1));
        let (committed, committed_seen) = watch::channel(next);
        let followers = Followers {
            shared: Arc::clone(shared),
            stream: Arc::clone(stream),
            partition,
            filled,
            batches: batch_queue,
            committed: committed_seen,
        };
        // Beside the work and not within it: while live statistics are away, what stops the work is still told.
        Self { batches, committed, task: AbortOnDropHandle::new(tokio::spawn(followers.run())) }
    }

    /// Follows no further than what is on its way, for as long as what is returned is held.
    pub(crate) fn end(self) -> AbortOnDropHandle<()> {
        self.task
    }
}

/// Keeps one generation at what the history has, of one partition.
struct Follower {
    shared: Arc<Shared>,
    stream: Arc<StreamContract>,
    partition: i32,
    generation: GenerationKey,
}

/// What stops a replay.
enum ReplayStop {
    History(HistoryError),
    Live(LiveError),
    /// Nobody wants the generation any more.
    Unwanted,
}

impl Followers {
    /// Follows until the work on the partition is over; what was on its way is then applied.
    async fn run(mut self) {
        let mut running: BTreeMap<GenerationKey, AbortOnDropHandle<()>> = BTreeMap::new();
        loop {
            let change = self.filled.change();
            let wanted = self.filled.of(&self.stream.schema.name);
            running.retain(|generation, _| wanted.contains(generation));
            for generation in wanted {
                running.entry(generation.clone()).or_insert_with(|| {
                    let follower = Follower {
                        shared: Arc::clone(&self.shared),
                        stream: Arc::clone(&self.stream),
                        partition: self.partition,
                        generation,
                    };
                    let run = follower.run(self.batches.resubscribe(), self.committed.clone());
                    AbortOnDropHandle::new(tokio::spawn(run))
                });
            }
            tokio::select! {
                biased;
                () = closed(&mut self.committed) => break,
                () = change => {}
            }
        }
        for (_, follower) in running {
            // A panic of its own is in the log.
            let _ = follower.await;
        }
    }
}

fn now(committed: &watch::Receiver<Option<i64>>) -> Option<i64> {
    *committed.borrow()
}

async fn closed(committed: &mut watch::Receiver<Option<i64>>) {
    while committed.changed().await.is_ok() {}
}

impl Follower {
    /// Applies batches as they come, and replays what live statistics miss. Ends when the sender is gone.
    async fn run(self, mut batches: broadcast::Receiver<Arc<CommittedBatch>>, committed: watch::Receiver<Option<i64>>) {
        self.check(now(&committed)).await;
        loop {
            // What is committed while it waits is on its way to it: only what was before that can be missing.
            let wanted = now(&committed);
            tokio::select! {
                biased;
                batch = batches.recv() => match batch {
                    Ok(batch) => self.take(&batch).await,
                    Err(RecvError::Lagged(_)) => self.check(now(&committed)).await,
                    Err(RecvError::Closed) => return,
                },
                () = tokio::time::sleep(CHECK_EVERY) => self.check(wanted).await,
            }
        }
    }

    async fn take(&self, batch: &CommittedBatch) {
        let range = (batch.first, batch.next);
        let live = self.live_batch(range, batch.is_start, &batch.stored);
        // What cannot be applied now is in the history: the next check finds it missing and replays it.
        match self.shared.live(|| self.shared.outside.live.apply(&self.generation, &live)).await {
            Ok(ApplyOutcome::Applied) => {}
            Ok(ApplyOutcome::Gap { next }) => self.mend(next).await,
            Err(error) => self.refused(&error),
        }
    }

    async fn check(&self, wanted: Option<i64>) {
        let Some(wanted) = wanted else { return };
        match self.shared.live(|| self.shared.outside.live.applied(&self.generation)).await {
            Ok(applied) => {
                let applied = applied.get(&self.partition).copied();
                if applied.is_none_or(|applied| applied < wanted) {
                    self.mend(applied).await;
                }
            }
            Err(error) => self.refused(&error),
        }
    }

    /// Replays from an offset, or from the beginning, until nothing is missing.
    async fn mend(&self, mut from: Option<i64>) {
        for _ in 0..REPLAYS_MAX {
            match self.replay(from).await {
                Ok(ApplyOutcome::Applied) => return,
                Ok(ApplyOutcome::Gap { next }) => from = next,
                Err(ReplayStop::Live(error)) => return self.refused(&error),
                Err(ReplayStop::History(error)) => {
                    error!(stream = self.stream.schema.name, partition = self.partition, %error, "cannot replay");
                    return;
                }
                // The process is about to notice, and this follower to end.
                Err(ReplayStop::Unwanted) => return,
            }
        }
    }

    async fn replay(&self, mut from: Option<i64>) -> Result<ApplyOutcome, ReplayStop> {
        let schema = &self.stream.schema;
        // What has nothing may have been removed, while this process slept: then it must not come back.
        if from.is_none() {
            let history = self.shared.outside.history.as_ref();
            let wanted = self.shared.history(|| is_wanted(history, &self.stream, &self.generation)).await;
            if !wanted.map_err(ReplayStop::History)? {
                return Err(ReplayStop::Unwanted);
            }
        }
        // Shards that have nothing, or one alone, take any cut of the offsets: many batches at once are the quicker way.
        // Of several, one may stand in the middle of such a cut, so that they get the batches as they were.
        if from.is_none() || self.generation.shards == 1 {
            let Some(stored) = self.stored().await? else { return Ok(ApplyOutcome::Applied) };
            if let gap @ ApplyOutcome::Gap { .. } =
                self.bridge(from.unwrap_or(stored.start), from.is_none(), stored.next).await?
            {
                return Ok(gap);
            }
            from = Some(stored.next);
        }
        let mut replayed = 0;
        loop {
            let read = || self.shared.outside.history.batches(schema, self.partition, from, REPLAY_BATCHES_MAX);
            let batches = self.shared.history(read).await.map_err(ReplayStop::History)?;
            // The batch rows may not reach back so far.
            if let (Some(first), Some(from)) = (batches.first(), from)
                && first.first != from
                && let gap @ ApplyOutcome::Gap { .. } = self.bridge(from, false, first.first).await?
            {
                return Ok(gap);
            }
            if batches.is_empty() {
                if replayed > 0 {
                    info!(
                        stream = schema.name,
                        partition = self.partition,
                        batches = replayed,
                        "replayed to live statistics"
                    );
                    self.shared.metrics.replayed(&schema.name, replayed);
                }
                return Ok(ApplyOutcome::Applied);
            }
            for batch in batches {
                let live = self.replayed((batch.first, batch.next), batch.is_start, batch.stored);
                let apply = || self.shared.outside.live.apply(&self.generation, &live);
                match self.shared.live(apply).await.map_err(ReplayStop::Live)? {
                    ApplyOutcome::Applied => {}
                    gap @ ApplyOutcome::Gap { .. } => return Ok(gap),
                }
                replayed += 1;
                from = Some(batch.next);
            }
        }
    }

    /// Applies what lies from an offset on and before another in batches made of rows. A shard that has it skips it.
    async fn bridge(&self, mut first: i64, mut is_start: bool, before: i64) -> Result<ApplyOutcome, ReplayStop> {
        let schema = &self.stream.schema;
        if first < before {
            info!(stream = schema.name, partition = self.partition, first, before, "mending live statistics from rows");
        }
        while first < before {
            let next = before.min(first + BRIDGE_OFFSETS_MAX);
            let limit = usize::try_from(next - first).unwrap_or(usize::MAX);
            let read = || self.shared.outside.history.rows(schema, self.partition, first, next, limit);
            let stored = self.shared.history(read).await.map_err(ReplayStop::History)?;
            let live = self.replayed((first, next), is_start, stored);
            let apply = || self.shared.outside.live.apply(&self.generation, &live);
            if let gap @ ApplyOutcome::Gap { .. } = self.shared.live(apply).await.map_err(ReplayStop::Live)? {
                return Ok(gap);
            }
            (first, is_start) = (next, false);
        }
        Ok(ApplyOutcome::Applied)
    }

    /// How far the partition's events are stored; none where it has no batch. A log need not begin at 0.
    async fn stored(&self) -> Result<Option<PartitionProgress>, ReplayStop> {
        let read = || self.shared.outside.history.progress(&self.stream.schema);
        let progress = self.shared.history(read).await.map_err(ReplayStop::History)?;
        Ok(progress.into_iter().find(|place| place.partition == self.partition))
    }

    /// What a replay makes of stored events: their verdicts are those that are stored.
    fn replayed(&self, range: (i64, i64), is_start: bool, mut stored: Vec<StoredEvent>) -> LiveBatch {
        if planted::is(Bug::VerdictRecomputedOnReplay) {
            let mut counts = RuleCounts::new(None, self.shared.options.rule_spans_max);
            stored.iter_mut().for_each(|row| row.verdict = judge(&self.stream.schema, &mut counts, &row.event));
        }
        self.live_batch(range, is_start, &stored)
    }

    fn live_batch(&self, range: (i64, i64), is_start: bool, stored: &[StoredEvent]) -> LiveBatch {
        let window_max_ms = self.shared.options.window_max_ms;
        live_batch(&self.stream.schema, window_max_ms, self.partition, range, is_start, stored)
    }

    fn refused(&self, error: &LiveError) {
        error!(stream = self.stream.schema.name, partition = self.partition, %error, "live statistics");
    }
}
