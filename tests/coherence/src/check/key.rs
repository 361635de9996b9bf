//! The operations of one key, and what surely followed what.

use std::collections::HashMap;

use anyhow::{Result, bail};

use super::sequence::{Moment, Sequence};
use super::told::told;
use crate::history::{Call, Ended, Layer, Operation};

/// What a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Absent,
    /// Its number among the key's values.
    Text(u32),
    Number(i64),
}

/// The spans between failovers. Within one, an acknowledged write stays.
pub(super) struct Epochs(Vec<(u64, u64)>);

/// The operations of one key, in the order in which they were asked for.
pub(super) struct Key<'a> {
    pub(super) name: String,
    pub(super) operations: Vec<&'a Operation>,
    pub(super) epochs: &'a Epochs,
    /// Answers of the store and acknowledged writes.
    pub(super) moments: Sequence,
    texts: HashMap<&'a str, u32>,
    origins: HashMap<Value, Origin>,
    /// When deletes were asked for, and until when they and all that were asked for before may take effect.
    removals: Vec<(u64, u64)>,
    /// Whether there are increments whose sum nobody told.
    pub(super) has_unknown_sums: bool,
    is_loaded: bool,
}

/// Where a value is from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// Who wrote it, or loaded it.
    pub(super) operation: usize,
    /// When it had surely been the key's value, or been replaced already. None: that it ever was is not known.
    pub(super) settled_at_us: Option<u64>,
    /// When it was taken from wherever it was loaded from.
    pub(super) loaded_at_us: Option<u64>,
    /// Whether several operations gave it, so that nothing follows from it.
    pub(super) is_ambiguous: bool,
}

impl Epochs {
    pub(super) fn new(mut failovers: Vec<(u64, u64)>) -> Self {
        failovers.sort_unstable();
        let mut spans = Vec::new();
        let mut from_us = 0;
        for (began_us, ended_us) in failovers {
            spans.push((from_us, began_us));
            from_us = from_us.max(ended_us);
        }
        spans.push((from_us, u64::MAX));
        Self(spans)
    }

    /// The number of the span that has the whole operation, and when it began.
    pub(super) fn of(&self, operation: &Operation) -> Option<(usize, u64)> {
        let (from_us, to_us) = (operation.invoked_at_us, operation.returned_at_us);
        let at = self.0.iter().position(|span| span.0 <= from_us && to_us <= span.1)?;
        Some((at, self.0[at].0))
    }

    /// When the first failover began.
    pub(super) fn first_ended_us(&self) -> u64 {
        self.0[0].1
    }
}

impl<'a> Key<'a> {
    pub(super) fn new(name: String, mut operations: Vec<&'a Operation>, epochs: &'a Epochs) -> Result<Self> {
        operations.sort_by_key(|operation| (operation.invoked_at_us, operation.returned_at_us));
        let mut key = Self {
            name,
            operations,
            epochs,
            texts: HashMap::new(),
            origins: HashMap::new(),
            moments: Sequence::default(),
            removals: Vec::new(),
            has_unknown_sums: false,
            is_loaded: false,
        };
        key.is_loaded = key.operations.iter().any(|operation| matches!(operation.call, Call::Load { .. }));
        key.find_origins()?;
        key.find_moments();
        key.find_removals();
        Ok(key)
    }

    /// A value as the history spells it.
    pub(super) fn value(&mut self, text: &'a str) -> Value {
        if let Some(number) = number(text) {
            return Value::Number(number);
        }
        let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        Value::Text(*self.texts.entry(text).or_insert(next))
    }

    /// A value that was interned before.
    pub(super) fn known(&self, text: &str) -> Value {
        number(text).map(Value::Number).or_else(|| self.texts.get(text).map(|&text| Value::Text(text))).unwrap_or(
            // A value that nobody wrote and that is nobody's.
            Value::Text(u32::MAX),
        )
    }

    pub(super) fn read(&self, value: Option<&String>) -> Value {
        value.map_or(Value::Absent, |value| self.known(value))
    }

    pub(super) fn origin(&self, value: Value) -> Option<&Origin> {
        self.origins.get(&value)
    }

    /// Whether an answer may have been fetched before it was asked for: where several wait for a load together, and the store
    /// itself was not asked for. Without a loader a read answers only those who asked before it began.
    pub(super) fn may_be_earlier(&self, operation: &Operation) -> bool {
        self.is_loaded
            && matches!(operation.ended, Ended::Read { is_collapsed: true, .. })
            && !matches!(operation.call, Call::Get { no_cache: true, .. })
    }

