//! I7: sends of one key are one after the other, so that their offsets rise in the order of the acknowledgements.

use std::collections::HashMap;

use super::{Findings, Invariant};
use crate::event::Stream;
use crate::journal::Journal;

pub(super) fn check(journal: &Journal, findings: &mut Findings) {
    let mut last: HashMap<(Stream, &str), (i32, i64, u64)> = HashMap::new();
    for ack in &journal.acks {
        let event = journal.event(ack.n);
        let here = (ack.partition, ack.offset, ack.n);
        let Some((partition, offset, n)) = last.insert((event.stream, event.key()), here) else { continue };
        let key = format!("{} {:?}", event.stream.name(), event.key());
        if partition != ack.partition {
            let text =
                format!("{key}: event {n} is on partition {partition}, and event {} on {}", ack.n, ack.partition);
            findings.add(Invariant::I7Order, text);
        } else if ack.offset <= offset {
            let text =
                format!("{key}: event {n} is at offset {offset}, and event {} after it at {}", ack.n, ack.offset);
            findings.add(Invariant::I7Order, text);
        }
    }
}
