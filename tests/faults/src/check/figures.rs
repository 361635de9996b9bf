//! I4: every figure of GetStats is what one computes from what was sent and which of it is stored.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::placement::hundredths;
use super::{Findings, Invariant};
use crate::event::{Body, Event, Stream};
use crate::evidence::{Answer, Evidence};
use crate::journal::Journal;

const MINUTE_MS: i64 = 60_000;

/// Windows that are asked for, in seconds; none is all time.
const WINDOWS_S: [Option<i64>; 5] = [None, Some(60), Some(300), Some(3600), Some(86_400)];

/// A statistic that ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stat {
    ActiveUsers,
    TopPages,
    Sessions,
    AccountTotal,
}

const STATS: [(Stream, &str, Stat); 4] = [
    (Stream::PageEvents, "active_users", Stat::ActiveUsers),
    (Stream::PageEvents, "top_pages", Stat::TopPages),
    (Stream::PageEvents, "sessions", Stat::Sessions),
    (Stream::Transactions, "account_total", Stat::AccountTotal),
];

/// Everything that is asked: stream, statistic, window in seconds.
pub fn asks() -> impl Iterator<Item = (Stream, &'static str, Option<i64>)> {
    STATS.into_iter().flat_map(|(stream, name, _)| WINDOWS_S.into_iter().map(move |window_s| (stream, name, window_s)))
}

/// Where a window of that statistic begins, inclusive, in milliseconds since the Unix epoch: of what is different that
/// long ago, of what is added up as many whole minutes before the running one.
pub fn window_start_ms(stat: &str, as_of_ms: i64, window_s: i64) -> i64 {
    match stat {
        "active_users" | "sessions" => as_of_ms - window_s * 1000,
        _ => (as_of_ms.div_euclid(MINUTE_MS) - (window_s * 1000 + MINUTE_MS - 1) / MINUTE_MS) * MINUTE_MS,
    }
}

pub(super) fn check(journal: &Journal, evidence: &Evidence, flagged: &HashSet<(i32, i64)>, findings: &mut Findings) {
    let sent = journal.by_identity();
    let counted: Vec<&Event> = evidence
        .stored
        .iter()
        .filter(|row| row.stream != Stream::PageEvents || !flagged.contains(&(row.partition, row.offset)))
        .filter_map(|row| sent.get(&(row.stream, row.id.as_str(), row.time_us)).copied())
        .collect();
    for answer in &evidence.answers {
        let Some((_, _, stat)) = STATS.iter().find(|(stream, name, _)| (*stream, *name) == answer.asked()) else {
            findings.add(Invariant::I4Statistics, format!("nobody knows {:?}", answer.asked()));
            continue;
        };
        compare(*stat, answer, &counted, findings);
    }
}

fn compare(stat: Stat, answer: &Answer, counted: &[&Event], findings: &mut Findings) {
    let name = format!("{} {} of {:?} s", answer.stream.name(), answer.stat, answer.window_s);
    if !answer.complete {
        findings.add(Invariant::I4Statistics, format!("{name}: the answer says that it is not complete"));
    }
    let start_ms = answer.window_s.map(|window_s| window_start_ms(&answer.stat, answer.as_of_ms, window_s));
    if start_ms != answer.window_start_ms {
        let text = format!("{name}: begins at {:?} and not at {start_ms:?}", answer.window_start_ms);
        findings.add(Invariant::I4Statistics, text);
    }
    let within = |event: &&&Event| {
        event.stream == answer.stream && start_ms.is_none_or(|start| event.time_us.div_euclid(1000) >= start)
    };
    let wanted = figures(stat, counted.iter().filter(within).copied());
    let keys: BTreeSet<&String> = wanted.keys().chain(answer.values.keys()).collect();
    for key in keys {
        let (own, theirs) = (wanted.get(key).copied(), answer.values.get(key).copied());
        // A key whose amounts add up to nothing may be there or not.
        if own.unwrap_or(0) != theirs.unwrap_or(0) {
            let text = format!("{name}: {key:?} is {theirs:?}, and what is stored makes {own:?}");
            findings.add(Invariant::I4Statistics, text);
        }
    }
}

fn figures<'a>(stat: Stat, events: impl Iterator<Item = &'a Event>) -> BTreeMap<String, i64> {
    let mut figures: BTreeMap<String, i64> = BTreeMap::new();
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for event in events {
        let (key, amount) = match (stat, &event.body) {
            (Stat::ActiveUsers, Body::Page { user, .. }) => ("", i64::from(seen.insert(("", user)))),
            (Stat::TopPages, Body::Page { page, .. }) => (page.as_str(), 1),
            (Stat::Sessions, Body::Page { user, session, .. }) => {
                (user.as_str(), i64::from(seen.insert((user, session))))
            }
            (Stat::AccountTotal, Body::Money { account, .. }) => (account.as_str(), hundredths(&event.body)),
            _ => continue,
        };
        *figures.entry(key.to_owned()).or_default() += amount;
    }
    figures
}
