use std::fmt;

use ::redis::Cmd;

use super::slot::{slot_of, tag_of};
use crate::{Layout, Space};

/// Where a namespace keeps what in Redis.
pub(super) struct Keys<'a> {
    space: &'a Space,
}

/// The two keys of a value, which lie in one slot.
pub(super) struct Pair {
    /// The key of the value.
    pub(super) value: Vec<u8>,
    /// The key of its lease (`l` and the token) or of what is denied (`n` and why).
    pub(super) beside: Vec<u8>,
    pub(super) slot: u16,
}

impl<'a> Keys<'a> {
    pub(super) fn of(space: &'a Space) -> Self {
        Self { space }
    }

    pub(super) fn pair(&self, key: &[u8]) -> Pair {
        let value = self.space.stored_key(key);
        let slot = slot_of(&value);
        let beside = match self.space.layout {
            Layout::Spread => {
                [self.aside("l", format_args!("{:x}", tag_of(slot))).as_bytes(), self.space.name.as_bytes(), b":", key]
                    .concat()
            }
            Layout::Slot | Layout::Ranked { .. } => [self.besides().as_bytes(), key].concat(),
        };
        Pair { value, beside, slot }
    }

    /// What the companions of a layout in one slot begin with.
    pub(super) fn besides(&self) -> String {
        self.aside("l", format_args!("{}", self.space.name))
    }

    /// What the companions of a spread layout begin with, and what follows the tag.
    pub(super) fn spread_besides(&self) -> (String, String) {
        (format!("{}l:{{", self.space.aside), format!("}}:{}:", self.space.name))
    }

    /// The stream of writes that wait.
    pub(super) fn queue(&self) -> String {
        self.own("q")
    }

    /// The stream of outcomes.
    pub(super) fn outcomes(&self) -> String {
        self.own("o")
    }

    /// Who applies what waits.
    pub(super) fn holder(&self) -> String {
        self.own("h")
    }

    /// The index of a ranked layout: keys by rank, their insertion numbers, when they expire, the last number, and the
    /// capacity that holds for every replica.
    pub(super) fn index(&self) -> [String; 5] {
        [self.own("r"), self.own("i"), self.own("e"), self.own("n"), self.own("c")]
    }

    /// The slot of everything that is not a value or beside one.
    pub(super) fn own_slot(&self) -> u16 {
        slot_of(self.queue().as_bytes())
    }

    /// Entries at most, where the layout is ranked.
    pub(super) fn entries_max(&self) -> Option<u64> {
        match self.space.layout {
            Layout::Ranked { entries_max } => Some(entries_max.max(1)),
            Layout::Spread | Layout::Slot => None,
        }
    }

    /// The keys of a script of one pair, and of the index where there is one.
    pub(super) fn with_index(&self, first: &[&[u8]]) -> Vec<Vec<u8>> {
        let index = self.entries_max().map(|_| self.index()).into_iter().flatten().map(String::into_bytes);
        first.iter().map(|key| key.to_vec()).chain(index).collect()
    }

    /// What every script of keys is told of the namespace first.
    pub(super) fn describe(&self, call: &mut Cmd) {
        call.arg(self.space.kept_stale_ms.min(super::TIME_MAX_MS));
        call.arg(u8::from(self.space.is_overwrite_refused));
        match self.entries_max() {
            Some(entries_max) => call.arg(format!("{entries_max} {}", self.space.revision)).arg(&self.space.prefix[..]),
            None => call.arg("0").arg(""),
        };
    }

    fn own(&self, kind: &str) -> String {
        let Space { aside, name, .. } = self.space;
        format!("{aside}{kind}:{{{name}}}")
    }

    fn aside(&self, kind: &str, tag: fmt::Arguments<'_>) -> String {
        format!("{}{kind}:{{{tag}}}:", self.space.aside)
    }
}
