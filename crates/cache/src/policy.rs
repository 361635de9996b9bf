//! By which rules a namespace keeps its keys.

use std::sync::Arc;

use bytes::Bytes;
use headwater_cache_store::{Layout, Space};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Characters of a namespace's name at most.
const NAME_CHARS_MAX: usize = 64;
const YEAR_MS: u64 = 31_536_000_000;
const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

/// How much a namespace holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capacity {
    /// Entries at most, 1 to 100,000,000.
    EntriesMax(u64),
    /// Bytes of keys and values at most, 1024 to 2^40.
    BytesMax(u64),
}

/// What leaves first where there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Eviction {
    /// Of L1: what is read seldom and lately least.
    TinyLfu,
    /// Of L1: what was not read for longest.
    Lru,
    /// Of the store: the lowest rank, among equals the oldest insertion. Each read raises a rank by one.
    Rank,
}

/// When a write is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// At once.
    AtOnce,
    /// One after another, in the order accepted, across all replicas.
    Queued,
}

/// What becomes of a write to a key that has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overwrite {
    /// It replaces the value.
    Allowed,
    /// It is refused.
    Refused,
}

/// What is set of a namespace; the rest is as in the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyPatch {
    /// See [`Policy::capacity`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// See [`Policy::eviction`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction: Option<Eviction>,
    /// See [`Policy::ttl_ms`]; 0 is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// See [`Policy::ttl_max_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_max_ms: Option<u64>,
    /// See [`Policy::ttl_jitter_percent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_jitter_percent: Option<u64>,
    /// See [`Policy::stale_while_revalidate_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate_ms: Option<u64>,
    /// See [`Policy::stale_if_error_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error_ms: Option<u64>,
    /// See [`Policy::negative_ttl_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_ttl_ms: Option<u64>,
    /// See [`Policy::write_mode`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_mode: Option<WriteMode>,
    /// See [`Policy::overwrite`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overwrite: Option<Overwrite>,
    /// See [`Policy::key_bytes_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_bytes_max: Option<u64>,
    /// See [`Policy::value_bytes_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_bytes_max: Option<u64>,
    /// See [`Policy::queue_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_max: Option<u64>,
}

/// By which rules a namespace keeps its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How much it holds: each replica's L1, or with [`Eviction::Rank`] the store.
    pub capacity: Capacity,
    /// What leaves first.
    pub eviction: Eviction,
    /// How long a value stays fresh where a write does not say; 0 is for ever.
    pub ttl_ms: u64,
    /// What a write may ask for at most, 1 ms to a year.
    pub ttl_max_ms: u64,
    /// By how much `ttl_ms` is shortened at random, 0 to 100 percent.
    pub ttl_jitter_percent: u64,
    /// How long a stale value may be served while it is made anew, up to a day.
    pub stale_while_revalidate_ms: u64,
    /// How long a stale value may be served because the store or the loader fails, up to a day.
    pub stale_if_error_ms: u64,
    /// How long it is remembered that a loader found nothing or failed, up to an hour.
    pub negative_ttl_ms: u64,
    /// When writes are applied.
    pub write_mode: WriteMode,
    /// What becomes of a write to a key that has a value.
    pub overwrite: Overwrite,
    /// Bytes of a key at most, 1 to 65,536.
    pub key_bytes_max: u64,
    /// Bytes of a value at most, 1 to 67,108,864.
    pub value_bytes_max: u64,
    /// Queued writes that may wait, at most, 1 to 10,000,000.
    pub queue_max: u64,
}

