use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

use bytes::Bytes;

use super::{
    follow::Followers,
    queue::Queue,
    ranks::Ranks,
    record::{Member, Part, RECORD_BYTES, Record, SpaceId, Timed, space_id},
};
use crate::{Entry, Expected, Got, Held, Layout, LeaseAsk, Saved, Space, StoreError, StoredNamespace};

/// Everything that a store holds. Its maps are ordered, so that the same calls at the same times do the same.
pub(super) struct State {
    pub(super) now_ms: i64,
    pub(super) records: BTreeMap<Bytes, Record>,
    /// Keys, used least recently first.
    uses: BTreeMap<u64, Bytes>,
    uses_count: u64,
    ends: BTreeSet<(i64, Part, Bytes)>,
    pub(super) ranks: HashMap<SpaceId, Ranks>,
    /// Of ranked namespaces that were made at run time: the newest revision, and what it says of the capacity.
    capacities: HashMap<SpaceId, (u64, u64)>,
    pub(super) queues: HashMap<SpaceId, Queue>,
    namespaces: BTreeMap<String, (i64, Bytes)>,
    pub(super) followers: Followers,
    bytes_max: u64,
    /// Of records, which can leave.
    record_bytes: u64,
    /// Of queues and namespaces, which stay.
    pub(super) kept_bytes: u64,
}

