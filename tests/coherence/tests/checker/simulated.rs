//! Histories of a cache that keeps its promises, made by seed on a clock of their own; and the same with one answer changed.

use std::collections::{BTreeMap, HashMap};

use fastrand::Rng;
use headwater_coherence::check::{Findings, Limits, Rule, check};
use headwater_coherence::history::{Call, Condition, Ended, Layer, Line, Operation, Run};

use crate::plant::plant_and_catch;
use crate::story::BOUND_MS;

const SEEDS: u64 = 40;
const CLIENTS: usize = 6;
const REPLICAS: usize = 3;
const KEYS: usize = 2;
const EACH: usize = 250;
/// Longest that a notice takes to a replica, in microseconds.
const NOTICE_US_MAX: u64 = BOUND_MS * 900;

/// Something that happens at a moment.
enum Happening {
    /// An operation reaches who answers it.
    Effect,
    /// A replica hears that a key changed.
    Notice(usize, usize),
}

#[derive(Default)]
struct Store {
    values: HashMap<usize, String>,
    leases: HashMap<usize, String>,
    memories: HashMap<(usize, usize), String>,
}

/// A history of a cache that keeps its promises.
fn simulated(seed: u64) -> Vec<Line> {
    let mut rng = Rng::with_seed(seed);
    let mut operations: Vec<Operation> = Vec::new();
    let mut agenda = BTreeMap::new();
    for client in 0..CLIENTS {
        let mut now_us = rng.u64(..1000);
        for number in 0..EACH {
            let invoked_at_us = now_us + rng.u64(..3000);
            let mut returned_at_us = invoked_at_us + rng.u64(200..4000);
            let at = operations.len();
            let call = call(&mut rng, &format!("{client}.{number}"));
            let mut effect_us = rng.u64(invoked_at_us..=returned_at_us);
            let mut ended = Ended::Failed { why: "not yet".to_owned() };
            // An answer that nobody waits for: done at any time, or never.
            if rng.u32(..20) == 0 {
                ended = Ended::Unknown { why: "deadline".to_owned() };
                effect_us = if rng.bool() { u64::MAX } else { invoked_at_us + rng.u64(..60_000) };
                returned_at_us = invoked_at_us + 4000;
            }
            agenda.insert((effect_us, at, 0), Happening::Effect);
            operations.push(Operation {
                client: format!("client-{client}"),
                replica: (client % REPLICAS).to_string(),
                namespace: "default".to_owned(),
                key: rng.usize(..KEYS).to_string(),
                call,
                ended,
                invoked_at_us,
                returned_at_us,
            });
            now_us = returned_at_us;
        }
    }
    let mut store = Store::default();
    while let Some(((now_us, at, _), happening)) = agenda.pop_first() {
        match happening {
            Happening::Effect if now_us == u64::MAX => {}
            Happening::Notice(replica, key) => drop(store.memories.remove(&(replica, key))),
            Happening::Effect => {
                let (ended, is_change) = store.answer(&mut operations[at], now_us);
                let operation = &mut operations[at];
                if !matches!(operation.ended, Ended::Unknown { .. }) {
                    operation.ended = ended;
                }
                let key: usize = operation.key.parse().unwrap();
                let own: usize = operation.replica.parse().unwrap();
                for replica in (0..REPLICAS).filter(|_| is_change) {
                    if replica == own {
                        store.memories.remove(&(own, key));
                    } else {
                        let heard_us = now_us + rng.u64(..NOTICE_US_MAX);
                        agenda.insert((heard_us, at, replica + 1), Happening::Notice(replica, key));
                    }
                }
            }
        }
    }
    let run = Run { seed, plan: "simulated".to_owned(), staleness_max_ms: BOUND_MS };
    std::iter::once(Line::Run(run)).chain(operations.into_iter().map(Line::Operation)).collect()
}

