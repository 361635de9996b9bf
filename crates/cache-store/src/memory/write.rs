use bytes::Bytes;

use super::{
    record::{MEMBER_BYTES, RECORD_BYTES, Record, Value, space_id},
    state::State,
};
use crate::{Condition, Done, Layout, Op, Outcome, Refusal, Space, StoreError, Write, etag_of};

/// What a key has that counts.
struct Fresh {
    bytes: Bytes,
    until_ms: Option<i64>,
    ttl_ms: Option<i64>,
}

impl State {
    /// Does a write. What it needs room for it gets before, or nothing is done.
    pub(super) fn write(&mut self, space: &Space, write: &Write) -> Result<Outcome, StoreError> {
        let stored = Bytes::from(space.stored_key(&write.key));
        let now_ms = self.now_ms;
        let fresh = self.records.get(&stored).and_then(|record| record.kept(now_ms)).and_then(|value| {
            let ttl_ms = value.ttl_ms(space, now_ms);
            let fresh = Fresh { bytes: value.bytes.clone(), until_ms: value.until_ms, ttl_ms };
            value.is_fresh(space, now_ms).then_some(fresh)
        });
        let existed = fresh.is_some();
        let outcome = |done: Done| Ok(Outcome::Done(Done { existed, ..done }));
        match &write.op {
            Op::Put { .. } | Op::Add { .. } if existed && space.is_overwrite_refused => {
                Ok(Outcome::Refused(Refusal::Exists))
            }
            Op::Put { value, ttl_ms, condition } => {
                let is_met = match condition {
                    Condition::Any => true,
                    Condition::Absent => !existed,
                    Condition::Present => existed,
                    Condition::Etag(etag) => fresh.as_ref().is_some_and(|fresh| etag_of(&fresh.bytes) == *etag),
                    Condition::Lease(token) => !existed && self.has_lease(&stored, token),
                };
                if !is_met {
                    let current = fresh.map(|fresh| etag_of(&fresh.bytes));
                    return Ok(Outcome::Refused(Refusal::NotMet { current }));
                }
                // A copy: the value may be a small part of a large message, which would stay with it.
                let until_ms = ttl_ms.map(|ttl_ms| until_ms(space, now_ms, ttl_ms));
                let evicted = self.put(space, &stored, existed, Bytes::copy_from_slice(value), until_ms)?;
                outcome(Done { ttl_ms: ttl_ms.map(signed), evicted, ..Done::default() })
            }
            Op::Add { delta, initial, ttl_ms, new_ttl_ms } => {
                let before = match &fresh {
                    None => Some(*initial),
                    Some(fresh) => number(&fresh.bytes),
                };
                let Some(before) = before else { return Ok(Outcome::Refused(Refusal::NotANumber)) };
                let Some(sum) = before.checked_add(*delta) else { return Ok(Outcome::Refused(Refusal::Overflow)) };
                let new_ttl_ms = if existed { ttl_ms } else { new_ttl_ms };
                let kept = fresh.filter(|_| ttl_ms.is_none());
                let ttl_ms = kept.as_ref().map_or(new_ttl_ms.map(signed), |kept| kept.ttl_ms);
                let new_until_ms = new_ttl_ms.map(|ttl_ms| until_ms(space, now_ms, ttl_ms));
                let until_ms = kept.map_or(new_until_ms, |kept| kept.until_ms);
                let evicted = self.put(space, &stored, existed, sum.to_string().into(), until_ms)?;
                outcome(Done { number: Some(sum), ttl_ms, evicted, ..Done::default() })
            }
            Op::Touch { ttl_ms } => {
                self.edit(&stored, |record| {
                    take_away(record);
                    if let Some(value) = record.value.as_mut().filter(|_| existed) {
                        value.until_ms = ttl_ms.map(|ttl_ms| until_ms(space, now_ms, ttl_ms));
                    }
                });
                if existed {
                    self.followers.tell(&stored);
                }
                outcome(Done { ttl_ms: ttl_ms.map(signed).filter(|_| existed), ..Done::default() })
            }
            Op::Delete => {
                let record = self.edit(&stored, std::mem::take);
                if record.value.is_some() {
                    self.followers.tell(&stored);
                }
                outcome(Done::default())
            }
        }
    }

    /// Puts a value at a key: how many had to leave its namespace.
    fn put(
        &mut self,
        space: &Space,
        stored: &Bytes,
        existed: bool,
        bytes: Bytes,
        until_ms: Option<i64>,
    ) -> Result<u32, StoreError> {
        let mut evicted = 0;
        let mut member = self.records.get(stored).and_then(|record| record.value.as_ref()?.member.clone());
        let is_member = member.is_some() || matches!(space.layout, Layout::Ranked { .. });
        let member_bytes = u64::from(is_member) * MEMBER_BYTES;
        self.check_room(RECORD_BYTES + member_bytes + (stored.len() + bytes.len()) as u64, 0)?;
        if let Some(entries_max) = self.entries_max(space)
            && (!existed || member.as_ref().is_none_or(|member| member.of != space_id(space)))
        {
            // What is stale there does not count, and makes room itself.
            self.edit(stored, |record| record.value = None);
            evicted = self.evict(space, entries_max.saturating_sub(1), usize::MAX);
            member = Some(self.new_member(space, 0));
        }
        self.edit(stored, |record| {
            take_away(record);
            record.value = Some(Value { bytes, until_ms, member });
            // As if it had been read.
            record.used = 0;
        });
        self.make_room(Some(stored));
        self.followers.tell(stored);
        Ok(u32::try_from(evicted).unwrap_or(u32::MAX))
    }
}

/// Every write takes the lease and the denial away.
fn take_away(record: &mut Record) {
    record.lease = None;
    record.denial = None;
}

fn signed(ttl_ms: u64) -> i64 {
    i64::try_from(ttl_ms).unwrap_or(i64::MAX)
}

fn until_ms(space: &Space, now_ms: i64, ttl_ms: u64) -> i64 {
    now_ms.saturating_add_unsigned(ttl_ms).saturating_add_unsigned(space.kept_stale_ms)
}

/// The integer that the bytes are, written as Redis writes it: no space, no plus, no leading zero.
fn number(bytes: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == bytes).then_some(number)
}
