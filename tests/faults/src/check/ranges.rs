//! I6: offsets. What Kafka was told is never ahead of Postgres; batches have neither overlap nor hole; epochs only grow.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, Invariant};
use crate::event::Stream;
use crate::evidence::{Evidence, Range};
use crate::measures::Measure;

type Partition = (Stream, i32);

pub(super) fn check(evidence: &Evidence, measures: &[Measure], findings: &mut Findings) {
    let mut ranges: BTreeMap<Partition, Vec<&Range>> = BTreeMap::new();
    for range in &evidence.ranges {
        ranges.entry((range.stream, range.partition)).or_default().push(range);
    }
    let offsets = offsets(evidence);
    let partitions: BTreeSet<Partition> = ranges.keys().chain(offsets.keys()).copied().collect();
    for at in partitions {
        let mut of = ranges.remove(&at).unwrap_or_default();
        of.sort_by_key(|range| (range.first, range.next));
        let next = follows(at, &of, evidence, findings);
        let none = BTreeSet::new();
        filled(at, &of, next, offsets.get(&at).unwrap_or(&none), findings);
    }
    for end in &evidence.ends {
        let at = (end.stream, end.partition);
        let next = evidence.next_of(at).unwrap_or(0);
        if end.committed.is_some_and(|committed| committed > next) {
            let text = format!("{}: Kafka was told {:?}, and Postgres has {next}", named(at), end.committed);
            findings.add(Invariant::I6Offsets, text);
        }
        if end.high != next {
            let text = format!("{}: the log ends at {}, and Postgres has {next}", named(at), end.high);
            findings.add(Invariant::I6Offsets, text);
        }
    }
    for measure in measures {
        if let Measure::Hint { at_ms, stream, partition, committed, next } = measure
            && committed > next
        {
            let at = named((*stream, *partition));
            let text = format!("{at}: at {at_ms} ms Kafka had been told {committed}, and Postgres had {next} later");
            findings.add(Invariant::I6Offsets, text);
        }
    }
}

/// Offsets of everything that is in any place.
fn offsets(evidence: &Evidence) -> BTreeMap<Partition, BTreeSet<i64>> {
    let mut offsets: BTreeMap<Partition, BTreeSet<i64>> = BTreeMap::new();
    let stored = evidence.stored.iter().map(|row| (row.stream, row.partition, row.offset));
    let dead = evidence.dead.iter().map(|letter| (letter.stream, letter.partition, letter.offset));
    let duplicates = evidence.duplicates.iter().map(|other| (other.stream, other.partition, other.offset));
    for (stream, partition, offset) in stored.chain(dead).chain(duplicates) {
        offsets.entry((stream, partition)).or_default().insert(offset);
    }
    offsets
}

/// One range after the other, from 0 to where the partition stands. Returns where it does.
fn follows(at: Partition, ranges: &[&Range], evidence: &Evidence, findings: &mut Findings) -> i64 {
    let (mut next, mut epoch) = (0, 0);
    for range in ranges {
        let what = format!("{}: batch [{}, {}) of epoch {}", named(at), range.first, range.next, range.epoch);
        if range.first < next {
            findings.add(Invariant::I6Offsets, format!("{what} overlaps the one before, which ends at {next}"));
        } else if range.first > next {
            findings.add(Invariant::I6Offsets, format!("{what} leaves a hole: the one before ends at {next}"));
        }
        if range.next <= range.first {
            findings.add(Invariant::I6Offsets, format!("{what} is empty"));
        }
        if range.epoch < epoch {
            findings.add(Invariant::I6Offsets, format!("{what} comes after one of epoch {epoch}"));
        }
        next = range.next.max(next);
        epoch = range.epoch.max(epoch);
    }
    match evidence.positions.iter().find(|position| (position.stream, position.partition) == at) {
        None => findings.add(Invariant::I6Offsets, format!("{}: nobody ever took it", named(at))),
        Some(position) => {
            if position.next.unwrap_or(0) != next {
                let text = format!("{}: stands at {:?}, and its batches end at {next}", named(at), position.next);
                findings.add(Invariant::I6Offsets, text);
            }
            if position.epoch < epoch {
                let text = format!("{}: is at epoch {}, and has batches of {epoch}", named(at), position.epoch);
                findings.add(Invariant::I6Offsets, text);
            }
        }
    }
    next
}

/// Every offset is in a place, and each batch has as many as it says.
fn filled(at: Partition, ranges: &[&Range], next: i64, offsets: &BTreeSet<i64>, findings: &mut Findings) {
    for range in ranges {
        let found = offsets.range(range.first..range.next.max(range.first)).count() as i64;
        let said = i64::from(range.records);
        if found != said || found != range.next - range.first {
            let text = format!(
                "{}: batch [{}, {}) says that it has {said} records, and {found} are there",
                named(at),
                range.first,
                range.next
            );
            findings.add(Invariant::I6Offsets, text);
        }
    }
    if let Some(last) = offsets.last()
        && *last >= next
    {
        findings.add(Invariant::I6Offsets, format!("{}: offset {last} is there, and no batch has it", named(at)));
    }
}

fn named((stream, partition): Partition) -> String {
    format!("{}/{partition}", stream.name())
}
