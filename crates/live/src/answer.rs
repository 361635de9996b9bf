use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
};

use crate::{Figure, Figures, ReadRequest, ask::Keys};

/// What one shard answers, read in one step.
#[derive(Default)]
pub(crate) struct ShardAnswer {
    /// Partition to applied offset.
    pub(crate) offsets: BTreeMap<i32, i64>,
    /// Parts of the keys' figures: a key's figure is the sum of all its parts. No part of a distinct is 0.
    pub(crate) parts: Vec<(String, Figure)>,
    /// Keys that have a figure and no part here, because they are past what was asked for. No other shard has them.
    pub(crate) unlisted: u64,
}

/// Makes one answer of all the shards'.
pub(crate) fn merge(request: &ReadRequest, keys: &Keys, shards: Vec<ShardAnswer>) -> Figures {
    let mut sums: HashMap<String, Sum> = HashMap::new();
    let mut key_count = 0;
    let mut offsets = Vec::with_capacity(shards.len());
    for shard in shards {
        for (key, part) in shard.parts {
            sums.entry(key).or_default().add(part);
        }
        key_count += shard.unlisted;
        offsets.push(shard.offsets);
    }
    key_count += sums.len() as u64;
    let entries = match keys {
        Keys::One(key) => vec![(key.clone(), sums.get(key).map_or(Figure::Units(0), Sum::figure))],
        Keys::All => {
            let entries = sums.into_iter().map(|(key, sum)| (key, sum.figure())).collect();
            page(entries, request.skip, request.limit)
        }
    };
    Figures { entries, key_count, applied: lowest(offsets) }
}

/// Partition to the lowest of the shards' offsets, where every shard has one.
pub(crate) fn lowest(shards: Vec<BTreeMap<i32, i64>>) -> BTreeMap<i32, i64> {
    let mut shards = shards.into_iter();
    let mut lowest = shards.next().unwrap_or_default();
    for shard in shards {
        lowest.retain(|partition, offset| match shard.get(partition) {
            Some(other) => {
                *offset = *other.min(offset);
                true
            }
            None => false,
        });
    }
    lowest
}

/// The entries of a page, greatest first, equals by key.
fn page(mut entries: Vec<(String, Figure)>, skip: usize, limit: usize) -> Vec<(String, Figure)> {
    let end = skip.saturating_add(limit);
    if end < entries.len() {
        entries.select_nth_unstable_by(end, by_rank);
        entries.truncate(end);
    }
    entries.sort_unstable_by(by_rank);
    entries.drain(..skip.min(entries.len()));
    entries
}

fn by_rank(a: &(String, Figure), b: &(String, Figure)) -> Ordering {
    let figures = match (a.1, b.1) {
        (Figure::Units(a), Figure::Units(b)) => b.cmp(&a),
        (Figure::Overflowed, Figure::Overflowed) => Ordering::Equal,
        (Figure::Overflowed, Figure::Units(_)) => Ordering::Less,
        (Figure::Units(_), Figure::Overflowed) => Ordering::Greater,
    };
    figures.then_with(|| a.0.cmp(&b.0))
}

/// A figure while its parts are added up: too wide for any number of parts to overflow on the way.
#[derive(Default)]
struct Sum {
    units: i128,
    overflowed: bool,
}

impl Sum {
    fn add(&mut self, part: Figure) {
        match part {
            Figure::Units(units) => self.units += i128::from(units),
            Figure::Overflowed => self.overflowed = true,
        }
    }

    fn figure(&self) -> Figure {
        match i64::try_from(self.units) {
            Ok(units) if !self.overflowed => Figure::Units(units),
            _ => Figure::Overflowed,
        }
    }
}
