//! Breaking one thing, and measuring how long it takes until everything is whole again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use headwater_testkit::CutAt;
use tokio::task::{JoinHandle, block_in_place};

use super::now_ms;
use super::plan::Fault;
use super::probe::{Probe, Probed, RECOVERY_MAX};
use super::stack::{PROCESSORS, Stack};
use crate::journal::Lines;
use crate::measures::Measure;

/// Pause before a fault, at most: so that it does not always hit the same moment.
const BEFORE_MS_MAX: u64 = 400;
/// How long the proxy may wait for an occasion: the load gives it several in a second.
const OCCASION_WITHIN: Duration = Duration::from_secs(20);
/// How long a processor is paused: the session of a group, 6 s, and some more.
const PAUSED_FOR: Duration = Duration::from_millis(7500);
/// Copies of Redis that are kept.
const COPIES_MAX: usize = 5;

/// Breaks things.
pub(super) struct Breaker {
    pub(super) stack: Stack,
    probe: Arc<Probe>,
    measures: Arc<Lines>,
    rng: Rng,
    copies: VecDeque<PathBuf>,
    copied: usize,
}

/// A fault that is under way.
struct Case {
    number: usize,
    fault: Fault,
    /// The first process of each role is left alone: its memory is judged.
    spares_first: bool,
}

impl Breaker {
    pub(super) fn new(stack: Stack, probe: Arc<Probe>, measures: Arc<Lines>, seed: u64) -> Self {
        let rng = Rng::with_seed(seed.wrapping_add(1));
        Self { stack, probe, measures, rng, copies: VecDeque::new(), copied: 0 }
    }

    /// Does one fault, and waits until everything is whole. False where it never was.
    pub(super) async fn one(&mut self, number: usize, fault: Fault, spares_first: bool) -> Result<bool> {
        self.copy_redis()?;
        tokio::time::sleep(Duration::from_millis(self.rng.u64(..BEFORE_MS_MAX))).await;
        let case = Case { number, fault, spares_first };
        let is_whole = match fault {
            Fault::ProcessorKilled => self.processor_killed(&case).await?,
            Fault::IngestKilled => self.ingest_killed(&case).await?,
            Fault::BrokerKilled => self.broker_killed(&case).await?,
            Fault::PostgresKilled => self.postgres_killed(&case, false).await?,
            Fault::PostgresKilledInCopy => self.postgres_killed(&case, true).await?,
            Fault::CutBeforeCommit => self.cut(&case, CutAt::BeforeCommit).await?,
            Fault::CutInCommit => self.cut(&case, CutAt::InCommit).await?,
            Fault::CutAfterCommit => self.cut(&case, CutAt::AfterCommit).await?,
            Fault::ProcessorPaused => self.processor_paused(&case, false).await?,
            Fault::ProcessorPausedInCopy => self.processor_paused(&case, true).await?,
            Fault::ReplicasChanged => self.replicas_changed(&case).await?,
            Fault::RedisEmptied => self.redis_emptied(&case).await?,
            Fault::RedisRolledBack => self.redis_rolled_back(&case).await?,
        };
        if let Some(ended) = self.stack.ended() {
            bail!("a process ended by itself: {ended}");
        }
        if is_whole {
            block_in_place(|| self.stack.settled())?;
        }
        Ok(is_whole)
    }

    /// Ends processors that were added.
    pub(super) fn as_many_as_at_first(&mut self) -> Result<()> {
        while self.stack.processors.len() > PROCESSORS {
            self.stack.processors.pop().context("there is one more")?.end()?;
        }
        Ok(())
    }

    async fn processor_killed(&mut self, case: &Case) -> Result<bool> {
        let at = self.victim(self.stack.processors.len(), case);
        let since = Instant::now();
        self.says(case, &self.stack.processors[at].name)?;
        block_in_place(|| self.stack.processors[at].kill())?;
        let probed = self.probe_since(since);
        let processor = &mut self.stack.processors[at];
        block_in_place(|| processor.restart().and_then(|()| processor.ready()))?;
        self.recovered(case, "the kill", probed.await?)
    }

    async fn ingest_killed(&mut self, case: &Case) -> Result<bool> {
        let at = self.victim(self.stack.ingests.len(), case);
        let since = Instant::now();
        self.says(case, &self.stack.ingests[at].name)?;
        block_in_place(|| self.stack.ingests[at].kill())?;
        let probed = self.probe_since(since);
        let ingest = &mut self.stack.ingests[at];
        block_in_place(|| ingest.restart().and_then(|()| ingest.ready()))?;
        self.recovered(case, "the kill", probed.await?)
    }

    async fn broker_killed(&mut self, case: &Case) -> Result<bool> {
        // Another one may still be behind: two at a time are more than the replicas stand.
        block_in_place(|| self.stack.in_sync())?;
        let at = self.rng.usize(..self.stack.kafka.brokers().len());
        let since = Instant::now();
        self.says(case, &format!("broker {}", at + 1))?;
        block_in_place(|| self.stack.kafka.brokers()[at].kill())?;
        let probed = self.probe_since(since).await?;
        let is_whole = self.recovered(case, "the kill", probed)?;
        block_in_place(|| self.stack.kafka.brokers()[at].restart())?;
        block_in_place(|| self.stack.in_sync())?;
        Ok(is_whole)
    }

