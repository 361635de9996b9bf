use std::collections::BTreeMap;

use headwater_domain::{Bucket, LiveBatch, Operation};

use crate::{ApplyOutcome, Figure};

/// The later of two clocks that a window's end is read from can lead the other by this much, in milliseconds. What a
/// distinct saw is kept for so much longer than the longest window, as buckets are.
pub(crate) const CLOCKS_DIFFER_MS: i64 = 3_600_000;

/// Members and their times, or keys and their amounts.
pub(crate) type Pairs<'a> = Vec<(&'a str, i64)>;

/// What a batch changes on one shard, by what is kept together.
#[derive(Default)]
pub(crate) struct ShardOperations<'a> {
    /// Statistic and key to members and their times.
    pub(crate) seen: BTreeMap<(usize, &'a str), Pairs<'a>>,
    /// Statistic and bucket (none is all time) to keys and their amounts.
    pub(crate) added: BTreeMap<(usize, Option<Bucket>), Pairs<'a>>,
}

/// Gives each shard its operations, in the batch's order.
pub(crate) fn split(batch: &LiveBatch, shards: u32) -> Vec<ShardOperations<'_>> {
    let mut split: Vec<ShardOperations<'_>> = (0..shards.max(1)).map(|_| ShardOperations::default()).collect();
    for operation in &batch.operations {
        let shard = &mut split[operation.shard(shards) as usize];
        match operation {
            Operation::Seen { stat, by, member, time_ms } => {
                shard.seen.entry((*stat, by)).or_default().push((member, *time_ms));
            }
            Operation::Add { stat, key, bucket, amount } => {
                shard.added.entry((*stat, *bucket)).or_default().push((key, *amount));
            }
        }
    }
    split
}

/// An amount as a figure. The ends of 64 bits are where adding up within a batch stops, so that they say nothing.
pub(crate) fn amount_of(amount: i64) -> Figure {
    if amount == i64::MAX || amount == i64::MIN { Figure::Overflowed } else { Figure::Units(amount) }
}

/// What became of a batch, from the shards that had a gap and the offsets that they have.
pub(crate) fn outcome_of(gaps: impl Iterator<Item = Option<i64>>) -> ApplyOutcome {
    // None is less than any offset.
    gaps.min().map_or(ApplyOutcome::Applied, |next| ApplyOutcome::Gap { next })
}