/// A rule of a namespace does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {expected}")]
pub struct PolicyError {
    /// The field, by the contract's name.
    pub field: &'static str,
    /// What it must be.
    pub expected: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            capacity: Capacity::EntriesMax(100_000),
            eviction: Eviction::TinyLfu,
            ttl_ms: HOUR_MS,
            ttl_max_ms: 30 * DAY_MS,
            ttl_jitter_percent: 10,
            stale_while_revalidate_ms: 0,
            stale_if_error_ms: 0,
            negative_ttl_ms: 5_000,
            write_mode: WriteMode::AtOnce,
            overwrite: Overwrite::Allowed,
            key_bytes_max: 1024,
            value_bytes_max: 1 << 20,
            queue_max: 10_000,
        }
    }
}

impl Policy {
    /// These rules, with what the patch sets.
    ///
    /// # Errors
    /// The first field that does not hold.
    pub fn with(&self, patch: &PolicyPatch) -> Result<Self, PolicyError> {
        let policy = Self {
            capacity: patch.capacity.unwrap_or(self.capacity),
            eviction: patch.eviction.unwrap_or(self.eviction),
            ttl_ms: patch.ttl_ms.unwrap_or(self.ttl_ms),
            ttl_max_ms: patch.ttl_max_ms.unwrap_or(self.ttl_max_ms),
            ttl_jitter_percent: patch.ttl_jitter_percent.unwrap_or(self.ttl_jitter_percent),
            stale_while_revalidate_ms: patch.stale_while_revalidate_ms.unwrap_or(self.stale_while_revalidate_ms),
            stale_if_error_ms: patch.stale_if_error_ms.unwrap_or(self.stale_if_error_ms),
            negative_ttl_ms: patch.negative_ttl_ms.unwrap_or(self.negative_ttl_ms),
            write_mode: patch.write_mode.unwrap_or(self.write_mode),
            overwrite: patch.overwrite.unwrap_or(self.overwrite),
            key_bytes_max: patch.key_bytes_max.unwrap_or(self.key_bytes_max),
            value_bytes_max: patch.value_bytes_max.unwrap_or(self.value_bytes_max),
            queue_max: patch.queue_max.unwrap_or(self.queue_max),
        };
        policy.check()?;
        Ok(policy)
    }

    /// Whether every rule holds.
    ///
    /// # Errors
    /// The first field that does not.
    pub fn check(&self) -> Result<(), PolicyError> {
        match self.capacity {
            Capacity::EntriesMax(entries) => between("entries_max", entries, 1, 100_000_000)?,
            Capacity::BytesMax(_) if self.eviction == Eviction::Rank => {
                return Err(PolicyError {
                    field: "bytes_max",
                    expected: "a namespace with eviction by rank counts entries: set entries_max".into(),
                });
            }
            Capacity::BytesMax(bytes) => between("bytes_max", bytes, 1024, 1 << 40)?,
        }
        between("ttl_max_ms", self.ttl_max_ms, 1, YEAR_MS)?;
        if self.ttl_ms > self.ttl_max_ms {
            return Err(PolicyError {
                field: "ttl_ms",
                expected: format!("must be at most ttl_max_ms, which is {}", self.ttl_max_ms),
            });
        }
        between("ttl_jitter_percent", self.ttl_jitter_percent, 0, 100)?;
        between("stale_while_revalidate_ms", self.stale_while_revalidate_ms, 0, DAY_MS)?;
        between("stale_if_error_ms", self.stale_if_error_ms, 0, DAY_MS)?;
        between("negative_ttl_ms", self.negative_ttl_ms, 0, HOUR_MS)?;
        between("key_bytes_max", self.key_bytes_max, 1, 65_536)?;
        between("value_bytes_max", self.value_bytes_max, 1, 67_108_864)?;
        between("queue_max", self.queue_max, 1, 10_000_000)
    }

