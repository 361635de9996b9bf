use std::collections::BTreeMap;
use std::fmt;

use super::told::layer_name;
use crate::history::{Call, Ended, Event, EventKind, Layer, Operation};

/// What a history has, so that nobody takes an empty one for a good one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Operations.
    pub operations: usize,
    /// Keys.
    pub keys: usize,
    /// Operations by call and end.
    pub kinds: BTreeMap<String, usize>,
    /// Operations by client.
    pub clients: BTreeMap<String, usize>,
    /// Operations by replica.
    pub replicas: BTreeMap<String, usize>,
    /// What happened to the parts.
    pub events: BTreeMap<EventKind, usize>,
    l1_hits: usize,
    l2_reads: usize,
    writes_done: usize,
    deletes_done: usize,
}

impl Seen {
    pub(super) fn operation(&mut self, operation: &Operation) {
        self.operations += 1;
        *self.clients.entry(operation.client.clone()).or_default() += 1;
        *self.replicas.entry(operation.replica.clone()).or_default() += 1;
        *self.kinds.entry(kind(operation)).or_default() += 1;
        match (&operation.call, &operation.ended) {
            (_, Ended::Read { value: Some(_), layer: Layer::L1, is_stale: false, .. }) => self.l1_hits += 1,
            (_, Ended::Read { layer: Layer::L2, .. }) => self.l2_reads += 1,
            (Call::Delete, Ended::Wrote { is_done: true, .. }) => self.deletes_done += 1,
            (_, Ended::Wrote { is_done: true, .. }) => self.writes_done += 1,
            _ => {}
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        *self.events.entry(event.kind).or_default() += 1;
    }

    /// What there has to be some of and is none of.
    pub fn missing(&self) -> Vec<&'static str> {
        [
            (self.l1_hits, "a hit of a replica's memory"),
            (self.l2_reads, "an answer of the store"),
            (self.writes_done, "a write that was acknowledged"),
            (self.deletes_done, "a delete that was acknowledged"),
            (self.clients.len().saturating_sub(1), "a second client"),
        ]
        .into_iter()
        .filter_map(|(count, what)| (count == 0).then_some(what))
        .collect()
    }
}

fn kind(operation: &Operation) -> String {
    let call = match &operation.call {
        Call::Get { no_cache: true, .. } => "get no_cache",
        Call::Get { lease: true, .. } => "get lease",
        Call::Get { .. } => "get",
        Call::Set { .. } => "set",
        Call::SetIf { .. } => "set-if",
        Call::Increment { .. } => "increment",
        Call::Delete => "delete",
        Call::Load { .. } => "load",
    };
    let ended = match &operation.ended {
        Ended::Read { value, layer, is_stale, .. } => {
            let found = match (value, is_stale) {
                (None, _) => "miss",
                (Some(_), true) => "stale",
                (Some(_), false) => "hit",
            };
            format!("{} {found}", layer_name(*layer))
        }
        Ended::Wrote { is_done: true, .. } => "done".to_owned(),
        Ended::Wrote { is_done: false, .. } => "not met".to_owned(),
        Ended::Failed { .. } => "refused".to_owned(),
        Ended::Unknown { .. } => "unanswered".to_owned(),
    };
    let direct = if operation.is_direct() { " (direct)" } else { "" };
    format!("{call}{direct}: {ended}")
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, keys, kinds, clients, replicas, events, .. } = self;
        writeln!(f, "seen: {operations} operations of {} clients on {keys} keys", clients.len())?;
        for (replica, count) in replicas {
            writeln!(f, "  {count:>7} through {replica}")?;
        }
        for (kind, count) in kinds {
            writeln!(f, "  {count:>7} {kind}")?;
        }
        for (event, count) in events {
            writeln!(f, "  {count:>7} times {event:?}")?;
        }
        Ok(())
    }
}
