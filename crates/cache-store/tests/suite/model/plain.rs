//! What a namespace should hold, in the plainest way: lists that are gone through.

use headwater_cache_store::{
    Applied, Condition, Done, Entry, Got, Layout, LeaseAsk, Op, Outcome, Refusal, Space, Write, etag_of,
};

#[derive(Clone, Debug)]
struct Held {
    key: String,
    value: String,
    kept_until_ms: Option<u64>,
    rank: u64,
    insertion: u64,
}

#[derive(Clone, Debug)]
struct Beside {
    key: String,
    text: String,
    until_ms: u64,
}

pub(super) struct Plain {
    pub(super) now_ms: u64,
    pub(super) space: Space,
    held: Vec<Held>,
    leases: Vec<Beside>,
    denials: Vec<Beside>,
    insertions: u64,
    pub(super) queue: Vec<Write>,
    pub(super) ended: Vec<Outcome>,
    /// Keys whose value changed, for whoever asks next.
    pub(super) changed: Vec<String>,
}

impl Plain {
    pub(super) fn new(space: Space) -> Self {
        Self {
            now_ms: 0,
            space,
            held: vec![],
            leases: vec![],
            denials: vec![],
            insertions: 0,
            queue: vec![],
            ended: vec![],
            changed: vec![],
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        for gone in self.held.extract_if(.., |held| held.kept_until_ms.is_some_and(|at| at <= now_ms)) {
            self.changed.push(gone.key);
        }
        self.leases.retain(|lease| lease.until_ms > now_ms);
        self.denials.retain(|denial| denial.until_ms > now_ms);
    }

    /// Whether anything ends, or becomes stale, within so long.
    pub(super) fn ends_within(&self, ms: u64) -> bool {
        let end_ms = i64::try_from(ms).unwrap();
        let is_near = |until_ms: u64| until_ms <= self.now_ms + ms;
        self.held.iter().filter_map(|held| self.ttl_ms(held)).any(|ttl_ms| (1..=end_ms).contains(&ttl_ms))
            || self.leases.iter().chain(&self.denials).any(|beside| is_near(beside.until_ms))
    }

    fn ttl_ms(&self, held: &Held) -> Option<i64> {
        let ms = |ms: u64| i64::try_from(ms).unwrap();
        held.kept_until_ms.map(|at| ms(at) - ms(self.now_ms) - ms(self.space.kept_stale_ms))
    }

    fn is_fresh(&self, held: &Held) -> bool {
        self.ttl_ms(held).is_none_or(|ttl_ms| ttl_ms > 0)
    }

    fn fresh(&self, key: &str) -> Option<&Held> {
        self.held.iter().find(|held| held.key == key && self.is_fresh(held))
    }

    /// The etag of what a key has, stale or not.
    pub(super) fn etag(&self, key: &str) -> [u8; 20] {
        let held = self.held.iter().find(|held| held.key == key);
        etag_of(held.map_or(&b"absent"[..], |held| held.value.as_bytes()))
    }

    fn entries_max(&self) -> Option<usize> {
        match self.space.layout {
            Layout::Ranked { entries_max } => Some(usize::try_from(entries_max).unwrap()),
            Layout::Spread | Layout::Slot => None,
        }
    }

    pub(super) fn entries(&self) -> Option<u64> {
        self.entries_max().map(|_| self.held.len() as u64)
    }

    pub(super) fn get(&mut self, key: &str, ask: Option<&LeaseAsk>) -> Got {
        let held = self.held.iter().find(|held| held.key == key);
        let entry = held.map(|held| Entry { value: held.value.clone().into(), ttl_ms: self.ttl_ms(held) });
        if self.fresh(key).is_some() {
            self.raise(key, 1);
            return Got { entry, ..Got::default() };
        }
        let denial = self.denials.iter().find(|denial| denial.key == key);
        let left_ms = |denial: &Beside| i64::try_from(denial.until_ms - self.now_ms).unwrap();
        let denied = denial.filter(|_| entry.is_none()).map(|denial| (denial.text.clone().into(), left_ms(denial)));
        let is_free = denial.is_none() && !self.leases.iter().any(|lease| lease.key == key);
        let mut got = Got { entry, denied, is_leased: false };
        if let Some(ask) = ask.filter(|_| is_free) {
            let text = String::from_utf8(ask.token.to_vec()).unwrap();
            self.leases.push(Beside { key: key.into(), text, until_ms: self.now_ms + ask.for_ms });
            got.is_leased = true;
        }
        got
    }

    pub(super) fn raise(&mut self, key: &str, reads: u64) {
        if let Some(held) = self.held.iter_mut().find(|held| held.key == key) {
            held.rank += reads;
        }
    }

    pub(super) fn release(&mut self, key: &str, token: &str) {
        self.leases.retain(|lease| lease.key != key || lease.text != token);
    }

    pub(super) fn deny(&mut self, key: &str, token: &str, why: &str, for_ms: u64) {
        if self.leases.iter().any(|lease| lease.key == key && lease.text == token) {
            self.release(key, token);
            self.denials.push(Beside { key: key.into(), text: why.into(), until_ms: self.now_ms + for_ms });
        }
    }

    /// Lets entries leave until there are so many: the stale ones first, then the lowest rank, then the oldest.
    fn leave(&mut self, entries_max: usize) -> u32 {
        let mut left = 0;
        while self.held.len() > entries_max {
            let next = self.held.iter().enumerate().min_by_key(|(_, held)| match self.is_fresh(held) {
                false => (false, held.kept_until_ms.unwrap(), held.insertion),
                true => (true, held.rank, held.insertion),
            });
            let (index, _) = next.unwrap();
            self.changed.push(self.held.remove(index).key);
            left += 1;
        }
        left
    }

    pub(super) fn shrink(&mut self) -> u64 {
        self.entries_max().map_or(0, |entries_max| u64::from(self.leave(entries_max)))
    }

    pub(super) fn flush(&mut self) -> u64 {
        self.leases.clear();
        self.denials.clear();
        let gone: Vec<String> = self.held.drain(..).map(|held| held.key).collect();
        let count = gone.len() as u64;
        self.changed.extend(gone);
        count
    }

    fn put(&mut self, key: &str, value: String, kept_until_ms: Option<u64>) -> u32 {
        self.changed.push(key.into());
        if self.fresh(key).is_some() {
            let held = self.held.iter_mut().find(|held| held.key == key).unwrap();
            (held.value, held.kept_until_ms) = (value, kept_until_ms);
            return 0;
        }
        self.held.retain(|held| held.key != key);
        let left = self.entries_max().map_or(0, |entries_max| self.leave(entries_max - 1));
        self.insertions += 1;
        self.held.push(Held { key: key.into(), value, kept_until_ms, rank: 0, insertion: self.insertions });
        left
    }

    pub(super) fn write(&mut self, write: &Write) -> Outcome {
        let key = std::str::from_utf8(&write.key).unwrap();
        let fresh = self.fresh(key).cloned();
        let existed = fresh.is_some();
        let signed = |ttl_ms: u64| i64::try_from(ttl_ms).unwrap();
        let until = |ttl_ms: u64| self.now_ms + ttl_ms + self.space.kept_stale_ms;
        if existed && self.space.is_overwrite_refused && matches!(write.op, Op::Put { .. } | Op::Add { .. }) {
            return Outcome::Refused(Refusal::Exists);
        }
        let mut done = Done { existed, ..Done::default() };
        match &write.op {
            Op::Put { value, ttl_ms, condition } => {
                let current = fresh.as_ref().map(|fresh| etag_of(fresh.value.as_bytes()));
                let is_met = match condition {
                    Condition::Any => true,
                    Condition::Absent => !existed,
                    Condition::Present => existed,
                    Condition::Etag(etag) => current == Some(*etag),
                    Condition::Lease(token) => self.leases.iter().any(|lease| lease.key == key && lease.text == *token),
                };
                if !is_met {
                    return Outcome::Refused(Refusal::NotMet { current });
                }
                done.evicted = self.put(key, String::from_utf8(value.to_vec()).unwrap(), ttl_ms.map(until));
                done.ttl_ms = ttl_ms.map(signed);
            }
            Op::Add { delta, initial, ttl_ms, new_ttl_ms } => {
                let before = match &fresh {
                    None => *initial,
                    // Whatever its text would be if it were written anew is the same text.
                    Some(fresh) => match fresh.value.parse::<i64>() {
                        Ok(number) if number.to_string() == fresh.value => number,
                        _ => return Outcome::Refused(Refusal::NotANumber),
                    },
                };
                let sum = i128::from(before) + i128::from(*delta);
                let Ok(sum) = i64::try_from(sum) else { return Outcome::Refused(Refusal::Overflow) };
                let (kept_until_ms, told) = match (&fresh, ttl_ms) {
                    (Some(fresh), None) => (fresh.kept_until_ms, self.ttl_ms(fresh)),
                    (Some(_), Some(ttl_ms)) => (Some(until(*ttl_ms)), Some(signed(*ttl_ms))),
                    (None, _) => (new_ttl_ms.map(until), new_ttl_ms.map(signed)),
                };
                done.evicted = self.put(key, sum.to_string(), kept_until_ms);
                (done.number, done.ttl_ms) = (Some(sum), told);
            }
            Op::Touch { ttl_ms } => {
                let kept_until_ms = ttl_ms.map(until);
                if existed {
                    self.held.iter_mut().find(|held| held.key == key).unwrap().kept_until_ms = kept_until_ms;
                    self.changed.push(key.into());
                    done.ttl_ms = ttl_ms.map(signed);
                }
            }
            Op::Delete => {
                for gone in self.held.extract_if(.., |held| held.key == key) {
                    self.changed.push(gone.key);
                }
            }
        }
        self.leases.retain(|lease| lease.key != key);
        self.denials.retain(|denial| denial.key != key);
        Outcome::Done(done)
    }

    pub(super) fn apply_queued(&mut self, writes_max: usize) -> Applied {
        let count = writes_max.min(self.queue.len());
        for write in self.queue.drain(..count).collect::<Vec<_>>() {
            let outcome = self.write(&write);
            self.ended.push(outcome);
        }
        Applied::Ended { count: count as u64, waiting: self.queue.len() as u64 }
    }
}