    /// How long a value stays fresh whose write does not say, for a number from 0 to 1 drawn at random. None: for ever.
    pub fn ttl_drawn(&self, drawn: f64) -> Option<u64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a year of milliseconds is far below 2^53, and the product is between 0 and it"
        )]
        let less = (self.ttl_ms as f64 * self.ttl_jitter_percent as f64 / 100.0 * drawn.clamp(0.0, 1.0)) as u64;
        (self.ttl_ms > 0).then(|| (self.ttl_ms - less.min(self.ttl_ms)).max(1))
    }

    /// How long the store keeps a value past its time to live.
    pub fn kept_stale_ms(&self) -> u64 {
        self.stale_while_revalidate_ms.max(self.stale_if_error_ms)
    }

    /// What the store has to know.
    pub(crate) fn space(&self, root: &str, name: &str, prefix: Option<&Bytes>) -> Space {
        let layout = match (self.eviction, self.write_mode, self.capacity) {
            (Eviction::Rank, _, Capacity::EntriesMax(entries_max)) => Layout::Ranked { entries_max },
            (_, WriteMode::Queued, _) => Layout::Slot,
            _ => Layout::Spread,
        };
        let mut space = Space::new(root, name, layout);
        if let Some(prefix) = prefix {
            space.prefix = prefix.clone();
        }
        space.is_overwrite_refused = self.overwrite == Overwrite::Refused;
        space.kept_stale_ms = self.kept_stale_ms();
        space.queue_max = self.queue_max;
        space
    }
}

/// Whether a name is one that a namespace can have: 1 to 64 of a-z, 0-9, `-`, `_` and `.`, beginning with a letter.
pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
}

/// A namespace as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its rules.
    pub policy: Policy,
    /// Whether the settings declare it; otherwise it was made at run time.
    pub is_declared: bool,
    /// Counts its changes; 0 where the settings declare it.
    pub revision: i64,
    /// What its keys begin with in the store.
    pub store_prefix: Bytes,
}

fn between(field: &'static str, value: u64, least: u64, most: u64) -> Result<(), PolicyError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(PolicyError { field, expected: format!("must be {least} to {most}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_only_shortens_and_never_to_nothing() {
        let policy = Policy { ttl_ms: 1000, ttl_jitter_percent: 25, ..Policy::default() };
        assert_eq!(policy.ttl_drawn(0.0), Some(1000));
        assert_eq!(policy.ttl_drawn(0.5), Some(875));
        assert_eq!(policy.ttl_drawn(1.0), Some(750));
        let all = Policy { ttl_jitter_percent: 100, ..policy.clone() };
        assert_eq!(all.ttl_drawn(1.0), Some(1));
        assert_eq!(Policy { ttl_ms: 0, ..policy }.ttl_drawn(0.7), None);
    }

    #[test]
    fn a_rule_that_does_not_hold_is_named() {
        let policy = Policy::default();
        let field = |patch: PolicyPatch| policy.with(&patch).expect_err("refused").field;
        assert_eq!(field(PolicyPatch { capacity: Some(Capacity::EntriesMax(0)), ..Default::default() }), "entries_max");
        assert_eq!(
            field(PolicyPatch {
                capacity: Some(Capacity::BytesMax(4096)),
                eviction: Some(Eviction::Rank),
                ..Default::default()
            }),
            "bytes_max"
        );
        assert_eq!(field(PolicyPatch { ttl_ms: Some(31 * DAY_MS), ..Default::default() }), "ttl_ms");
        assert_eq!(field(PolicyPatch { ttl_jitter_percent: Some(101), ..Default::default() }), "ttl_jitter_percent");
        assert_eq!(field(PolicyPatch { queue_max: Some(0), ..Default::default() }), "queue_max");
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "default", "user-sessions_2.eu"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "1a", "-a", "a{b}", "a b", "ä", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_patch_survives_being_saved() {
        let patch = PolicyPatch { ttl_ms: Some(5), eviction: Some(Eviction::Lru), ..Default::default() };
        let saved = serde_json::to_vec(&patch).expect("JSON");
        assert_eq!(serde_json::from_slice::<PolicyPatch>(&saved).expect("patch"), patch);
        assert!(serde_json::from_str::<PolicyPatch>(r#"{"tll_ms":1}"#).is_err());
    }
}
