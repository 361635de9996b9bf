//! Holds what the processors made of the records against what was sent, by counting anew.

use std::collections::{BTreeMap, BTreeSet};

use headwater_contracts::Contracts;
use headwater_domain::{Verdict, Window};
use headwater_live::memory::MemoryLive;
use headwater_live::{Figure, GenerationKey, LiveStatistics, ReadRequest};

use crate::history::{Entry, Outcome, Place};
use crate::traffic::{MONEY, PAGES, Sample, Sent, What};

/// Longest window, in milliseconds.
pub(crate) const WINDOW_MAX_MS: i64 = 86_400_000;
/// Page views of a user in a second that count.
const VIEWS_A_SECOND: u64 = 10;
const MINUTE_MS: i64 = 60_000;

/// Stream, partition and offset.
type At = (String, i32, i64);

/// Every fault of the result is an error.
pub(crate) async fn check(
    contracts: &Contracts,
    sent: &[Sent],
    journal: &[Entry],
    live: &MemoryLive,
    generations: &[GenerationKey],
    as_of_ms: i64,
) -> Result<(), String> {
    let sent: BTreeMap<At, Option<&Sample>> = sent
        .iter()
        .map(|sent| ((sent.place.topic.clone(), sent.place.partition, sent.offset), sent.event.as_ref()))
        .collect();
    let outcomes = once_each(journal, &sent)?;
    places(&sent, &outcomes)?;
    verdicts(&sent, &outcomes)?;
    for generation in generations {
        figures(contracts, generation, &sent, &outcomes, live, as_of_ms).await?;
    }
    Ok(())
}

/// Every record once, in ranges that follow each other, each by the owner of its time.
fn once_each(journal: &[Entry], sent: &BTreeMap<At, Option<&Sample>>) -> Result<BTreeMap<At, Outcome>, String> {
    let mut epochs: BTreeMap<&Place, i64> = BTreeMap::new();
    let mut nexts: BTreeMap<&Place, i64> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for entry in journal {
        match entry {
            Entry::Taken { place, epoch } => drop(epochs.insert(place, *epoch)),
            Entry::Committed { place, epoch, first, next, outcomes } => {
                if epochs.get(place) != Some(epoch) {
                    return Err(format!("{place:?}: [{first}, {next}) was stored under epoch {epoch}, of {epochs:?}"));
                }
                let expected = nexts.insert(place, *next).unwrap_or(0);
                if *first != expected {
                    return Err(format!("{place:?}: [{first}, {next}) was stored where offset {expected} was next"));
                }
                for (offset, outcome) in outcomes {
                    let at = (place.0.clone(), place.1, *offset);
                    if !(*first..*next).contains(offset) || !sent.contains_key(&at) {
                        return Err(format!("{at:?} in [{first}, {next}) was never sent"));
                    }
                    if let Some(before) = all.insert(at.clone(), outcome.clone()) {
                        return Err(format!("{at:?} is there twice: {before:?} and {outcome:?}"));
                    }
                }
            }
        }
    }
    match sent.keys().find(|at| !all.contains_key(*at)) {
        Some(at) => Err(format!("{at:?} is lost")),
        None => Ok(all),
    }
}

/// Garbage is dead; of the records of one event, one is stored: the first of its partition.
fn places(sent: &BTreeMap<At, Option<&Sample>>, outcomes: &BTreeMap<At, Outcome>) -> Result<(), String> {
    let mut copies: BTreeMap<(&str, &str, i64), Vec<&At>> = BTreeMap::new();
    for (at, sample) in sent {
        match sample {
            Some(sample) => copies.entry((&at.0, &sample.id, sample.time_us)).or_default().push(at),
            None if outcomes[at] == Outcome::Dead => {}
            None => return Err(format!("{at:?} is garbage, and was taken for {:?}", outcomes[at])),
        }
    }
    for (event, copies) in copies {
        let stored: Vec<&&At> = copies.iter().filter(|at| matches!(outcomes[**at], Outcome::Stored(_))).collect();
        let [stored] = stored[..] else {
            return Err(format!("{event:?} is stored {} times: {copies:?}", stored.len()));
        };
        for at in &copies {
            let right = match &outcomes[*at] {
                Outcome::Stored(_) => true,
                Outcome::Duplicate { of } => *of == (stored.1, stored.2),
                Outcome::Dead => false,
            };
            if !right || (at.1 == stored.1 && at.2 < stored.2) {
                return Err(format!("{event:?} at {at:?} is {:?}, and stored from {stored:?}", outcomes[*at]));
            }
        }
    }
    Ok(())
}

