//! What clients of the cache asked and were answered, one JSON line each.

mod file;

use serde::{Deserialize, Serialize};

pub use file::{Recorder, read};

/// What operations name as their replica that went straight to the store, as redis-cli does.
pub const DIRECT: &str = "store";

/// A line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "line")]
pub enum Line {
    /// How the history was made; the first line.
    Run(Run),
    /// Something that a client did.
    Operation(Operation),
    /// Something that happened to the parts.
    Event(Event),
}

/// How a history was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What decided it.
    pub seed: u64,
    /// The plan of what was broken.
    pub plan: String,
    /// The bound that the replicas were given, in milliseconds.
    pub staleness_max_ms: u64,
}

/// Something that happened to the parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// To whom, for people.
    pub detail: String,
    /// When it began, in microseconds since the history did.
    pub began_at_us: u64,
    /// When it had ended, on the same clock.
    pub ended_at_us: u64,
}

/// What happened to the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A replica was killed; ended when another process took its place.
    ReplicaKilled,
    /// Links by which replicas hear of changes were cut.
    LinkCut,
    /// Such links, and those made meanwhile, delivered nothing.
    LinkBlackHoled,
    /// Such links delivered late.
    LinkDelayed,
    /// All connections to the store were cut.
    StoreCut,
    /// The store was stopped, and went on.
    StorePaused,
    /// Another server became the store: the last writes may be lost.
    Failover,
}

/// Something that a client did. A client does one thing after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who did it.
    pub client: String,
    /// Which replica it asked, or [`DIRECT`].
    pub replica: String,
    /// The namespace.
    pub namespace: String,
    /// The key; it had no value when the history began.
    pub key: String,
    /// What was asked.
    pub call: Call,
    /// How it ended.
    pub ended: Ended,
    /// When it was asked, in microseconds since the history began.
    pub invoked_at_us: u64,
    /// When the answer was there, or waiting for it was given up, on the same clock.
    pub returned_at_us: u64,
}

/// What was asked. No value is written twice to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Call {
    /// Reads.
    Get {
        /// Whether the store itself was to answer.
        #[serde(default)]
        no_cache: bool,
        /// Whether the right to fill the key was asked for.
        #[serde(default)]
        lease: bool,
    },
    /// Writes a value.
    Set {
        /// The value.
        value: String,
    },
    /// Writes a value where a condition holds.
    SetIf {
        /// The value.
        value: String,
        /// The condition.
        condition: Condition,
        /// When the value was taken from wherever it is from; it may be older than the write.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        loaded_at_us: Option<u64>,
    },
    /// Adds to a number; a key without a value has 0.
    Increment {
        /// What to add. No two are equal.
        delta: i64,
    },
    /// Forgets the key.
    Delete,
    /// A replica's loader was asked for a value that it took when it was asked; whether that was written is not known.
    Load {
        /// The value.
        value: String,
    },
}

/// What had to hold for a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The key has no value.
    Absent,
    /// The key has a value.
    Present,
    /// The key has this value.
    Value(String),
    /// Nobody wrote the key since this right to fill it was given.
    Lease(String),
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "as")]
pub enum Ended {
    /// With an answer to a read.
    Read {
        /// The value, if there is one.
        value: Option<String>,
        /// Who answered.
        layer: Layer,
        /// Whether the answer says that it is stale.
        #[serde(default)]
        is_stale: bool,
        /// Whether it was fetched for several callers at once.
        #[serde(default)]
        is_collapsed: bool,
        /// The right to fill the key, where it was given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<String>,
    },
    /// With an answer to a write.
    Wrote {
        /// Whether it was done: whether its condition held.
        is_done: bool,
        /// Whether the key had a value before, where the answer says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        existed: Option<bool>,
        /// The sum, of an increment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sum: Option<i64>,
    },
    /// With a refusal: it surely did nothing.
    Failed {
        /// What was said.
        why: String,
    },
    /// Without an answer that says what became of it: it may have been done, or be done at any later time, or never.
    Unknown {
        /// What was said.
        why: String,
    },
}

/// Who answered a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The memory of a replica.
    L1,
    /// The store.
    L2,
    /// A loader.
    Loader,
}

impl Operation {
    /// Whether it went straight to the store.
    pub fn is_direct(&self) -> bool {
        self.replica == DIRECT
    }
}
