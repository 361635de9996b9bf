//! Wrong answers, put into good histories.

use headwater_coherence::check::{Limits, Rule, check};
use headwater_coherence::history::{Call, Ended, Layer, Line, Operation};

/// Of so many places one is tried.
const EVERY: usize = 19;

/// Changes what one read was answered to something that was replaced so long ago, at several places; each time the rule is
/// found to be violated. Gives the number of places.
pub(crate) fn plant_and_catch(good: &[Line], rule: Rule, layer: Layer, by_delete: bool, ago_us: u64) -> usize {
    let mut planted = 0;
    for (at, old) in occasions(good, layer, by_delete, ago_us).into_iter().step_by(EVERY) {
        let mut bad = good.to_vec();
        let Line::Operation(Operation { ended: Ended::Read { value, .. }, .. }) = &mut bad[at] else { continue };
        *value = Some(old);
        let found = check(&bad, &Limits::default()).unwrap();
        assert!(found.count(rule) > 0, "line {at}: {found}");
        planted += 1;
    }
    planted
}

/// Reads of values that were surely replaced so long ago, and by a delete: the place in the history, and the old value.
fn occasions(lines: &[Line], layer: Layer, by_delete: bool, ago_us: u64) -> Vec<(usize, String)> {
    let operation = |line: &Line| match line {
        Line::Operation(operation) => Some(operation.clone()),
        _ => None,
    };
    let is_read = |read: &Operation| {
        matches!(&read.ended, Ended::Read { layer: by, value: Some(_), .. } if *by == layer)
            && matches!(read.call, Call::Get { lease: false, .. })
    };
    let mut found = Vec::new();
    for (at, read) in lines.iter().enumerate().filter_map(|(at, line)| Some((at, operation(line)?))) {
        if !is_read(&read) {
            continue;
        }
        let before: Vec<Operation> = lines.iter().filter_map(operation).filter(|other| other.key == read.key).collect();
        let is_done = |other: &Operation| matches!(other.ended, Ended::Wrote { is_done: true, .. });
        let Some(by) = before.iter().find(|by| {
            let is_meant = if by_delete { by.call == Call::Delete } else { matches!(by.call, Call::Set { .. }) };
            is_meant && is_done(by) && by.returned_at_us + ago_us < read.invoked_at_us && by.client != read.client
        }) else {
            continue;
        };
        let old = before.iter().find_map(|old| match &old.call {
            Call::Set { value } if is_done(old) && old.returned_at_us < by.invoked_at_us => Some(value.clone()),
            _ => None,
        });
        found.extend(old.map(|old| (at, old)));
    }
    found
}