impl State {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            now_ms: 0,
            records: BTreeMap::new(),
            uses: BTreeMap::new(),
            uses_count: 0,
            ends: BTreeSet::new(),
            ranks: HashMap::new(),
            capacities: HashMap::new(),
            queues: HashMap::new(),
            namespaces: BTreeMap::new(),
            followers: Followers::default(),
            bytes_max,
            record_bytes: 0,
            kept_bytes: 0,
        }
    }

    /// Moves the clock, and forgets what has ended, so much at most. Whether that was all.
    pub(super) fn advance(&mut self, now_ms: i64, steps_max: usize) -> bool {
        self.now_ms = now_ms;
        for _ in 0..steps_max {
            match self.ends.first() {
                Some((at, ..)) if *at <= now_ms => {}
                _ => return true,
            }
            let Some((_, part, key)) = self.ends.pop_first() else { return true };
            self.edit(&key, |record| match part {
                Part::Value => record.value = None,
                Part::Lease => record.lease = None,
                Part::Denial => record.denial = None,
            });
            if part == Part::Value {
                self.followers.tell(&key);
            }
        }
        self.ends.first().is_none_or(|(at, ..)| *at > now_ms)
    }

    /// When the next thing ends.
    pub(super) fn next_end_ms(&self) -> Option<i64> {
        self.ends.first().map(|(at, ..)| *at)
    }

    /// Changes what is at a key, and every place that goes by it.
    pub(super) fn edit<R>(&mut self, key: &Bytes, edit: impl FnOnce(&mut Record) -> R) -> R {
        let mut record = self.records.remove(key).unwrap_or_default();
        if !record.is_empty() {
            self.record_bytes -= record.bytes(key.len());
            self.uses.remove(&record.used);
            for (at, part) in record.ends() {
                self.ends.remove(&(at, part, key.clone()));
            }
            if let Some((value, member)) = record.value.as_ref().and_then(|value| Some((value, value.member.as_ref()?)))
                && let Some(ranks) = self.ranks.get_mut(&member.of)
            {
                ranks.remove(key, value, member);
            }
        }
        let result = edit(&mut record);
        if !record.is_empty() {
            if record.used == 0 {
                self.uses_count += 1;
                record.used = self.uses_count;
            }
            self.record_bytes += record.bytes(key.len());
            self.uses.insert(record.used, key.clone());
            self.ends.extend(record.ends().map(|(at, part)| (at, part, key.clone())));
            if let Some((value, member)) = record.value.as_ref().and_then(|value| Some((value, value.member.as_ref()?)))
            {
                self.ranks.entry(member.of.clone()).or_default().insert(key, value, member);
            }
            self.records.insert(key.clone(), record);
        }
        result
    }

    /// Whether there can be room for a record so large at a key, or for so much that stays.
    pub(super) fn check_room(&self, record_bytes: u64, kept_bytes: u64) -> Result<(), StoreError> {
        let bytes_max = self.bytes_max;
        if self.kept_bytes + record_bytes + kept_bytes <= bytes_max {
            return Ok(());
        }
        Err(StoreError::Full(format!("it may hold {bytes_max} bytes, and what cannot leave would be more")))
    }

    /// Lets go what was used least recently, and never the key, until everything is within its bound.
    pub(super) fn make_room(&mut self, key: Option<&Bytes>) {
        while self.record_bytes + self.kept_bytes > self.bytes_max {
            let Some(leaves) = self.uses.values().find(|other| Some(*other) != key).cloned() else { return };
            let had_value = self.edit(&leaves, |record| std::mem::take(record).value.is_some());
            if had_value {
                self.followers.tell(&leaves);
            }
        }
    }

    pub(super) fn get(&mut self, space: &Space, key: &[u8], ask: Option<&LeaseAsk>) -> Got {
        let stored = Bytes::from(space.stored_key(key));
        let now_ms = self.now_ms;
        let mut got = Got::default();
        let mut has_lease = false;
        let mut is_denied = false;
        if let Some(record) = self.records.get_mut(&stored) {
            if let Some(place) = self.uses.remove(&record.used) {
                self.uses_count += 1;
                record.used = self.uses_count;
                self.uses.insert(record.used, place);
            }
            got.entry = record.kept(now_ms).map(|value| {
                let ttl_ms = value.ttl_ms(space, now_ms);
                Entry { value: value.bytes.clone(), ttl_ms }
            });
            has_lease = record.lease(now_ms).is_some();
            if let Some(denial) = record.denial(now_ms) {
                is_denied = true;
                got.denied = got.entry.is_none().then(|| (denial.bytes.clone(), denial.until_ms - now_ms));
            }
        }
        if got.entry.as_ref().is_some_and(Entry::is_fresh) {
            self.note_read(space, &stored);
        } else if let Some(ask) = ask
            && !has_lease
            && !is_denied
        {
            got.is_leased = self.lease(&stored, ask);
        }
        got
    }

    /// Gives a lease, unless there is no room even for that.
    fn lease(&mut self, key: &Bytes, ask: &LeaseAsk) -> bool {
        let held = self.records.get(key).map_or(0, |record| record.bytes(key.len()));
        let bytes = held.max(RECORD_BYTES + key.len() as u64) + ask.token.len() as u64;
        if self.check_room(bytes, 0).is_err() {
            return false;
        }
        let until_ms = self.now_ms.saturating_add_unsigned(ask.for_ms);
        self.edit(key, |record| {
            record.lease = Some(Timed { bytes: Bytes::copy_from_slice(&ask.token), until_ms });
        });
        self.make_room(Some(key));
        true
    }

    pub(super) fn release(&mut self, space: &Space, key: &[u8], token: &[u8]) {
        let stored = Bytes::from(space.stored_key(key));
        if self.has_lease(&stored, token) {
            self.edit(&stored, |record| record.lease = None);
        }
    }

    pub(super) fn deny(
        &mut self,
        space: &Space,
        key: &[u8],
        token: &[u8],
        why: &[u8],
        for_ms: u64,
    ) -> Result<(), StoreError> {
        let stored = Bytes::from(space.stored_key(key));
        if !self.has_lease(&stored, token) {
            return Ok(());
        }
        let held = self.records.get(&stored).map_or(0, |record| record.bytes(stored.len()));
        self.check_room(held + why.len() as u64, 0)?;
        let until_ms = self.now_ms.saturating_add_unsigned(for_ms);
        self.edit(&stored, |record| {
            record.lease = None;
            record.denial = Some(Timed { bytes: Bytes::copy_from_slice(why), until_ms });
        });
        self.make_room(Some(&stored));
        Ok(())
    }

    /// Whether the lease with this token holds.
    pub(super) fn has_lease(&self, stored: &Bytes, token: &[u8]) -> bool {
        let lease = self.records.get(stored).and_then(|record| record.lease(self.now_ms));
        lease.is_some_and(|lease| lease.bytes == token)
    }

    /// Raises the rank of a fresh value that is read. One that came past this namespace becomes a member with it.
    fn note_read(&mut self, space: &Space, stored: &Bytes) {
        let Some(entries_max) = self.entries_max(space) else { return };
        if !self.raise(space, stored, 1) {
            self.evict(space, entries_max.saturating_sub(1), usize::MAX);
            let member = self.new_member(space, 1);
            self.edit(stored, |record| {
                if let Some(value) = &mut record.value {
                    value.member = Some(member);
                }
            });
            self.make_room(Some(stored));
        }
    }

    /// A member that is inserted now.
    pub(super) fn new_member(&mut self, space: &Space, rank: u64) -> Member {
        let of = space_id(space);
        let insertion = self.ranks.entry(of.clone()).or_default().next_insertion();
        Member { of, rank, insertion }
    }

    /// Raises the rank of a key, where it is a member: whether it is.
    pub(super) fn raise(&mut self, space: &Space, stored: &Bytes, count: u64) -> bool {
        let id = space_id(space);
        let Some(value) = self.records.get_mut(stored).and_then(|record| record.value.as_mut()) else { return false };
        let Some(mut member) = value.member.take_if(|member| member.of == id) else { return false };
        if let Some(ranks) = self.ranks.get_mut(&id) {
            ranks.remove(stored, value, &member);
            member.rank = member.rank.saturating_add(count);
            ranks.insert(stored, value, &member);
        }
        value.member = Some(member);
        true
    }

    /// Lets members go until so many are left, so many at once at most.
    pub(super) fn evict(&mut self, space: &Space, members_max: u64, steps_max: usize) -> u64 {
        let id = space_id(space);
        let stale_ms = self.now_ms.saturating_add_unsigned(space.kept_stale_ms);
        let mut left = 0;
        for _ in 0..steps_max {
            let ranks = self.ranks.get(&id).filter(|ranks| ranks.len() > members_max);
            let Some(leaves) = ranks.and_then(|ranks| ranks.next_to_leave(stale_ms)) else { break };
            self.edit(&leaves, |record| record.value = None);
            self.followers.tell(&leaves);
            left += 1;
        }
        left
    }

    pub(super) fn shrink(&mut self, space: &Space, steps_max: usize) -> u64 {
        match self.entries_max(space) {
            Some(entries_max) => self.evict(space, entries_max, steps_max),
            None => 0,
        }
    }

    /// How many entries a ranked namespace may have: as the newest revision says that was seen.
    pub(super) fn entries_max(&mut self, space: &Space) -> Option<u64> {
        let Layout::Ranked { entries_max } = space.layout else { return None };
        let entries_max = entries_max.max(1);
        if space.revision == 0 {
            return Some(entries_max);
        }
        let newest = self.capacities.entry(space_id(space)).or_insert((space.revision, entries_max));
        if newest.0 < space.revision {
            *newest = (space.revision, entries_max);
        }
        Some(if newest.0 == space.revision { entries_max } else { newest.1 })
    }

    /// Forgets what is at keys with the prefix, so many from one on: how many values, and where to go on.
    pub(super) fn flush(&mut self, prefix: &Bytes, from: &Bytes, steps_max: usize) -> (u64, Option<Bytes>) {
        let range = (Bound::Included(from.clone()), Bound::Unbounded);
        let keys = self.records.range(range).map(|(key, _)| key).take_while(|key| key.starts_with(prefix));
        let mut keys: Vec<Bytes> = keys.take(steps_max + 1).cloned().collect();
        let next = if keys.len() > steps_max { keys.pop() } else { None };
        let (mut values, now_ms) = (0, self.now_ms);
        for key in keys {
            let record = self.edit(&key, std::mem::take);
            values += u64::from(record.kept(now_ms).is_some());
            if record.value.is_some() {
                self.followers.tell(&key);
            }
        }
        (values, next)
    }

    pub(super) fn held(&self, space: &Space) -> Held {
        let id = space_id(space);
        let entries = || self.ranks.get(&id).map_or(0, Ranks::len);
        Held {
            entries: matches!(space.layout, Layout::Ranked { .. }).then(entries),
            queued: self.queues.get(&id).map_or(0, Queue::waiting),
        }
    }

    pub(super) fn namespaces(&self) -> Vec<StoredNamespace> {
        let stored = |(name, (revision, body)): (&String, &(i64, Bytes))| StoredNamespace {
            name: name.clone(),
            revision: *revision,
            body: body.clone(),
        };
        self.namespaces.iter().map(stored).collect()
    }

    pub(super) fn save_namespace(
        &mut self,
        name: &str,
        body: &[u8],
        expected: Expected,
        namespaces_max: usize,
    ) -> Result<Saved, StoreError> {
        let current = self.namespaces.get(name).map(|(revision, body)| (*revision, body.len()));
        let revision = match (expected, current) {
            (Expected::Absent, None) if self.namespaces.len() >= namespaces_max => return Ok(Saved::TooMany),
            (Expected::Absent, None) => 1,
            (Expected::Revision(expected), Some((revision, _))) if expected == revision => revision + 1,
            (_, current) => return Ok(Saved::Differs(current.map(|(revision, _)| revision))),
        };
        let bytes = |body: usize| RECORD_BYTES + (name.len() + body) as u64;
        let before = current.map_or(0, |(_, body)| bytes(body));
        self.check_room(0, bytes(body.len()).saturating_sub(before))?;
        self.kept_bytes = self.kept_bytes - before + bytes(body.len());
        self.namespaces.insert(name.into(), (revision, Bytes::copy_from_slice(body)));
        self.make_room(None);
        Ok(Saved::Revision(revision))
    }
}
