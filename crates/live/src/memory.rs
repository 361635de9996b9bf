//! Live statistics in process: for one machine, tests and simulation. What is lost at its end is found as a gap.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use headwater_domain::{Bucket, LiveBatch};
use headwater_planted::{self as planted, Bug};
use parking_lot::{Mutex, RwLock};

use crate::{
    ApplyOutcome, Figure, Figures, GenerationKey, LiveError, LiveStatistics, ReadRequest,
    answer::{ShardAnswer, lowest, merge},
    ask::{Ask, Keys, Of},
    split::{CLOCKS_DIFFER_MS, ShardOperations, amount_of, outcome_of, split},
};

/// Live statistics in process. Its clock is the machine's, and only `now_ms` looks at it: equal calls give equal answers.
pub struct MemoryLive {
    window_max_ms: i64,
    shards: RwLock<BTreeMap<ShardKey, Arc<Mutex<Shard>>>>,
}

/// A copy of everything that a [`MemoryLive`] held at one moment, to go back to.
#[derive(Clone)]
pub struct MemorySnapshot {
    shards: BTreeMap<ShardKey, Shard>,
}

/// Stream, generation, number of the shard.
type ShardKey = (String, i64, u32);

/// Key to member to the latest time that it was seen.
type Seen = BTreeMap<String, BTreeMap<String, i64>>;

#[derive(Clone, Default)]
struct Shard {
    offsets: BTreeMap<i32, i64>,
    seen: BTreeMap<usize, Seen>,
    sums: BTreeMap<(usize, Option<Bucket>), BTreeMap<String, Figure>>,
    /// Buckets that had expired by then are gone, and do not come back.
    trimmed_ms: Option<i64>,
}

impl MemoryLive {
    /// Statistics whose longest window is `window_max_ms`, with nothing counted.
    pub fn new(window_max_ms: i64) -> Self {
        Self { window_max_ms, shards: RwLock::default() }
    }

    /// What is held now. A batch that is being applied at the same time may be on some shards and not on others.
    pub fn snapshot(&self) -> MemorySnapshot {
        let shards = self.shards.read();
        MemorySnapshot { shards: shards.iter().map(|(key, shard)| (key.clone(), shard.lock().clone())).collect() }
    }

    /// Goes back to what was held then.
    pub fn restore(&self, snapshot: MemorySnapshot) {
        self.restore_some(snapshot, |_| true);
    }

    /// Goes back to what was held then on the shards of these numbers, as a store does of which only a part is lost.
    pub fn restore_some(&self, snapshot: MemorySnapshot, is_lost: impl Fn(u32) -> bool) {
        let mut shards = self.shards.write();
        shards.retain(|(_, _, shard), _| !is_lost(*shard));
        let lost = snapshot.shards.into_iter().filter(|((_, _, shard), _)| is_lost(*shard));
        shards.extend(lost.map(|(key, shard)| (key, Arc::new(Mutex::new(shard)))));
    }

    /// Applies a batch, as [`LiveStatistics::apply`] does, to the shards of these numbers only, as a store does that
    /// breaks down in the middle of it.
    pub fn apply_some(
        &self,
        generation: &GenerationKey,
        batch: &LiveBatch,
        is_reached: impl Fn(u32) -> bool,
    ) -> ApplyOutcome {
        let mut gaps = Vec::new();
        for (index, operations) in (0..).zip(split(batch, generation.shards)).filter(|(index, _)| is_reached(*index)) {
            let shard = self.shard_or_new(generation, index);
            if let Err(gap) = shard.lock().apply(batch, &operations, self.window_max_ms) {
                gaps.push(gap);
            }
        }
        outcome_of(gaps.into_iter())
    }

    /// Whether anything is held of a generation.
    pub fn holds(&self, generation: &GenerationKey) -> bool {
        let shards = self.shards.read();
        shards.keys().any(|(stream, number, _)| (stream, *number) == (&generation.stream, generation.generation))
    }

    /// Loses everything.
    pub fn clear(&self) {
        self.shards.write().clear();
    }

    /// How many figures and members are held, to tell that memory does not grow.
    pub fn held(&self) -> usize {
        self.shards.read().values().map(|shard| shard.lock().held()).sum()
    }

    fn shard(&self, generation: &GenerationKey, shard: u32) -> Option<Arc<Mutex<Shard>>> {
        self.shards.read().get(&shard_key(generation, shard)).cloned()
    }

    fn shard_or_new(&self, generation: &GenerationKey, shard: u32) -> Arc<Mutex<Shard>> {
        self.shard(generation, shard).unwrap_or_else(|| {
            let mut shards = self.shards.write();
            shards.entry(shard_key(generation, shard)).or_default().clone()
        })
    }
}

#[async_trait]
impl LiveStatistics for MemoryLive {
    async fn apply(&self, generation: &GenerationKey, batch: &LiveBatch) -> Result<ApplyOutcome, LiveError> {
        Ok(self.apply_some(generation, batch, |_| true))
    }

    async fn applied(&self, generation: &GenerationKey) -> Result<BTreeMap<i32, i64>, LiveError> {
        let offsets = (0..generation.shards.max(1))
            .map(|index| self.shard(generation, index).map(|shard| shard.lock().offsets.clone()).unwrap_or_default());
        Ok(lowest(offsets.collect()))
    }