fn call(rng: &mut Rng, name: &str) -> Call {
    let value = format!("v{name}");
    match rng.u32(..100) {
        0..55 => Call::Get { no_cache: false, lease: false },
        55..62 => Call::Get { no_cache: true, lease: false },
        62..70 => Call::Get { no_cache: false, lease: true },
        70..85 => Call::Set { value },
        85..88 => Call::SetIf { value, condition: Condition::Absent, loaded_at_us: None },
        88..91 => Call::SetIf { value, condition: Condition::Present, loaded_at_us: None },
        // Filled in with what the client was given.
        91..95 => Call::SetIf { value, condition: Condition::Lease(String::new()), loaded_at_us: Some(0) },
        _ => Call::Delete,
    }
}

impl Store {
    /// The answer at this moment, and whether anything changed.
    fn answer(&mut self, operation: &mut Operation, now_us: u64) -> (Ended, bool) {
        let key: usize = operation.key.parse().unwrap();
        let memory = (operation.replica.parse().unwrap(), key);
        let had = self.values.get(&key).cloned();
        let wrote = |is_done| Ended::Wrote { is_done, existed: Some(had.is_some()), sum: None };
        let value = match &mut operation.call {
            Call::Get { no_cache, lease } => {
                let remembered = self.memories.get(&memory).filter(|_| !*no_cache).cloned();
                let (value, layer) = match remembered {
                    Some(value) => (Some(value), Layer::L1),
                    None => (had.clone(), Layer::L2),
                };
                if let (Some(value), Layer::L2) = (&value, layer) {
                    self.memories.insert(memory, value.clone());
                }
                // Nobody knows of a right whose answer was lost.
                let is_answered = !matches!(operation.ended, Ended::Unknown { .. });
                let lease = (*lease && value.is_none() && layer == Layer::L2 && is_answered).then(|| {
                    let lease = format!("l{now_us}-{}", operation.client);
                    self.leases.insert(key, lease.clone());
                    lease
                });
                return (Ended::Read { value, layer, is_stale: false, is_collapsed: false, lease }, false);
            }
            Call::SetIf { condition: Condition::Absent, .. } if had.is_some() => return (wrote(false), false),
            Call::SetIf { condition: Condition::Present, .. } if had.is_none() => return (wrote(false), false),
            Call::SetIf { condition: Condition::Lease(lease), value, loaded_at_us } => {
                let Some(held) = self.leases.get(&key) else { return (wrote(false), false) };
                lease.clone_from(held);
                *loaded_at_us = held[1..].split_once('-').and_then(|(at_us, _)| at_us.parse().ok());
                Some(value.clone())
            }
            Call::Set { value } | Call::SetIf { value, .. } => Some(value.clone()),
            Call::Delete => None,
            Call::Increment { .. } | Call::Load { .. } => unreachable!("none is made"),
        };
        self.leases.remove(&key);
        match value {
            Some(value) => drop(self.values.insert(key, value)),
            None => drop(self.values.remove(&key)),
        }
        (wrote(true), true)
    }
}

fn judged(lines: &[Line]) -> Findings {
    check(lines, &Limits::default()).unwrap()
}

#[test]
fn histories_that_keep_the_promises_hold() {
    for seed in 0..SEEDS {
        let found = judged(&simulated(seed));
        assert!(found.is_clean() && found.seen.missing().is_empty(), "seed {seed}: {found}");
        assert!(found.oldest_us.0 > 5_000, "seed {seed}: the bound is not even tried: {found}");
    }
}

/// Changes what one read was answered, at several places of several histories; each time the rule is found to be violated.
fn is_caught(rule: Rule, layer: Layer, by_delete: bool, ago_us: u64) {
    let mut planted = 0;
    for seed in 0..SEEDS / 20 {
        planted += plant_and_catch(&simulated(seed), rule, layer, by_delete, ago_us);
    }
    assert!(planted > 10, "there were {planted} occasions only");
}

#[test]
fn one_stale_answer_of_a_memory_among_good_ones_is_found() {
    is_caught(Rule::Staleness, Layer::L1, false, BOUND_MS * 1000);
}

#[test]
fn one_stale_answer_of_the_store_among_good_ones_is_found() {
    is_caught(Rule::OneOrder, Layer::L2, false, 0);
}

#[test]
fn one_deleted_value_that_comes_back_among_good_ones_is_found() {
    is_caught(Rule::Resurrection, Layer::L1, true, BOUND_MS * 1000);
    is_caught(Rule::Resurrection, Layer::L2, true, 0);
}
