//! What is promised of each read by itself: how old it may be, whose writes it sees, and what never comes back.

use std::collections::HashMap;

use super::findings::{Findings, Rule};
use super::key::{Key, Value};
use super::sequence::{Moment, Sequence};
use super::told::{ms, told};
use crate::history::{Call, Ended, Layer, Operation};

/// A key and its acknowledged writes.
struct Judge<'k, 'a> {
    key: &'k Key<'a>,
    /// By client and replica, in the client's order.
    own: HashMap<(&'a str, &'a str), Vec<Moment>>,
    /// Through replicas: those take the right to fill a key away.
    writes: Sequence,
    deletes: Sequence,
}

/// A read that is judged.
#[derive(Clone, Copy)]
struct Read<'a> {
    operation: &'a Operation,
    value: Value,
    layer: Layer,
    /// Whether it must be what the store had between question and answer.
    is_exact: bool,
    /// When the value had been the key's, or had been taken from a loader.
    settled_at_us: u64,
    loaded_at_us: Option<u64>,
    /// What is older may be lost.
    since_us: u64,
}

/// Judges every read of a key.
pub(super) fn check(key: &Key<'_>, findings: &mut Findings) {
    let judge = Judge::new(key);
    for operation in &key.operations {
        if let Some(read) = judge.read(operation, findings) {
            judge.staleness(&read, findings);
            judge.own_writes(&read, findings);
            judge.resurrection(&read, findings);
        }
    }
}

impl<'k, 'a> Judge<'k, 'a> {
    fn new(key: &'k Key<'a>) -> Self {
        let mut own: HashMap<_, Vec<Moment>> = HashMap::new();
        let (mut writes, mut deletes) = (Vec::new(), Vec::new());
        for moment in key.moments.iter() {
            let operation: &'a Operation = key.operations[moment.operation];
            if !matches!(operation.ended, Ended::Wrote { .. }) || operation.is_direct() {
                continue;
            }
            own.entry((operation.client.as_str(), operation.replica.as_str())).or_default().push(*moment);
            writes.push(*moment);
            if operation.call == Call::Delete {
                deletes.push(*moment);
            }
        }
        Self { key, own, writes: Sequence::new(writes), deletes: Sequence::new(deletes) }
    }

    /// A read as far as it can be judged; what was never written is found here.
    fn read(&self, operation: &'a Operation, findings: &mut Findings) -> Option<Read<'a>> {
        let Ended::Read { value, layer, is_stale, .. } = &operation.ended else { return None };
        let mut leave = |why| *findings.not_judged.entry(why).or_default() += 1;
        if *is_stale {
            leave("answers that say that they are stale");
            return None;
        }
        let Some((epoch, since_us)) = self.key.epochs.of(operation) else {
            leave("reads during a failover");
            return None;
        };
        let value = self.key.read(value.as_ref());
        let origin = self.key.origin(value);
        match (value, origin) {
            (Value::Absent, _) => {}
            (_, None) if self.key.has_unknown_sums => {
                leave("sums of increments without an answer");
                return None;
            }
            (_, None) => {
                findings.add(Rule::Unwritten, || format!("{}: nobody wrote it: {}", self.key.name, told(operation)));
                return None;
            }
            (_, Some(origin)) if origin.is_ambiguous => {
                leave("sums that several increments gave");
                return None;
            }
            (_, Some(origin)) => {
                let writer = self.key.operations[origin.operation];
                if operation.returned_at_us < writer.invoked_at_us {
                    findings.add(Rule::Unwritten, || {
                        format!("{}: before it was written, by {}: {}", self.key.name, told(writer), told(operation))
                    });
                    return None;
                }
            }
        }
        let loaded_at_us = origin.and_then(|origin| origin.loaded_at_us);
        let settled_at_us = match layer {
            // What a loader gives need not have been the key's value.
            Layer::Loader => loaded_at_us,
            _ => self.key.settled_at_us(value, operation),
        };
        let is_exact = *layer == Layer::L2 && epoch == 0 && !self.key.may_be_earlier(operation);
        let what = match (layer, is_exact) {
            (Layer::L1, _) => "answers of a replica's memory, by the bound",
            (Layer::L2, true) => "answers of the store, by one order",
            (Layer::L2, false) => "answers of the store after a failover or to several callers of a load, by the bound",
            (Layer::Loader, _) => "answers of a loader, by what was written meanwhile",
        };
        *findings.judged.entry(what).or_default() += 1;
        // Not settled: nothing surely came after it, unless it was loaded.
        let settled_at_us = settled_at_us.unwrap_or(u64::MAX);
        Some(Read { operation, value, layer: *layer, is_exact, settled_at_us, loaded_at_us, since_us })
    }

    fn staleness(&self, read: &Read<'_>, findings: &mut Findings) {
        if read.layer == Layer::Loader {
            return;
        }
        let Some(by) = self.key.moments.replaced(read.value, read.settled_at_us, read.since_us) else { return };
        let age_us = read.operation.invoked_at_us.saturating_sub(by.to_us);
        if read.layer == Layer::L1 {
            let there_us = read.operation.returned_at_us.saturating_sub(by.to_us);
            findings.oldest_us = (findings.oldest_us.0.max(age_us), findings.oldest_us.1.max(there_us));
        }
        let (rule, bound_us) = match read.is_exact {
            true => (Rule::OneOrder, 0),
            false => (Rule::Staleness, findings.bound_us),
        };
        if age_us > bound_us {
            findings.add(rule, || self.late(read, &by, &format!("{} ms after it was replaced", ms(age_us))));
        }
    }

    fn own_writes(&self, read: &Read<'_>, findings: &mut Findings) {
        let Read { operation, value, settled_at_us, since_us, .. } = *read;
        let Some(own) = self.own.get(&(operation.client.as_str(), operation.replica.as_str())) else { return };
        let before = own.partition_point(|write| write.to_us <= operation.invoked_at_us);
        let Some(write) = before.checked_sub(1).map(|last| own[last]) else { return };
        if write.from_us > settled_at_us && write.from_us >= since_us && write.value != value {
            findings.add(Rule::OwnWrites, || self.late(read, &write, "its own write is not seen"));
        }
    }

    fn resurrection(&self, read: &Read<'_>, findings: &mut Findings) {
        let Read { operation, value, since_us, .. } = *read;
        if value == Value::Absent {
            return;
        }
        let by = match read.loaded_at_us {
            Some(loaded_at_us) => self.writes.replaced(value, loaded_at_us, since_us),
            None => self.deletes.replaced(value, read.settled_at_us, since_us),
        };
        let Some(by) = by else { return };
        let bound_us = if read.is_exact { 0 } else { findings.bound_us };
        let age_us = operation.invoked_at_us.saturating_sub(by.to_us);
        if age_us > bound_us {
            findings
                .add(Rule::Resurrection, || self.late(read, &by, &format!("it came back, {} ms after", ms(age_us))));
        }
    }

    /// A read that is wrong, where its value is from, and what came after that.
    fn late(&self, read: &Read<'_>, by: &Moment, how: &str) -> String {
        let origin = self.key.origin(read.value).map(|origin| told(self.key.operations[origin.operation]));
        let origin = origin.unwrap_or_else(|| "nothing".to_owned());
        let by = told(self.key.operations[by.operation]);
        format!("{}: {how}:\n    {origin}\n    {by}\n    {}", self.key.name, told(read.operation))
    }
}