    async fn read(&self, generation: &GenerationKey, request: &ReadRequest) -> Result<Figures, LiveError> {
        let ask = Ask::new(request, self.window_max_ms)?;
        let shards = generation.shards.max(1);
        let answers = (0..shards).map(|index| {
            let Some(shard) = self.shard(generation, index) else { return ShardAnswer::default() };
            let shard = shard.lock();
            let parts = if ask.touches(index, shards) { shard.parts(&ask) } else { Vec::new() };
            ShardAnswer { offsets: shard.offsets.clone(), parts, unlisted: 0 }
        });
        Ok(merge(request, &ask.keys, answers.collect()))
    }

    async fn now_ms(&self) -> Result<i64, LiveError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    async fn trim(&self, generation: &GenerationKey, now_ms: i64) -> Result<(), LiveError> {
        for index in 0..generation.shards.max(1) {
            if let Some(shard) = self.shard(generation, index) {
                shard.lock().trim(now_ms, self.window_max_ms);
            }
        }
        Ok(())
    }

    async fn remove(&self, generation: &GenerationKey) -> Result<(), LiveError> {
        let mut shards = self.shards.write();
        shards.retain(|(stream, number, _), _| (stream, *number) != (&generation.stream, generation.generation));
        Ok(())
    }

    async fn check(&self) -> Result<(), LiveError> {
        Ok(())
    }
}

impl Shard {
    /// Applies the batch, or says which offset the shard has instead of the one it needs.
    fn apply(
        &mut self,
        batch: &LiveBatch,
        operations: &ShardOperations<'_>,
        window_max_ms: i64,
    ) -> Result<(), Option<i64>> {
        match self.offsets.get(&batch.partition).copied() {
            None if !batch.is_start => return Err(None),
            Some(offset) if offset != batch.first && !planted::is(Bug::CountersWithoutGuard) => {
                return if offset >= batch.next { Ok(()) } else { Err(Some(offset)) };
            }
            _ => {}
        }
        self.offsets.insert(batch.partition, batch.next);
        for (&(stat, by), members) in &operations.seen {
            let kept = self.seen.entry(stat).or_default().entry(by.to_owned()).or_default();
            for &(member, time_ms) in members {
                let latest = kept.entry(member.to_owned()).or_insert(time_ms);
                *latest = time_ms.max(*latest);
            }
        }
        for (&(stat, bucket), amounts) in &operations.added {
            if self.has_expired(bucket, window_max_ms) {
                continue;
            }
            let sums = self.sums.entry((stat, bucket)).or_default();
            for &(key, amount) in amounts {
                match sums.entry(key.to_owned()) {
                    Entry::Vacant(sum) => drop(sum.insert(amount_of(amount))),
                    Entry::Occupied(mut sum) => *sum.get_mut() = plus(*sum.get(), amount_of(amount)),
                }
            }
        }
        Ok(())
    }

    fn parts(&self, ask: &Ask) -> Vec<(String, Figure)> {
        match &ask.of {
            Of::Seen { start_ms } => {
                let count = |members: &BTreeMap<String, i64>| members.values().filter(|time| *time >= start_ms).count();
                let counts = select(self.seen.get(&ask.stat), &ask.keys).map(|(key, members)| (key, count(members)));
                let counts = counts.filter(|(_, count)| *count > 0);
                counts.map(|(key, count)| (key.clone(), Figure::Units(count as i64))).collect()
            }
            Of::Buckets(buckets) => {
                let sums = buckets.iter().flat_map(|bucket| self.sums.get(&(ask.stat, Some(*bucket))));
                sums.flat_map(|sums| select(Some(sums), &ask.keys)).map(|(key, sum)| (key.clone(), *sum)).collect()
            }
            Of::AllTime => {
                let sums = select(self.sums.get(&(ask.stat, None)), &ask.keys);
                sums.map(|(key, sum)| (key.clone(), *sum)).collect()
            }
        }
    }

    fn trim(&mut self, now_ms: i64, window_max_ms: i64) {
        self.trimmed_ms = self.trimmed_ms.max(Some(now_ms));
        let oldest_ms = now_ms - window_max_ms - CLOCKS_DIFFER_MS;
        for seen in self.seen.values_mut() {
            for members in seen.values_mut() {
                members.retain(|_, time_ms| *time_ms >= oldest_ms);
            }
            seen.retain(|_, members| !members.is_empty());
        }
        self.seen.retain(|_, seen| !seen.is_empty());
        let mut sums = std::mem::take(&mut self.sums);
        sums.retain(|(_, bucket), _| !self.has_expired(*bucket, window_max_ms));
        self.sums = sums;
    }

    fn has_expired(&self, bucket: Option<Bucket>, window_max_ms: i64) -> bool {
        match (bucket, self.trimmed_ms) {
            (Some(bucket), Some(trimmed_ms)) => bucket.expires_ms(window_max_ms) <= trimmed_ms,
            _ => false,
        }
    }

    fn held(&self) -> usize {
        let members: usize = self.seen.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
        members + self.sums.values().map(BTreeMap::len).sum::<usize>()
    }
}

/// The entries of the keys that are asked for.
fn select<'a, V>(
    all: Option<&'a BTreeMap<String, V>>,
    keys: &'a Keys,
) -> impl Iterator<Item = (&'a String, &'a V)> + 'a {
    let (one, all) = match keys {
        Keys::One(key) => (all.and_then(|all| all.get_key_value(key)), None),
        Keys::All => (None, all),
    };
    one.into_iter().chain(all.into_iter().flatten())
}

fn plus(a: Figure, b: Figure) -> Figure {
    match (a, b) {
        (Figure::Units(a), Figure::Units(b)) => a.checked_add(b).map_or(Figure::Overflowed, Figure::Units),
        _ => Figure::Overflowed,
    }
}

fn shard_key(generation: &GenerationKey, shard: u32) -> ShardKey {
    (generation.stream.clone(), generation.generation, shard)
}