    /// When a value that was read by an operation was surely settled: whatever began after that replaced it. None: nothing
    /// is known to have.
    pub(super) fn settled_at_us(&self, value: Value, reader: &Operation) -> Option<u64> {
        match value {
            Value::Absent => {
                // No delete can have made it so that began later or surely ended before.
                let asked = self.removals.partition_point(|(from_us, _)| *from_us <= reader.returned_at_us);
                Some(asked.checked_sub(1).map_or(0, |last| self.removals[last].1))
            }
            value => self.origins.get(&value).filter(|origin| !origin.is_ambiguous)?.settled_at_us,
        }
    }

    fn find_origins(&mut self) -> Result<()> {
        for at in 0..self.operations.len() {
            let operation = self.operations[at];
            let (value, is_acknowledged) = match (&operation.call, &operation.ended) {
                (_, Ended::Failed { .. } | Ended::Wrote { is_done: false, .. }) => continue,
                (Call::Set { value } | Call::SetIf { value, .. }, ended) => {
                    (self.value(value), matches!(ended, Ended::Wrote { .. }))
                }
                (Call::Load { value }, _) => (self.value(value), false),
                (Call::Increment { .. }, Ended::Wrote { sum: Some(sum), .. }) => (Value::Number(*sum), true),
                (Call::Increment { .. }, _) => {
                    self.has_unknown_sums = true;
                    continue;
                }
                _ => continue,
            };
            let loaded_at_us = match &operation.call {
                Call::Load { .. } => Some(operation.invoked_at_us),
                Call::SetIf { loaded_at_us, .. } => *loaded_at_us,
                _ => None,
            };
            let settled_at_us = is_acknowledged.then_some(operation.returned_at_us);
            let origin = Origin { operation: at, settled_at_us, loaded_at_us, is_ambiguous: false };
            if let Some(other) = self.origins.insert(value, origin) {
                let is_sum = |at: usize| matches!(self.operations[at].call, Call::Increment { .. });
                if !is_sum(at) && !is_sum(other.operation) {
                    bail!(
                        "a value was written twice: {}, and {}",
                        told(self.operations[other.operation]),
                        told(operation)
                    );
                }
                self.origins.insert(value, Origin { is_ambiguous: true, ..origin });
            }
        }
        Ok(())
    }

    /// Answers of the store, and acknowledged writes. What the store answered also settles values whose writers had no answer.
    fn find_moments(&mut self) {
        let mut moments = Vec::new();
        for at in 0..self.operations.len() {
            let operation = self.operations[at];
            let value = match (&operation.call, &operation.ended) {
                (_, Ended::Read { value, layer: Layer::L2, is_stale: false, .. }) => {
                    let value = self.read(value.as_ref());
                    if let Some(origin) = self.origins.get_mut(&value) {
                        let settled_at_us = origin.settled_at_us.unwrap_or(u64::MAX).min(operation.returned_at_us);
                        origin.settled_at_us = Some(settled_at_us);
                    }
                    // It may have been read before this one asked for it.
                    if self.may_be_earlier(operation) {
                        continue;
                    }
                    value
                }
                (Call::Set { value } | Call::SetIf { value, .. }, Ended::Wrote { is_done: true, .. }) => {
                    self.known(value)
                }
                (Call::Delete, Ended::Wrote { .. }) => Value::Absent,
                (Call::Increment { .. }, Ended::Wrote { sum: Some(sum), .. }) => Value::Number(*sum),
                _ => continue,
            };
            let (from_us, to_us) = (operation.invoked_at_us, operation.returned_at_us);
            moments.push(Moment { operation: at, value, from_us, to_us });
        }
        self.moments = Sequence::new(moments);
    }

    fn find_removals(&mut self) {
        let mut until_us = 0;
        for operation in &self.operations {
            let to_us = match (&operation.call, &operation.ended) {
                (Call::Delete, Ended::Wrote { .. }) => operation.returned_at_us,
                (Call::Delete, Ended::Unknown { .. }) => u64::MAX,
                _ => continue,
            };
            until_us = until_us.max(to_us);
            self.removals.push((operation.invoked_at_us, until_us));
        }
    }
}

/// The number that a text spells, if it is the only spelling of it.
fn number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}
