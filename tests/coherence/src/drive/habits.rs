use std::collections::HashMap;

use fastrand::Rng;

use super::Key;
use crate::history::{Call, Condition, Ended};

/// Longest that a client takes to load what it has the right to fill in, in milliseconds.
const FILL_AFTER_MS_MAX: u64 = 400;

/// What a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Values that clients write, fill in with leases, and forget.
    Text,
    /// A number that they add to.
    Number,
    /// Values that a loader gives.
    Loaded,
}

/// The keys that clients share; the first ones are used most.
#[derive(Clone, Debug)]
pub struct Keys(pub Vec<Key>);

/// What a client knows of a key, and what it will do next with it.
pub(super) struct Habits {
    rng: Rng,
    client: String,
    writes: u64,
    /// What it saw last at a key.
    seen: HashMap<String, String>,
    /// Rights to fill a key: what with, when that was loaded, and from when on it is filled in.
    leases: HashMap<String, Lease>,
}

struct Lease {
    token: String,
    loaded_at_us: u64,
    fill_at_us: u64,
}

impl Keys {
    fn choose(&self, rng: &mut Rng) -> Key {
        let at = rng.usize(..self.0.len()).min(rng.usize(..self.0.len()));
        self.0[at].clone()
    }
}

impl Habits {
    pub(super) fn new(client: &str, seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        Self { rng, client: client.to_owned(), writes: 0, seen: HashMap::new(), leases: HashMap::new() }
    }

    pub(super) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// What it does next.
    pub(super) fn next(&mut self, keys: &Keys, now_us: u64) -> (Key, Call) {
        let key = keys.choose(&mut self.rng);
        if self.leases.get(&key.name).is_some_and(|lease| lease.fill_at_us <= now_us)
            && let Some(lease) = self.leases.remove(&key.name)
        {
            let (value, condition) = (self.value(), Condition::Lease(lease.token));
            return (key, Call::SetIf { value, condition, loaded_at_us: Some(lease.loaded_at_us) });
        }
        let call = match key.kind {
            Kind::Text => self.with_text(&key),
            Kind::Number => match self.rng.u32(..100) {
                0..60 => get(),
                60..70 => Call::Get { no_cache: true, lease: false },
                70..96 => Call::Increment { delta: self.rng.i64(1..1 << 40) },
                _ => Call::Delete,
            },
            Kind::Loaded => match self.rng.u32(..100) {
                0..84 => get(),
                84..88 => Call::Get { no_cache: true, lease: false },
                88..91 => Call::Set { value: self.value() },
                _ => Call::Delete,
            },
        };
        (key, call)
    }

    fn with_text(&mut self, key: &Key) -> Call {
        let value = self.value();
        let set_if = |value, condition| Call::SetIf { value, condition, loaded_at_us: None };
        match self.rng.u32(..100) {
            0..62 => get(),
            62..68 => Call::Get { no_cache: true, lease: false },
            68..76 => Call::Get { no_cache: self.rng.bool(), lease: true },
            76..84 => Call::Set { value },
            84..87 => set_if(value, Condition::Absent),
            87..89 => set_if(value, Condition::Present),
            89..93 => match self.seen.get(&key.name) {
                Some(seen) => set_if(value, Condition::Value(seen.clone())),
                None => Call::Set { value },
            },
            _ => Call::Delete,
        }
    }

    /// Remembers what came of it.
    pub(super) fn learn(&mut self, key: &Key, call: &Call, ended: &Ended, now_us: u64) {
        match (call, ended) {
            (_, Ended::Read { value, lease, .. }) => {
                if let Some(value) = value {
                    self.seen.insert(key.name.clone(), value.clone());
                }
                if let Some(token) = lease {
                    let fill_at_us = now_us + self.rng.u64(..FILL_AFTER_MS_MAX) * 1000;
                    let lease = Lease { token: token.clone(), loaded_at_us: now_us, fill_at_us };
                    self.leases.insert(key.name.clone(), lease);
                }
            }
            (Call::Set { value } | Call::SetIf { value, .. }, Ended::Wrote { is_done: true, .. }) => {
                self.seen.insert(key.name.clone(), value.clone());
            }
            _ => {}
        }
    }

    fn value(&mut self) -> String {
        self.writes += 1;
        format!("{}-{}", self.client, self.writes)
    }
}

fn get() -> Call {
    Call::Get { no_cache: false, lease: false }
}
