//! Holds what the processors made of the records against what was sent, by counting anew.

use std::collections::{BTreeMap, BTreeSet};

use headwater_contracts::Contracts;
use headwater_domain::{Verdict, Window};
use headwater_live::memory::MemoryLive;
use headwater_live::{Figure, GenerationKey, LiveStatistics, ReadRequest};

use crate::brokers::Position;
use crate::database::{BatchRow, Evidence, Outcome, Place, Segment};
use crate::traffic::{MONEY, PAGES, Sample, Sent, What};

/// Longest window, in milliseconds.
pub(crate) const WINDOW_MAX_MS: i64 = 86_400_000;
/// Page views of a user in a second that count.
const VIEWS_A_SECOND: u64 = 10;
const MINUTE_MS: i64 = 60_000;

/// A record's place and offset.
type At = (Place, i64);

/// Every fault of the result is an error.
pub(crate) async fn check(
    contracts: &Contracts,
    sent: &[Sent],
    evidence: &Evidence,
    live: &MemoryLive,
    generations: &[GenerationKey],
    as_of_ms: i64,
) -> Result<(), String> {
    let sent: BTreeMap<At, Option<&Sample>> =
        sent.iter().filter_map(|sent| Some((read_at(evidence, &sent.at)?, sent.event.as_ref()))).collect();
    fenced(evidence)?;
    let outcomes = once_each(evidence, &sent)?;
    places(&sent, &outcomes)?;
    verdicts(&sent, &outcomes)?;
    for generation in generations {
        figures(contracts, generation, &sent, &outcomes, live, as_of_ms).await?;
    }
    Ok(())
}

/// Where the history has, or should have, a record that was sent; none where it was gone before it could be read, or where
/// its log is not read. How far each log is to be read is known before this is asked.
fn read_at(evidence: &Evidence, (place, made, offset): &Position) -> Option<At> {
    let place = (place.topic.clone(), place.partition);
    let in_it =
        |segment: &&Segment| segment.made == *made && (segment.first..segment.next).contains(&(offset + segment.shift));
    let shift = evidence.segments.get(&place)?.iter().find(in_it)?.shift;
    Some((place, offset + shift))
}

/// Batches follow each other, and each has the epoch of who owned the partition then.
fn fenced(evidence: &Evidence) -> Result<(), String> {
    let mut nexts: BTreeMap<&Place, (i64, i64)> = BTreeMap::new();
    for ((place, first), batch) in &evidence.batches {
        let BatchRow { epoch, next, is_start, rows } = batch;
        let (expected, former) = nexts.insert(place, (*next, *epoch)).unwrap_or((0, 0));
        if *first != expected || next <= first || *is_start != (*first == 0) {
            return Err(format!("{place:?}: {batch:?} begins at {first}, where offset {expected} was next"));
        }
        if *epoch < former {
            return Err(format!("{place:?}: [{first}, {next}) has epoch {epoch}, and what is before it {former}"));
        }
        let mut found = [0; 3];
        for outcome in evidence.outcomes.range((place.clone(), *first)..(place.clone(), *next)).flat_map(|(_, all)| all)
        {
            found[match outcome {
                Outcome::Stored { .. } => 0,
                Outcome::Dead => 1,
                Outcome::Duplicate { .. } => 2,
            }] += 1;
        }
        // What was gone before it could be read: a batch of nothing.
        let is_gap = evidence
            .segments
            .get(place)
            .is_some_and(|segments| segments.windows(2).any(|both| (both[0].next, both[1].first) == (*first, *next)));
        if found != *rows || (found.iter().sum::<i64>() != next - first && !(is_gap && found == [0; 3])) {
            return Err(format!("{place:?}: [{first}, {next}) should have {rows:?} rows, and has {found:?}"));
        }
    }
    for (place, taken) in &evidence.taken {
        let next = taken.next.unwrap_or(0);
        let mut later = evidence.batches.range((place.clone(), next)..=(place.clone(), i64::MAX));
        if let Some(((_, first), late)) = later.find(|(_, batch)| batch.epoch < taken.epoch) {
            return Err(format!(
                "{place:?}: epoch {} was given offset {next}, and then {late:?} at {first}",
                taken.epoch
            ));
        }
    }
    for (place, offset) in &evidence.offsets {
        if nexts.get(place).is_none_or(|(next, _)| next != offset) {
            return Err(format!("{place:?} stands at {offset}, and its batches end at {:?}", nexts.get(place)));
        }
    }
    Ok(())
}

