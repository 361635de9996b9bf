//! Small histories, written by hand.

use headwater_coherence::check::{Findings, Limits, Rule, check};
use headwater_coherence::history::{Call, Condition, DIRECT, Ended, Event, EventKind, Layer, Line, Operation, Run};

/// The bound that every story's replicas were given.
pub(crate) const BOUND_MS: u64 = 250;

/// A history of one key. Times are in milliseconds.
#[derive(Clone)]
pub(crate) struct Story(pub(crate) Vec<Line>);

impl Story {
    pub(crate) fn new() -> Self {
        let run = Run { seed: 1, plan: "story".to_owned(), staleness_max_ms: BOUND_MS };
        Self(vec![Line::Run(run)])
    }

    /// `who` is "client@replica".
    pub(crate) fn did(mut self, who: &str, times_ms: (u64, u64), call: Call, ended: Ended) -> Self {
        let (client, replica) = who.split_once('@').unwrap();
        self.0.push(Line::Operation(Operation {
            client: client.to_owned(),
            replica: replica.to_owned(),
            namespace: "default".to_owned(),
            key: "k".to_owned(),
            call,
            ended,
            invoked_at_us: times_ms.0 * 1000,
            returned_at_us: times_ms.1 * 1000,
        }));
        self
    }

    pub(crate) fn set(self, who: &str, times_ms: (u64, u64), value: &str) -> Self {
        self.did(who, times_ms, set(value), done())
    }

    pub(crate) fn set_unknown(self, who: &str, times_ms: (u64, u64), value: &str) -> Self {
        self.did(who, times_ms, set(value), unknown())
    }

    pub(crate) fn delete(self, who: &str, times_ms: (u64, u64)) -> Self {
        self.did(who, times_ms, Call::Delete, done())
    }

    pub(crate) fn get(self, who: &str, times_ms: (u64, u64), layer: Layer, value: Option<&str>) -> Self {
        self.did(who, times_ms, get(), answer(layer, value))
    }

    pub(crate) fn add(self, who: &str, times_ms: (u64, u64), delta: i64, sum: i64) -> Self {
        let ended = Ended::Wrote { is_done: true, existed: None, sum: Some(sum) };
        self.did(who, times_ms, Call::Increment { delta }, ended)
    }

    /// A get that is given the right to fill the key.
    pub(crate) fn leased(self, who: &str, times_ms: (u64, u64), lease: &str) -> Self {
        let ended = Ended::Read {
            value: None,
            layer: Layer::L2,
            is_stale: false,
            is_collapsed: false,
            lease: Some(lease.to_owned()),
        };
        self.did(who, times_ms, Call::Get { no_cache: true, lease: true }, ended)
    }

    pub(crate) fn fill(self, who: &str, times_ms: (u64, u64), value: &str, lease: &str, loaded_at_ms: u64) -> Self {
        self.did(who, times_ms, fill(value, lease, loaded_at_ms), done())
    }

    pub(crate) fn event(mut self, kind: EventKind, times_ms: (u64, u64)) -> Self {
        let (began_at_us, ended_at_us) = (times_ms.0 * 1000, times_ms.1 * 1000);
        self.0.push(Line::Event(Event { kind, detail: String::new(), began_at_us, ended_at_us }));
        self
    }

    pub(crate) fn found(&self) -> Findings {
        check(&self.0, &Limits::default()).unwrap()
    }

    pub(crate) fn holds(&self) {
        let found = self.found();
        assert!(found.is_clean(), "{found}");
    }

    /// Exactly these rules are violated.
    pub(crate) fn violates(&self, rules: &[Rule]) {
        let found = self.found();
        let violated: Vec<Rule> = found.violations.keys().copied().collect();
        assert_eq!(violated, rules, "{found}");
        assert!(!found.is_clean());
    }
}

pub(crate) fn get() -> Call {
    Call::Get { no_cache: false, lease: false }
}

pub(crate) fn set(value: &str) -> Call {
    Call::Set { value: value.to_owned() }
}

pub(crate) fn set_if(value: &str, condition: Condition) -> Call {
    Call::SetIf { value: value.to_owned(), condition, loaded_at_us: None }
}

pub(crate) fn fill(value: &str, lease: &str, loaded_at_ms: u64) -> Call {
    let (value, condition) = (value.to_owned(), Condition::Lease(lease.to_owned()));
    Call::SetIf { value, condition, loaded_at_us: Some(loaded_at_ms * 1000) }
}

pub(crate) fn done() -> Ended {
    Ended::Wrote { is_done: true, existed: None, sum: None }
}

pub(crate) fn not_met() -> Ended {
    Ended::Wrote { is_done: false, existed: None, sum: None }
}

pub(crate) fn existed(existed: bool) -> Ended {
    Ended::Wrote { is_done: true, existed: Some(existed), sum: None }
}

pub(crate) fn unknown() -> Ended {
    Ended::Unknown { why: "deadline".to_owned() }
}

pub(crate) fn answer(layer: Layer, value: Option<&str>) -> Ended {
    let value = value.map(str::to_owned);
    Ended::Read { value, layer, is_stale: false, is_collapsed: false, lease: None }
}

pub(crate) fn direct(client: &str) -> String {
    format!("{client}@{DIRECT}")
}