    async fn postgres_killed(&mut self, case: &Case, in_copy: bool) -> Result<bool> {
        if in_copy {
            self.stack.proxy.arm(CutAt::InCopy).await;
            ensure!(self.stack.proxy.caught(OCCASION_WITHIN).await.is_some(), "no COPY to kill Postgres in");
        }
        self.says(case, if in_copy { "in a COPY" } else { "at any moment" })?;
        block_in_place(|| self.stack.postgres.kill())?;
        self.stack.proxy.let_go();
        block_in_place(|| self.stack.postgres.restart())?;
        let probed = self.probe_since(Instant::now()).await?;
        self.recovered(case, "the restart", probed)
    }

    async fn cut(&mut self, case: &Case, cut: CutAt) -> Result<bool> {
        self.stack.proxy.arm(cut).await;
        ensure!(self.stack.proxy.caught(OCCASION_WITHIN).await.is_some(), "no COMMIT to cut");
        let since = Instant::now();
        self.says(case, &format!("{cut:?}"))?;
        let probed = self.probe_since(since).await?;
        self.recovered(case, "the cut", probed)
    }

    async fn processor_paused(&mut self, case: &Case, in_copy: bool) -> Result<bool> {
        let at = if in_copy { self.in_copy().await? } else { self.victim(self.stack.processors.len(), case) };
        let since = Instant::now();
        self.says(case, &self.stack.processors[at].name)?;
        self.stack.processors[at].pause()?;
        let probed = self.probe_since(since).await?;
        let was_whole = self.recovered(case, "the pause", probed)?;
        tokio::time::sleep(PAUSED_FOR.saturating_sub(since.elapsed())).await;
        let since = Instant::now();
        self.stack.processors[at].resume()?;
        self.stack.proxy.let_go();
        let probed = self.probe_since(since).await?;
        Ok(self.recovered(case, "the end of the pause", probed)? && was_whole)
    }

    /// The processor that is in the middle of a COPY, which is held up there: its transaction is open.
    async fn in_copy(&self) -> Result<usize> {
        self.stack.proxy.arm(CutAt::InCopy).await;
        let port = self.stack.proxy.caught(OCCASION_WITHIN).await.context("no COPY to pause a processor in")?;
        let at = self.stack.processors.iter().position(|processor| processor.connects_from(port));
        at.context("the COPY is of no processor")
    }

    async fn replicas_changed(&mut self, case: &Case) -> Result<bool> {
        if self.stack.processors.len() > PROCESSORS {
            // The first stays: it is the one whose memory is judged.
            let at = self.rng.usize(1..self.stack.processors.len());
            let mut gone = self.stack.processors.remove(at);
            self.says(case, &format!("{} goes", gone.name))?;
            let since = Instant::now();
            let probed = self.probe_since(since);
            block_in_place(|| gone.end())?;
            return self.recovered(case, "its end was asked for", probed.await?);
        }
        self.says(case, "one comes")?;
        block_in_place(|| self.stack.add_processor())?;
        let probed = self.probe_since(Instant::now()).await?;
        self.recovered(case, "it was ready", probed)
    }

    async fn redis_emptied(&mut self, case: &Case) -> Result<bool> {
        self.says(case, "FLUSHALL")?;
        block_in_place(|| self.stack.redis.ask("FLUSHALL"))?;
        let probed = self.probe_since(Instant::now()).await?;
        self.recovered(case, "it was emptied", probed)
    }

    async fn redis_rolled_back(&mut self, case: &Case) -> Result<bool> {
        // Not the newest, which is of just now.
        let older = self.copies.len().saturating_sub(1).max(1);
        let copy = self.copies.get(self.rng.usize(..older)).context("there is no copy of Redis")?.clone();
        self.says(case, &format!("to {}", copy.display()))?;
        block_in_place(|| self.stack.redis.go_back_to(&copy))?;
        let probed = self.probe_since(Instant::now()).await?;
        self.recovered(case, "the restart", probed)
    }

    fn copy_redis(&mut self) -> Result<()> {
        self.copied += 1;
        let copy = self.stack.settings.folder.join(format!("redis-{}.rdb", self.copied));
        block_in_place(|| self.stack.redis.copy_to(&copy))?;
        self.copies.push_back(copy);
        if self.copies.len() > COPIES_MAX
            && let Some(oldest) = self.copies.pop_front()
        {
            std::fs::remove_file(oldest)?;
        }
        Ok(())
    }

    fn victim(&mut self, count: usize, case: &Case) -> usize {
        self.rng.usize(usize::from(case.spares_first)..count)
    }

    fn probe_since(&self, since: Instant) -> JoinHandle<Probed> {
        let probe = Arc::clone(&self.probe);
        tokio::spawn(async move { probe.run(since).await })
    }

    fn says(&self, case: &Case, detail: &str) -> Result<()> {
        let kind = case.fault.name();
        eprintln!("fault {}: {kind}: {detail}", case.number);
        let (number, kind) = (case.number, kind.to_owned());
        self.measures.add(&[Measure::Fault { number, kind, at_ms: now_ms(), detail: detail.to_owned() }])
    }

    fn recovered(&self, case: &Case, since: &str, probed: Probed) -> Result<bool> {
        let took_ms = probed.took.map(|took| took.as_millis() as u64);
        match took_ms {
            Some(took_ms) => eprintln!("fault {}: whole {took_ms} ms after {since}", case.number),
            None => eprintln!("fault {}: not whole since {since}: {}", case.number, probed.why),
        }
        self.measures.add(&[Measure::Recovery {
            number: case.number,
            kind: case.fault.name().to_owned(),
            since: since.to_owned(),
            took_ms,
            bound_ms: RECOVERY_MAX.as_millis() as u64,
            why: probed.why,
        }])?;
        Ok(took_ms.is_some())
    }
}