/// Every record that was sent is in one place, with its own id and time, and nothing else is there.
fn once_each<'a>(
    evidence: &'a Evidence,
    sent: &BTreeMap<At, Option<&Sample>>,
) -> Result<BTreeMap<At, &'a Outcome>, String> {
    let mut all = BTreeMap::new();
    for (at, outcomes) in &evidence.outcomes {
        let [outcome] = &outcomes[..] else { return Err(format!("{at:?} is there more than once: {outcomes:?}")) };
        let Some(sample) = sent.get(at) else { return Err(format!("{at:?} was never sent, and is {outcome:?}")) };
        if let (Outcome::Stored { id, time_us, .. }, Some(sample)) = (outcome, sample)
            && (id, time_us) != (&sample.id, &sample.time_us)
        {
            return Err(format!("{at:?} is {outcome:?}, and was {sample:?}"));
        }
        all.insert(at.clone(), outcome);
    }
    match sent.keys().find(|at| !all.contains_key(*at)) {
        Some(at) => Err(format!("{at:?} is lost")),
        None => Ok(all),
    }
}

/// Garbage is dead; of the records of one event, one is stored: the first of its partition.
fn places(sent: &BTreeMap<At, Option<&Sample>>, outcomes: &BTreeMap<At, &Outcome>) -> Result<(), String> {
    let mut copies: BTreeMap<(&str, &str, i64), Vec<&At>> = BTreeMap::new();
    for (at, sample) in sent {
        match sample {
            Some(sample) => copies.entry((&at.0.0, &sample.id, sample.time_us)).or_default().push(at),
            None if *outcomes[at] == Outcome::Dead => {}
            None => return Err(format!("{at:?} is garbage, and was taken for {:?}", outcomes[at])),
        }
    }
    for (event, copies) in copies {
        let stored: Vec<&&At> = copies.iter().filter(|at| matches!(outcomes[**at], Outcome::Stored { .. })).collect();
        let [stored] = stored[..] else {
            return Err(format!("{event:?} is stored {} times: {copies:?}", stored.len()));
        };
        for at in &copies {
            let right = match outcomes[*at] {
                Outcome::Stored { .. } => true,
                Outcome::Duplicate { of } => *of == (stored.0.1, stored.1),
                Outcome::Dead => false,
            };
            if !right || (at.0 == stored.0 && at.1 < stored.1) {
                return Err(format!("{event:?} at {at:?} is {:?}, and stored from {stored:?}", outcomes[*at]));
            }
        }
    }
    Ok(())
}

/// The first ten page views of a user in a second count, by offset.
fn verdicts(sent: &BTreeMap<At, Option<&Sample>>, outcomes: &BTreeMap<At, &Outcome>) -> Result<(), String> {
    let mut views: BTreeMap<(i32, &str, i64), u64> = BTreeMap::new();
    for (at, outcome) in outcomes {
        let (Outcome::Stored { verdict, .. }, Some(sample)) = (outcome, sent[at]) else { continue };
        let mut expected = Verdict::Counted;
        if let What::Page { kind: "page_view", .. } = sample.what {
            let count = views.entry((at.0.1, &sample.key, sample.time_us.div_euclid(1_000_000))).or_default();
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
    outcomes: &BTreeMap<At, &Outcome>,
    live: &MemoryLive,
    as_of_ms: i64,
) -> Result<(), String> {
    let schema = &contracts.stream(&generation.stream).ok_or("the stream is gone")?.schema;
    let counted = |at: &At| {
        at.0.0 == generation.stream && matches!(outcomes[at], Outcome::Stored { verdict: Verdict::Counted, .. })
    };
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