/// The first ten page views of a user in a second count, by offset.
fn verdicts(sent: &BTreeMap<At, Option<&Sample>>, outcomes: &BTreeMap<At, Outcome>) -> Result<(), String> {
    let mut views: BTreeMap<(i32, &str, i64), u64> = BTreeMap::new();
    for (at, outcome) in outcomes {
        let (Outcome::Stored(verdict), Some(sample)) = (outcome, sent[at]) else { continue };
        let mut expected = Verdict::Counted;
        if let What::Page { kind: "page_view", .. } = sample.what {
            let count = views.entry((at.1, &sample.key, sample.time_us.div_euclid(1_000_000))).or_default();
            *count += 1;
            if *count > VIEWS_A_SECOND {
                expected = Verdict::Flagged { rule: "bot".into(), version: 1, count: *count };
            }
        }
        if *verdict != expected {
            return Err(format!("{at:?} was judged {verdict:?} where it is {expected:?}"));
        }
    }
    Ok(())
}

async fn figures(
    contracts: &Contracts,
    generation: &GenerationKey,
    sent: &BTreeMap<At, Option<&Sample>>,
    outcomes: &BTreeMap<At, Outcome>,
    live: &MemoryLive,
    as_of_ms: i64,
) -> Result<(), String> {
    let schema = &contracts.stream(&generation.stream).ok_or("the stream is gone")?.schema;
    let counted = |at: &At| at.0 == generation.stream && outcomes[at] == Outcome::Stored(Verdict::Counted);
    let events: Vec<&Sample> = sent.iter().filter(|(at, _)| counted(at)).filter_map(|(_, sample)| *sample).collect();
    for (index, stat) in schema.stats.iter().enumerate() {
        for window_ms in [Some(MINUTE_MS), Some(5 * MINUTE_MS), Some(3_600_000), Some(WINDOW_MAX_MS), None] {
            let is_distinct = matches!(stat.name.as_str(), "active_users" | "sessions");
            if is_distinct && window_ms.is_none() {
                continue;
            }
            let start_ms = match window_ms {
                None => i64::MIN,
                Some(window_ms) if is_distinct => as_of_ms - window_ms,
                Some(window_ms) => as_of_ms.div_euclid(MINUTE_MS) * MINUTE_MS - window_ms,
            };
            let recent = events.iter().filter(|event| event.time_us.div_euclid(1000) >= start_ms);
            let expected = recount(&generation.stream, &stat.name, recent.copied());
            let window = window_ms.map(|ms| Window::new(ms, WINDOW_MAX_MS)).transpose().map_err(|e| e.to_string())?;
            let request =
                |key| ReadRequest { stat: index, kind: stat.kind, key, window, as_of_ms, skip: 0, limit: 10_000 };
            let read = live.read(generation, &request(None)).await.map_err(|error| error.to_string())?;
            let found: BTreeMap<String, Figure> = read.entries.into_iter().collect();
            let what = format!("{} over {window_ms:?} ms", stat.name);
            if found != expected {
                return Err(format!("{what}: {found:?} where it is {expected:?}"));
            }
            for (key, figure) in expected.iter().take(3).filter(|(key, _)| !key.is_empty()) {
                let read =
                    live.read(generation, &request(Some(key.clone()))).await.map_err(|error| error.to_string())?;
                if read.entries != [(key.clone(), *figure)] {
                    return Err(format!("{what} of {key}: {:?} where it is {figure:?}", read.entries));
                }
            }
        }
    }
    Ok(())
}

fn recount<'a>(stream: &str, stat: &str, events: impl Iterator<Item = &'a Sample>) -> BTreeMap<String, Figure> {
    let mut members: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    if stat == "active_users" {
        // A distinct without keys has a figure where it has none.
        members.entry(String::new()).or_default();
    }
    for event in events {
        match (stream, stat, &event.what) {
            (PAGES, "active_users", _) => drop(members.entry(String::new()).or_default().insert(&event.key)),
            (PAGES, "sessions", What::Page { session, .. }) => {
                members.entry(event.key.clone()).or_default().insert(session);
            }
            (PAGES, "top_pages", What::Page { url, .. }) => *sums.entry(url.clone()).or_default() += 1,
            (MONEY, "account_total", What::Money { cents }) => *sums.entry(event.key.clone()).or_default() += cents,
            (stream, stat, _) => panic!("the checker does not know {stat} of {stream}"),
        }
    }
    let members = members.into_iter().map(|(key, members)| (key, members.len() as i64));
    members.chain(sums).map(|(key, figure)| (key, Figure::Units(figure))).collect()
}
