use std::collections::BTreeMap;

use crate::{Bucket, StatKind, StoredEvent, StreamSchema, Tier, Verdict, murmur2, units_of};

/// A change of a live statistic. Applying a batch's operations twice is prevented by the batch's offsets, not by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A distinct saw a member: its time becomes the later of the one it has and this.
    Seen {
        /// Index of the statistic.
        stat: usize,
        /// The key it is kept apart for; empty where the statistic has one figure.
        by: String,
        /// The value that was seen.
        member: String,
        /// When, in milliseconds since the Unix epoch.
        time_ms: i64,
    },
    /// A top or a sum grew.
    Add {
        /// Index of the statistic.
        stat: usize,
        /// The key whose figure grew; empty where the statistic has one figure.
        key: String,
        /// The span of event time it grew in; none is all time.
        bucket: Option<Bucket>,
        /// By how much, in units of the statistic's scale.
        amount: i64,
    },
}

/// A batch for live statistics: applied whole by each shard whose offset for the partition is `first`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveBatch {
    /// Partition of the stream's topic.
    pub partition: i32,
    /// Offset of the first record.
    pub first: i64,
    /// Offset after the last record.
    pub next: i64,
    /// Whether it is the first batch that the partition ever had: a shard without an offset takes only such a one.
    pub is_start: bool,
    /// What it changes, in a fixed order.
    pub operations: Vec<Operation>,
}

impl Operation {
    /// The shard, of `shards`, that keeps what the operation changes. Stable for ever.
    /// All members of one key lie together; a distinct without keys is spread by member.
    pub fn shard(&self, shards: u32) -> u32 {
        match self {
            Self::Seen { by, member, .. } if by.is_empty() => shard_of(member, shards),
            Self::Seen { by, .. } => shard_of(by, shards),
            Self::Add { key, .. } => shard_of(key, shards),
        }
    }
}

/// The shard of a key.
pub(crate) fn shard_of(key: &str, shards: u32) -> u32 {
    murmur2(key.as_bytes()) % shards.max(1)
}

/// What the events of a batch change, in a fixed order: the same for every replay of the same rows.
///
/// What lies further back than `window_max_ms` before its arrival changes only all time. Flagged events change nothing.
pub fn operations(schema: &StreamSchema, stored: &[StoredEvent], window_max_ms: i64) -> Vec<Operation> {
    let mut seen: BTreeMap<(usize, String, String), i64> = BTreeMap::new();
    let mut added: BTreeMap<(usize, String, Option<Bucket>), i64> = BTreeMap::new();
    let tiers = Tier::kept(window_max_ms);
    for row in stored.iter().filter(|row| row.verdict == Verdict::Counted) {
        let time_ms = schema.time_us_of(&row.event).div_euclid(1000);
        let horizon_ms = row.appended_ms - window_max_ms;
        for (stat, spec) in schema.stats.iter().enumerate() {
            let key = || spec.kind.by().map(|by| row.event.values[by].key_text().into_owned()).unwrap_or_default();
            let amount = match spec.kind {
                StatKind::Distinct { field, .. } => {
                    if time_ms >= horizon_ms {
                        let member = row.event.values[field].key_text().into_owned();
                        let latest = seen.entry((stat, key(), member)).or_insert(time_ms);
                        *latest = time_ms.max(*latest);
                    }
                    continue;
                }
                StatKind::Top { .. } => 1,
                // Validation let only values of the scale in; a row that has none adds nothing.
                StatKind::Sum { field, scale, .. } => units_of(&row.event.values[field], scale).unwrap_or(0),
            };
            let key = key();
            for &tier in tiers {
                let bucket = Bucket::holding(tier, time_ms);
                if bucket.end_ms() > horizon_ms {
                    add(&mut added, (stat, key.clone(), Some(bucket)), amount);
                }
            }
            add(&mut added, (stat, key, None), amount);
        }
    }
    let seen = seen.into_iter().map(|((stat, by, member), time_ms)| Operation::Seen { stat, by, member, time_ms });
    let added = added.into_iter().map(|((stat, key, bucket), amount)| Operation::Add { stat, key, bucket, amount });
    seen.chain(added).collect()
}

/// Adds within a batch. What passes 64 bits stays at the bound, whatever comes after: the bounds stand for an overflow,
/// which the shard that applies them remembers.
fn add<K: Ord>(sums: &mut BTreeMap<K, i64>, key: K, amount: i64) {
    let sum = sums.entry(key).or_insert(0);
    if *sum != i64::MAX && *sum != i64::MIN {
        *sum = sum.saturating_add(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_is_not_taken_back() {
        let mut sums = BTreeMap::new();
        for amount in [i64::MAX - 1, 2, -5] {
            add(&mut sums, "a", amount);
        }
        add(&mut sums, "b", 7);
        assert_eq!(sums, BTreeMap::from([("a", i64::MAX), ("b", 7)]));
    }
}
