//! The real live statistics in memory, with faults around them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_domain::LiveBatch;
use headwater_live::memory::MemoryLive;
use headwater_live::{ApplyOutcome, Figures, GenerationKey, LiveError, LiveStatistics, ReadRequest};

use crate::world::World;

/// Live statistics as one process sees them.
pub(crate) struct SimLive {
    pub(crate) world: Arc<World>,
    pub(crate) memory: Arc<MemoryLive>,
    pub(crate) process: u64,
}

#[async_trait]
impl LiveStatistics for SimLive {
    async fn apply(&self, generation: &GenerationKey, batch: &LiveBatch) -> Result<ApplyOutcome, LiveError> {
        let act = async {
            if self.world.fault("apply", "on some shards", 20) {
                let reached = self.world.below(1 << generation.shards.min(32));
                self.memory.apply_some(generation, batch, |shard| reached >> shard & 1 == 1);
                return Err(LiveError::Unavailable("in the middle".into()));
            }
            self.memory.apply(generation, batch).await
        };
        let outcome = self.world.call(self.process, "apply", LiveError::Unavailable, act).await?;
        if matches!(outcome, ApplyOutcome::Gap { .. }) {
            self.world.hit("apply", "gap");
        }
        Ok(outcome)
    }

    async fn applied(&self, generation: &GenerationKey) -> Result<BTreeMap<i32, i64>, LiveError> {
        self.world.call(self.process, "applied", LiveError::Unavailable, self.memory.applied(generation)).await
    }

    async fn read(&self, generation: &GenerationKey, request: &ReadRequest) -> Result<Figures, LiveError> {
        self.memory.read(generation, request).await
    }

    async fn now_ms(&self) -> Result<i64, LiveError> {
        let act = async { Ok(self.world.now_ms()) };
        self.world.call(self.process, "now", LiveError::Unavailable, act).await
    }

    async fn trim(&self, generation: &GenerationKey, now_ms: i64) -> Result<(), LiveError> {
        let act = self.memory.trim(generation, now_ms);
        self.world.call(self.process, "trim", LiveError::Unavailable, act).await
    }

    async fn remove(&self, generation: &GenerationKey) -> Result<(), LiveError> {
        self.world.call(self.process, "remove", LiveError::Unavailable, self.memory.remove(generation)).await
    }

    async fn check(&self) -> Result<(), LiveError> {
        self.world.call(self.process, "live check", LiveError::Unavailable, async { Ok(()) }).await
    }
}
