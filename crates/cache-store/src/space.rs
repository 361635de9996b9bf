use std::sync::Arc;

use bytes::Bytes;

/// What a store has to know of a namespace. Made anew whenever the namespace changes; the layout never does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Name of the namespace: 1 to 64 of a-z, 0-9, `-`, `_` and `.`.
    pub name: Arc<str>,
    /// What the store's own keys beside the values begin with: never what a value's key begins with.
    pub aside: Arc<str>,
    /// What the key of a value begins with in the store: a value's key in the store is this and the key.
    pub prefix: Bytes,
    /// Where its keys lie.
    pub layout: Layout,
    /// Whether a key that has a fresh value keeps it.
    pub is_overwrite_refused: bool,
    /// How long the store keeps a value past its time to live, in milliseconds. A value is kept for both together, and
    /// its remaining time to live is what is left of that, less this.
    pub kept_stale_ms: u64,
    /// Queued writes that may wait, at most.
    pub queue_max: u64,
    /// Which revision of the namespace this is, from 1; 0 where the settings say it, the same on every replica. The newest
    /// revision of a ranked namespace that a store was shown says its capacity, whatever older ones say.
    pub revision: u64,
}

/// Where the keys of a namespace lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Wherever the store puts them.
    Spread,
    /// In one hash slot, so that a queue beside them applies in one atomic step.
    Slot,
    /// In one hash slot, ranked, with entries at most: room is made before an insert, and never by the written key. What
    /// is past its time to live leaves first; then the lowest rank, and of equal ranks the oldest insertion. A write to a
    /// fresh value keeps rank and insertion, and nothing leaves for it; any other inserts anew, with rank 0, in the place
    /// of what is stale there. What came past the store is inserted by being read or written.
    Ranked {
        /// Entries at most, at least 1.
        entries_max: u64,
    },
}

impl Space {
    /// A namespace whose keys all begin with `root`, with the layout; nothing refused, nothing kept stale, a queue of
    /// 10,000, as settings say it. `root` has no brace, and is the same for all namespaces of a store.
    pub fn new(root: &str, name: &str, layout: Layout) -> Self {
        let prefix = match layout {
            Layout::Spread => format!("{}{name}:", Self::values(root)),
            Layout::Slot | Layout::Ranked { .. } => format!("{}{{{name}}}:", Self::values(root)),
        };
        Self {
            name: name.into(),
            aside: format!("{root}:x:").into(),
            prefix: prefix.into(),
            layout,
            is_overwrite_refused: false,
            kept_stale_ms: 0,
            queue_max: 10_000,
            revision: 0,
        }
    }

    /// What the keys of all values begin with whose namespace has no prefix of its own.
    pub fn values(root: &str) -> String {
        format!("{root}:v:")
    }

    /// The key of a value in the store.
    pub fn stored_key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }
}
