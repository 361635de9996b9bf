use std::collections::BTreeMap;

use ::redis::Cmd;
use headwater_domain::LiveBatch;

use super::{
    OVERFLOWED,
    keys::{ShardKeys, latest_name, ranking_name, sums_name},
    script::APPLY,
};
use crate::{
    Figure, LiveError,
    split::{Pairs, ShardOperations, amount_of},
};

/// Keys and arguments of one call: Redis before 7 takes 1,048,576.
const ARGUMENTS_MAX: usize = 1_000_000;

/// Never, as a score of the names.
const NEVER: &str = "+inf";

/// The call of `apply.lua` that applies a batch to a shard.
///
/// # Errors
/// `Refused` where the batch is too large for one call.
pub(super) fn call(
    keys: &ShardKeys,
    batch: &LiveBatch,
    operations: &ShardOperations<'_>,
    window_max_ms: i64,
) -> Result<Cmd, LiveError> {
    let latest = latest_of(operations);
    let mut names: Vec<(String, String)> = latest.keys().map(|stat| (NEVER.into(), latest_name(*stat))).collect();
    for &(stat, bucket) in operations.added.keys() {
        let expires = bucket.map_or(NEVER.into(), |bucket| bucket.expires_ms(window_max_ms).to_string());
        names.push((expires, sums_name(stat, bucket)));
        if bucket.is_none() {
            names.push((NEVER.into(), ranking_name(stat)));
        }
    }

    let pairs = names.len()
        + operations.seen.values().map(Vec::len).sum::<usize>()
        + latest.values().map(Vec::len).sum::<usize>()
        + operations.added.values().map(Vec::len).sum::<usize>();
    let groups = operations.seen.len() + latest.len() + operations.added.len();
    if 2 * pairs + 5 * groups > ARGUMENTS_MAX {
        return Err(LiveError::Refused(format!(
            "a batch with {pairs} changes is too large: take fewer records at once"
        )));
    }

    // The order of the keys is the order of the groups below.
    let mut script_keys = vec![keys.offsets(), keys.names()];
    script_keys.extend(operations.seen.keys().map(|(stat, by)| keys.members(*stat, by)));
    script_keys.extend(latest.keys().map(|stat| keys.latest(*stat)));
    for &(stat, bucket) in operations.added.keys() {
        script_keys.push(keys.sums(stat, bucket));
        if bucket.is_none() {
            script_keys.push(keys.ranking(stat));
        }
    }

    let mut call = APPLY.call(&script_keys);
    call.arg(batch.partition).arg(batch.first).arg(batch.next).arg(u8::from(batch.is_start));
    call.arg(names.len());
    for (expires, name) in &names {
        call.arg(expires).arg(name);
    }
    for members in operations.seen.values().chain(latest.values()) {
        call.arg("seen").arg(members.len());
        for &(member, time_ms) in members {
            call.arg(time_ms).arg(member);
        }
    }
    for (&(_, bucket), amounts) in &operations.added {
        match bucket {
            Some(bucket) => call.arg("sum").arg(bucket.expires_ms(window_max_ms)),
            None => call.arg("total"),
        };
        call.arg(amounts.len());
        for &(key, amount) in amounts {
            match amount_of(amount) {
                Figure::Units(units) => call.arg(key).arg(units),
                Figure::Overflowed => call.arg(key).arg(OVERFLOWED),
            };
        }
    }
    Ok(call)
}

/// Statistic to its keys and the latest time of each.
fn latest_of<'a>(operations: &ShardOperations<'a>) -> BTreeMap<usize, Pairs<'a>> {
    let mut latest: BTreeMap<usize, Pairs<'_>> = BTreeMap::new();
    for (&(stat, by), members) in &operations.seen {
        if let Some(time_ms) = members.iter().map(|(_, time_ms)| *time_ms).max() {
            latest.entry(stat).or_default().push((by, time_ms));
        }
    }
    latest
}
