//! I1, I2, I3: what was acknowledged is there, once, and nothing else is.

use std::collections::HashMap;

use super::{Findings, Invariant};
use crate::event::{Body, Event, Fate, Stream};
use crate::evidence::{Evidence, Stored};
use crate::journal::{Ack, Journal};

/// What became of a record.
#[derive(Clone, Copy)]
enum Place<'a> {
    Stored(&'a Stored),
    /// The identity that could be read out of it, and why it is dead.
    Dead(Option<(&'a str, i64)>, &'a str),
    /// Of which event, and where that is stored.
    Duplicate((&'a str, i64), (i32, i64)),
}

type At = (Stream, i32, i64);

impl<'a> Place<'a> {
    fn identity(self) -> Option<(&'a str, i64)> {
        match self {
            Self::Stored(row) => Some((&row.id, row.time_us)),
            Self::Dead(identity, _) => identity,
            Self::Duplicate(identity, _) => Some(identity),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Stored(row) if row.flag.is_some() => "flagged",
            Self::Stored(_) => "stored",
            Self::Dead(..) => "dead",
            Self::Duplicate(..) => "duplicate",
        }
    }
}

pub(super) fn check(journal: &Journal, evidence: &Evidence, findings: &mut Findings) {
    let sent = journal.by_identity();
    let mut places: HashMap<At, Place<'_>> = HashMap::new();
    let mut records: HashMap<u64, u32> = HashMap::new();
    for (at, place) in all(evidence) {
        if let Some(other) = places.insert(at, place) {
            findings.add(Invariant::I2Doubled, format!("{} is {} and {}", named(at), other.name(), place.name()));
        }
        let event = place.identity().and_then(|(id, time_us)| sent.get(&(at.0, id, time_us)));
        let Some(event) = event else {
            findings.add(Invariant::I3Unsent, format!("{} is {}: {:?}", named(at), place.name(), place.identity()));
            continue;
        };
        *records.entry(event.n).or_default() += 1;
        if let Some(wrong) = not_as_sent(event, place) {
            findings.add(Invariant::I3Unsent, format!("{} is {}: event {}: {wrong}", named(at), place.name(), event.n));
        }
    }
    // The producer of an ingest may do so, where a broker took a record and died before it said so: that is what
    // duplicates are taken out for.
    let more = |(n, records): (&u64, &u32)| records.saturating_sub(journal.sends[*n as usize]) as usize;
    findings.summary.more_than_sent = records.iter().map(more).sum();
    let stored = stored_once(evidence, findings);
    for ack in &journal.acks {
        acknowledged(journal, ack, &places, &stored, findings);
    }
    for (at, place) in &places {
        if let Place::Duplicate(identity, of) = place {
            let of = (at.0, of.0, of.1);
            if !matches!(places.get(&of), Some(Place::Stored(row)) if (row.id.as_str(), row.time_us) == *identity) {
                let text = format!("{} is a duplicate of {}, which is another or not stored", named(*at), named(of));
                findings.add(Invariant::I1Lost, text);
            }
        }
    }
}

fn all(evidence: &Evidence) -> impl Iterator<Item = (At, Place<'_>)> {
    let stored = evidence.stored.iter().map(|row| ((row.stream, row.partition, row.offset), Place::Stored(row)));
    let dead = evidence.dead.iter().map(|letter| {
        let identity = letter.identity.as_ref().map(|(id, time_us)| (id.as_str(), *time_us));
        ((letter.stream, letter.partition, letter.offset), Place::Dead(identity, letter.reason.as_str()))
    });
    let duplicates = evidence.duplicates.iter().map(|duplicate| {
        let place = Place::Duplicate((duplicate.id.as_str(), duplicate.time_us), duplicate.of);
        ((duplicate.stream, duplicate.partition, duplicate.offset), place)
    });
    stored.chain(dead).chain(duplicates)
}

/// Where each event is stored; it may be only once.
fn stored_once<'a>(evidence: &'a Evidence, findings: &mut Findings) -> HashMap<(Stream, &'a str, i64), (i32, i64)> {
    let mut stored: HashMap<(Stream, &str, i64), (i32, i64)> = HashMap::new();
    for row in &evidence.stored {
        let here = (row.partition, row.offset);
        if let Some(there) = stored.insert((row.stream, &row.id, row.time_us), here) {
            let text = format!("{} {} is stored at {there:?} and at {here:?}", row.stream.name(), row.id);
            findings.add(Invariant::I2Doubled, text);
        }
    }
    stored
}

/// What is wrong with a record that is where it is.
fn not_as_sent(event: &Event, place: Place<'_>) -> Option<String> {
    match (event.fate, place) {
        (Fate::Refused, _) => Some("it breaks the contract and was refused".to_owned()),
        (Fate::Dead, Place::Dead(_, "TIME_AHEAD")) => None,
        (Fate::Stored, Place::Duplicate(..)) => None,
        (Fate::Stored, Place::Stored(row)) if row.body == event.body => None,
        (Fate::Stored, Place::Stored(row)) => Some(format!("{:?} was sent and {:?} is there", event.body, row.body)),
        (Fate::Dead, Place::Dead(_, reason)) => Some(format!("its time is ahead, and it is dead for {reason}")),
        (Fate::Dead, _) => Some("its time is ahead: it had to be a dead letter".to_owned()),
        (Fate::Stored, Place::Dead(_, reason)) => {
            Some(format!("nothing is wrong with it, and it is dead for {reason}"))
        }
    }
}

fn acknowledged(
    journal: &Journal,
    ack: &Ack,
    places: &HashMap<At, Place<'_>>,
    stored: &HashMap<(Stream, &str, i64), (i32, i64)>,
    findings: &mut Findings,
) {
    let event = journal.event(ack.n);
    let at = (event.stream, ack.partition, ack.offset);
    let Some(place) = places.get(&at) else {
        findings.add(Invariant::I1Lost, format!("event {} was acknowledged at {} and is nowhere", ack.n, named(at)));
        return;
    };
    if place.identity() != Some((&event.id, event.time_us)) {
        let other = place.identity();
        let text = format!("event {} was acknowledged at {}, where {other:?} is {}", ack.n, named(at), place.name());
        findings.add(Invariant::I1Lost, text);
    }
    let is_stored = stored.contains_key(&(event.stream, event.id.as_str(), event.time_us));
    match event.fate {
        Fate::Stored if !is_stored => {
            findings.add(Invariant::I1Lost, format!("event {} was acknowledged and is not stored", ack.n));
        }
        Fate::Refused => {
            findings.add(Invariant::I3Unsent, format!("event {} breaks the contract and was acknowledged", ack.n));
        }
        _ => {}
    }
}

/// The sum of what a body moves, for those who add up.
pub(super) fn hundredths(body: &Body) -> i64 {
    match body {
        Body::Money { hundredths, .. } => *hundredths,
        Body::Page { .. } => 0,
    }
}

fn named((stream, partition, offset): At) -> String {
    format!("{}/{partition}@{offset}", stream.name())
}
