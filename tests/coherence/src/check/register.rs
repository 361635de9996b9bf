//! A key as one register: what it has, who may fill it, and what each operation does to it in one step.

use std::collections::HashMap;

use super::key::{Key, Value};
use crate::history::{Call, Condition, Ended, Layer, Operation};

/// What a key has at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) value: Value,
    /// Whose right to fill it holds.
    lease: Option<u32>,
}

/// A step that an operation takes, between question and answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) operation: usize,
    pub(super) from_us: u64,
    /// None: it may be taken at any later time, or never.
    pub(super) to_us: Option<u64>,
    action: Action,
    takes_lease: bool,
}

/// What a step does. What an answer says of it is there where there is an answer.
#[derive(Clone, Copy, Debug)]
enum Action {
    Read { value: Value, granted: Option<u32> },
    Put { value: Value, condition: If, is_done: bool, existed: Option<bool> },
    Add { delta: i64, sum: Option<i64> },
    Delete { existed: Option<bool> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum If {
    Always,
    Absent,
    Present,
    Is(Value),
    Lease(u32),
}

/// Steps without an answer that can stand for each other: the one that was asked for first will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Alike {
    /// Nobody saw the value.
    Unseen(u8, bool),
    Delete(bool),
}

impl State {
    pub(super) const FIRST: Self = Self { value: Value::Absent, lease: None };
}

impl Step {
    /// What is there afterwards. None: it cannot be taken now.
    pub(super) fn taken(&self, state: State) -> Option<State> {
        let State { value: current, lease } = state;
        let is_there = current != Value::Absent;
        let fits = |existed: Option<bool>| existed.is_none_or(|existed| existed == is_there);
        let written = |value| State { value, lease: if self.takes_lease { None } else { lease } };
        match self.action {
            Action::Read { value, granted } => {
                (value == current).then_some(State { lease: granted.or(lease), ..state })
            }
            Action::Put { value, condition, is_done: true, existed } => {
                (condition.holds(state) && fits(existed)).then(|| written(value))
            }
            Action::Put { condition, is_done: false, existed, .. } => {
                (condition.may_fail(state) && fits(existed)).then_some(state)
            }
            Action::Add { delta, sum } => {
                let base = match current {
                    Value::Absent => 0,
                    Value::Number(number) => number,
                    Value::Text(_) => return None,
                };
                let after = base.checked_add(delta)?;
                sum.is_none_or(|sum| sum == after).then(|| written(Value::Number(after)))
            }
            Action::Delete { existed } => fits(existed).then(|| written(Value::Absent)),
        }
    }

    /// Whether it is taken now and changes nothing: then nothing is lost by taking it first.
    pub(super) fn is_idle(&self, state: State) -> bool {
        self.taken(state) == Some(state)
    }

    fn alike(&self, seen: &HashMap<Value, ()>) -> Option<Alike> {
        match self.action {
            Action::Delete { .. } => Some(Alike::Delete(self.takes_lease)),
            Action::Put { value: value @ Value::Text(_), condition, .. } if !seen.contains_key(&value) => {
                let kind = match condition {
                    If::Always => 0,
                    If::Absent => 1,
                    If::Present => 2,
                    If::Is(_) | If::Lease(_) => return None,
                };
                Some(Alike::Unseen(kind, self.takes_lease))
            }
            _ => None,
        }
    }
}

impl If {
    fn holds(self, state: State) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => state.value == Value::Absent,
            Self::Present => state.value != Value::Absent,
            Self::Is(value) => state.value == value,
            Self::Lease(lease) => state.lease == Some(lease),
        }
    }

    /// A right to fill a key may have run out.
    fn may_fail(self, state: State) -> bool {
        matches!(self, Self::Lease(_)) || !self.holds(state)
    }
}

/// The steps of a key, in the order in which they were asked for: those with an answer, and those without one with what
/// they are alike to.
pub(super) fn steps(key: &Key<'_>) -> (Vec<Step>, Vec<(Step, Option<Alike>)>) {
    let mut leases = HashMap::new();
    let mut seen = HashMap::new();
    let until_us = key.epochs.first_ended_us();
    let (mut answered, mut open) = (Vec::new(), Vec::new());
    for (at, operation) in key.operations.iter().enumerate() {
        let from_us = operation.invoked_at_us;
        if from_us >= until_us {
            break;
        }
        let ends_before = operation.returned_at_us < until_us;
        let Some(action) = action(key, operation, &mut leases) else { continue };
        let is_answered = ends_before && matches!(operation.ended, Ended::Read { .. } | Ended::Wrote { .. });
        let to_us = is_answered.then_some(operation.returned_at_us);
        let step = Step { operation: at, from_us, to_us, action, takes_lease: !operation.is_direct() };
        match (is_answered, action) {
            (true, _) => {
                if let Action::Read { value, .. } | Action::Put { condition: If::Is(value), .. } = action {
                    seen.insert(value, ());
                }
                answered.push(step);
            }
            (false, Action::Read { .. } | Action::Put { is_done: false, .. }) => {}
            (false, _) => open.push(step),
        }
    }
    let open = open.into_iter().map(|step| (step, step.alike(&seen))).collect();
    (answered, open)
}

/// What an operation did to the store, or may have done; None: nothing, or nothing that can be told.
fn action<'a>(key: &Key<'a>, operation: &'a Operation, leases: &mut HashMap<&'a str, u32>) -> Option<Action> {
    let next = u32::try_from(leases.len()).unwrap_or(u32::MAX);
    let mut lease = |token: &'a String| *leases.entry(token.as_str()).or_insert(next);
    let (is_done, existed, sum) = match &operation.ended {
        Ended::Failed { .. } => return None,
        Ended::Read { value, layer: Layer::L2, is_stale: false, lease: granted, .. }
            if !key.may_be_earlier(operation) =>
        {
            let granted = granted.as_ref().map(lease);
            return Some(Action::Read { value: key.read(value.as_ref()), granted });
        }
        Ended::Read { .. } => return None,
        Ended::Wrote { is_done, existed, sum } => (*is_done, *existed, *sum),
        Ended::Unknown { .. } => (true, None, None),
    };
    match &operation.call {
        Call::Get { .. } => None,
        Call::Set { value } => Some(Action::Put { value: key.known(value), condition: If::Always, is_done, existed }),
        Call::SetIf { value, condition, .. } => {
            let condition = match condition {
                Condition::Absent => If::Absent,
                Condition::Present => If::Present,
                Condition::Value(value) => If::Is(key.known(value)),
                Condition::Lease(token) => If::Lease(lease(token)),
            };
            Some(Action::Put { value: key.known(value), condition, is_done, existed })
        }
        // That its right to fill the key held is asked by itself.
        Call::Load { value } => {
            Some(Action::Put { value: key.known(value), condition: If::Absent, is_done: true, existed: None })
        }
        Call::Increment { delta } => Some(Action::Add { delta: *delta, sum }),
        Call::Delete => Some(Action::Delete { existed }),
    }
}
