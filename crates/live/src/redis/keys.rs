use headwater_domain::{Bucket, Tier};

use crate::GenerationKey;

/// The names of a shard's keys. All begin with one hash tag: the shard's slot.
///
/// ```text
/// offsets                  hash: partition → applied offset
/// names                    sorted set: each of the names below but members → when it expires in ms, +inf for never
/// seen:STAT                sorted set: key → latest time in ms
/// seen:STAT:KEY            sorted set: member → latest time in ms
/// sum:STAT                 hash: key → amount in all time
/// sum:STAT:TIER INDEX      hash: key → amount in the bucket
/// rank:STAT                sorted set: key → minus its amount in all time, rounded
/// ```
pub(super) struct ShardKeys {
    prefix: String,
}

impl ShardKeys {
    pub(super) fn new(prefix: &str, generation: &GenerationKey, shard: u32) -> Self {
        Self { prefix: format!("{prefix}:{{{}:g{}:s{shard}}}:", generation.stream, generation.generation) }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn offsets(&self) -> String {
        self.named("offsets")
    }

    pub(super) fn names(&self) -> String {
        self.named("names")
    }

    pub(super) fn latest(&self, stat: usize) -> String {
        self.named(&latest_name(stat))
    }

    pub(super) fn members(&self, stat: usize, by: &str) -> String {
        self.named(&format!("seen:{stat}:{by}"))
    }

    pub(super) fn sums(&self, stat: usize, bucket: Option<Bucket>) -> String {
        self.named(&sums_name(stat, bucket))
    }

    pub(super) fn ranking(&self, stat: usize) -> String {
        self.named(&ranking_name(stat))
    }
}

pub(super) fn latest_name(stat: usize) -> String {
    format!("seen:{stat}")
}

pub(super) fn sums_name(stat: usize, bucket: Option<Bucket>) -> String {
    match bucket {
        None => format!("sum:{stat}"),
        Some(Bucket { tier: Tier::Minute, index }) => format!("sum:{stat}:m{index}"),
        Some(Bucket { tier: Tier::Hour, index }) => format!("sum:{stat}:h{index}"),
        Some(Bucket { tier: Tier::Day, index }) => format!("sum:{stat}:d{index}"),
    }
}

pub(super) fn ranking_name(stat: usize) -> String {
    format!("rank:{stat}")
}

/// The statistic whose keys' latest times have this name.
pub(super) fn stat_of_latest(name: &str) -> Option<usize> {
    name.strip_prefix("seen:")?.parse().ok()
}

/// Whether sums of all time have this name.
pub(super) fn is_total(name: &str) -> bool {
    name.strip_prefix("sum:").is_some_and(|stat| !stat.contains(':'))
}
