use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::refused::Refused;
use crate::v1::cache::condition::Condition;
use crate::v1::cache::{
    CacheStatus, Eviction, Forward, GetWriteResponse, Layer, Namespace, Origin, Outcome, Overwrite, Usage, WriteMode,
    WriteState, Written, namespace::Capacity,
};
use crate::v1::error::Reason;

/// Namespaces with their keys, by the rules of the contract.
#[derive(Debug)]
pub(super) struct Store {
    spaces: BTreeMap<String, Space>,
    /// Grows with everything that needs a number of its own.
    number: u64,
    /// Whether queued writes wait until this is taken back.
    pub(super) holding: bool,
}

#[derive(Debug)]
pub(super) struct Space {
    pub(super) settings: Namespace,
    entries: BTreeMap<Bytes, Entry>,
    leases: HashMap<Bytes, (Bytes, Instant)>,
    queue: VecDeque<(String, Bytes, Op)>,
    outcomes: HashMap<String, GetWriteResponse>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Bytes,
    expires: Option<Instant>,
    /// Whether it was read since it was written, so that a replica's memory has it.
    in_l1: bool,
    rank: u64,
    inserted: u64,
}

/// What a write does.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Put { value: Bytes, ttl_ms: Option<i64>, condition: Option<Condition> },
    Add { delta: i64, initial: i64, ttl_ms: Option<i64> },
    Touch { ttl_ms: Option<i64> },
    Delete,
}

/// What became of a write.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub(super) written: Written,
    pub(super) found: bool,
    pub(super) value: Option<i64>,
    /// Of a condition that did not hold: the etag of what is there.
    pub(super) not_met: Option<Bytes>,
}

/// What a read found.
pub(super) struct Seen {
    pub(super) value: Option<Bytes>,
    pub(super) etag: Bytes,
    pub(super) status: CacheStatus,
    pub(super) lease: Bytes,
}

impl Entry {
    pub(super) fn etag(&self) -> Bytes {
        Bytes::copy_from_slice(&Sha1::digest(&self.value))
    }

    /// How long it stays fresh, in milliseconds.
    pub(super) fn ttl_ms(&self) -> Option<i64> {
        let now = Instant::now();
        let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.expires.map(|at| if at > now { ms(at - now) } else { -ms(now - at) })
    }

    fn is_fresh(&self) -> bool {
        self.expires.is_none_or(|at| at > Instant::now())
    }
}

impl Default for Store {
    fn default() -> Self {
        let settings = whole(Namespace { name: "default".into(), ..Namespace::default() }, Origin::Settings);
        let spaces = [("default".to_owned(), Space::new(settings))].into();
        Self { spaces, number: 1, holding: false }
    }
}

impl Store {
    pub(super) fn space(&mut self, name: &str) -> Result<&mut Space, Refused> {
        let name = if name.is_empty() { "default" } else { name };
        let names = self.spaces.keys().cloned().collect::<Vec<_>>().join(", ");
        self.spaces.get_mut(name).ok_or_else(|| {
            Refused::new(Reason::UnknownNamespace, format!("there is no namespace {name:?}; there are {names}"))
        })
    }

    pub(super) fn namespaces(&self) -> Vec<Namespace> {
        self.spaces.values().map(|space| space.settings.clone()).collect()
    }

    pub(super) fn create(&mut self, asked: Namespace) -> Result<Namespace, Refused> {
        let first = asked.name.chars().next();
        if !first.is_some_and(|first| first.is_ascii_lowercase()) || asked.name.len() > 64 {
            return Err(Refused::field("namespace.name", "1 to 64 of a-z, 0-9, -, _ and ., beginning with a letter"));
        }
        if self.spaces.contains_key(&asked.name) {
            return Err(Refused::new(Reason::NamespaceExists, format!("there is a namespace {:?}", asked.name)));
        }
        let settings = whole(asked, Origin::Api);
        self.spaces.insert(settings.name.clone(), Space::new(settings.clone()));
        Ok(settings)
    }

    /// Reads a key, and gives a lease of it where that was asked for.
    pub(super) fn read(
        &mut self,
        name: &str,
        key: &Bytes,
        no_cache: bool,
        lease: Option<Duration>,
    ) -> Result<Seen, Refused> {
        let token = self.next_number();
        let space = self.space(name)?;
        space.check_key(key)?;
        let kept = Duration::from_millis(space.settings.stale_while_revalidate_ms().unsigned_abs());
        let mut status = CacheStatus { layer: Layer::L2.into(), ..CacheStatus::default() };
        let seen = match space.entries.get_mut(key) {
            Some(entry) if entry.expires.is_none_or(|at| at + kept > Instant::now()) => {
                let hit = entry.in_l1 && !no_cache && entry.is_fresh();
                let forward = if no_cache { Forward::Request } else { Forward::Miss };
                status.set_layer(if hit { Layer::L1 } else { Layer::L2 });
                status.set_fwd(if hit { Forward::Unspecified } else { forward });
                status.set_outcome(if entry.is_fresh() { Outcome::Hit } else { Outcome::Stale });
                status.ttl_ms = entry.ttl_ms();
                entry.in_l1 |= !no_cache;
                entry.rank += 1;
                Some(entry.clone())
            }
            _ => {
                status.set_outcome(Outcome::Miss);
                status.set_fwd(if no_cache { Forward::Request } else { Forward::Miss });
                None
            }
        };
        let wanted = lease.filter(|_| status.outcome() != Outcome::Hit);
        let given = wanted.map_or_else(Bytes::new, |length| space.lease(key, length, token));
        let etag = seen.as_ref().map(Entry::etag).unwrap_or_default();
        Ok(Seen { value: seen.map(|entry| entry.value), etag, status, lease: given })
    }

    /// Does a write, or queues it where the namespace does.
    pub(super) fn write(&mut self, name: &str, key: &Bytes, op: Op) -> Result<Done, Refused> {
        let (number, holding) = (self.next_number(), self.holding);
        let space = self.space(name)?;
        space.check_key(key)?;
        space.check(&op)?;
        if space.settings.write_mode() != WriteMode::Queued {
            return space.apply(key, op, number);
        }
        if i64::try_from(space.queue.len()).unwrap_or(i64::MAX) >= space.settings.queue_max() {
            return Err(Refused::new(Reason::QueueFull, "as many writes wait as may"));
        }
        let write_id = format!("write-{number}");
        space.queue.push_back((write_id.clone(), key.clone(), op));
        if !holding {
            space.drain(number);
        }
        Ok(Done { written: Written { write_id, ..Written::default() }, ..Done::default() })
    }

    /// Applies what waits in every queue, and names the keys.
    pub(super) fn release(&mut self) -> Vec<(String, Bytes)> {
        let number = self.next_number();
        let mut keys = Vec::new();
        for (name, space) in &mut self.spaces {
            keys.extend(space.queue.iter().map(|(_, key, _)| (name.clone(), key.clone())));
            space.drain(number);
        }
        keys
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Space {
    fn new(settings: Namespace) -> Self {
        Self {
            settings,
            entries: BTreeMap::new(),
            leases: HashMap::new(),
            queue: VecDeque::new(),
            outcomes: HashMap::new(),
        }
    }

    /// A key's fresh entry.
    pub(super) fn fresh(&self, key: &Bytes) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.is_fresh())
    }

    /// Forgets every key.
    pub(super) fn flush(&mut self) -> i64 {
        self.leases.clear();
        i64::try_from(std::mem::take(&mut self.entries).len()).unwrap_or(i64::MAX)
    }

    /// What became of a queued write.
    pub(super) fn outcome(&self, write_id: &str) -> Result<GetWriteResponse, Refused> {
        if self.queue.iter().any(|(id, ..)| id == write_id) {
            return Ok(GetWriteResponse { state: WriteState::Queued.into(), ..GetWriteResponse::default() });
        }
        let unknown = || Refused::new(Reason::UnknownWrite, format!("no write {write_id:?}"));
        self.outcomes.get(write_id).cloned().ok_or_else(unknown)
    }

    pub(super) fn usage(&self) -> Usage {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let bytes = self.entries.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
        Usage {
            l1_entries: count(self.entries.len()),
            l1_bytes: count(bytes),
            store_entries: (self.settings.eviction() == Eviction::Rank).then(|| count(self.entries.len())),
            queued_writes: count(self.queue.len()),
            durability: "the store is in memory: a crash loses everything".into(),
        }
    }

    fn check_key(&self, key: &Bytes) -> Result<(), Refused> {
        let longest = self.settings.key_bytes_max();
        if key.is_empty() || i64::try_from(key.len()).unwrap_or(i64::MAX) > longest {
            return Err(Refused::field("key", &format!("a key has 1 to {longest} bytes")));
        }
        Ok(())
    }

    fn check(&self, op: &Op) -> Result<(), Refused> {
        let (ttl_ms, bytes) = match op {
            Op::Put { ttl_ms, value, .. } => (ttl_ms, value.len()),
            Op::Add { ttl_ms, .. } | Op::Touch { ttl_ms } => (ttl_ms, 0),
            Op::Delete => return Ok(()),
        };
        let longest = self.settings.value_bytes_max();
        if i64::try_from(bytes).unwrap_or(i64::MAX) > longest {
            return Err(Refused::field("value", &format!("a value has at most {longest} bytes")));
        }
        let ttl_max = self.settings.ttl_max_ms();
        if ttl_ms.is_some_and(|ttl_ms| !(1..=ttl_max).contains(&ttl_ms)) {
            return Err(Refused::field("ttl_ms", &format!("1 to {ttl_max}")));
        }
        Ok(())
    }

    fn lease(&mut self, key: &Bytes, length: Duration, token: u64) -> Bytes {
        if self.leases.get(key).is_some_and(|(_, until)| *until > Instant::now()) {
            return Bytes::new();
        }
        let token = Bytes::copy_from_slice(&token.to_be_bytes());
        self.leases.insert(key.clone(), (token.clone(), Instant::now() + length));
        token
    }

    fn drain(&mut self, number: u64) {
        while let Some((write_id, key, op)) = self.queue.pop_front() {
            let existed = self.fresh(&key).is_some();
            let mut answer = GetWriteResponse { found: existed, ..GetWriteResponse::default() };
            let refused = match self.apply(&key, op, number) {
                Ok(done) if done.not_met.is_none() => {
                    answer.set_state(WriteState::Applied);
                    answer.written = Some(done.written);
                    answer.value = done.value;
                    None
                }
                Ok(_) => Some(Refused::new(Reason::ConditionNotMet, "the condition does not hold")),
                Err(refused) => Some(refused),
            };
            if let Some(refused) = refused {
                answer.set_state(WriteState::Refused);
                answer.error = Some(refused.into());
            }
            self.outcomes.insert(write_id, answer);
        }
    }

    fn apply(&mut self, key: &Bytes, op: Op, number: u64) -> Result<Done, Refused> {
        let before = self.fresh(key).cloned();
        let found = before.is_some();
        let refuses = self.settings.overwrite() == Overwrite::Refused;
        if found && refuses && matches!(op, Op::Put { .. } | Op::Add { .. }) {
            return Err(Refused::new(Reason::KeyExists, "the key has a value, and the namespace refuses to overwrite"));
        }
        let own = Some(self.settings.ttl_ms()).filter(|&ttl_ms| ttl_ms > 0);
        let until = |ttl_ms: Option<i64>| {
            ttl_ms.or(own).map(|ttl_ms| Instant::now() + Duration::from_millis(ttl_ms.unsigned_abs()))
        };
        let (value, expires, sum) = match op {
            Op::Delete => {
                self.leases.remove(key);
                self.entries.remove(key);
                return Ok(Done { found, ..Done::default() });
            }
            Op::Touch { ttl_ms } => {
                let Some(before) = &before else { return Ok(Done::default()) };
                (before.value.clone(), until(ttl_ms), None)
            }
            Op::Add { delta, initial, ttl_ms } => {
                let number = match &before {
                    Some(entry) => std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse::<i64>().ok()),
                    None => Some(initial),
                };
                let number = number.ok_or_else(|| Refused::new(Reason::NotANumber, "the value is no number"))?;
                let sum = number.checked_add(delta);
                let sum = sum.ok_or_else(|| Refused::new(Reason::Overflow, "the sum passes 64 bits"))?;
                let kept = before.as_ref().filter(|_| ttl_ms.is_none()).map(|entry| entry.expires);
                (Bytes::from(sum.to_string()), kept.unwrap_or_else(|| until(ttl_ms)), Some(sum))
            }
            Op::Put { value, ttl_ms, condition } => {
                let etag = before.as_ref().map(Entry::etag).unwrap_or_default();
                let holds = match condition {
                    None => true,
                    Some(Condition::Absent(absent)) => absent != found,
                    Some(Condition::Etag(asked)) => found && asked == etag,
                    Some(Condition::Lease(asked)) => {
                        self.leases.get(key).is_some_and(|(lease, until)| *lease == asked && *until > Instant::now())
                    }
                };
                if !holds {
                    return Ok(Done { found, not_met: Some(etag), ..Done::default() });
                }
                (value, until(ttl_ms), None)
            }
        };
        self.leases.remove(key);
        let evicted = if self.entries.contains_key(key) { 0 } else { self.make_room() };
        let (rank, inserted) = before.map_or((0, number), |before| (before.rank, before.inserted));
        let entry = Entry { value, expires, in_l1: false, rank, inserted };
        let written =
            Written { etag: entry.etag(), ttl_ms: entry.ttl_ms(), replaced: found, evicted, ..Written::default() };
        self.entries.insert(key.clone(), entry);
        Ok(Done { written, found, value: sum, not_met: None })
    }

    /// Lets the lowest rank leave a namespace of fixed capacity, the oldest among equals.
    fn make_room(&mut self) -> u32 {
        let Some(Capacity::EntriesMax(most)) = self.settings.capacity else { return 0 };
        let mut evicted = 0;
        while self.settings.eviction() == Eviction::Rank
            && i64::try_from(self.entries.len()).unwrap_or(i64::MAX) >= most
        {
            let lowest = self.entries.iter().min_by_key(|(_, entry)| (entry.rank, entry.inserted));
            let Some(key) = lowest.map(|(key, _)| key.clone()) else { break };
            self.entries.remove(&key);
            evicted += 1;
        }
        evicted
    }
}

/// The namespace with everything set.
pub(super) fn whole(asked: Namespace, origin: Origin) -> Namespace {
    let or = |asked: i32, other: i32| if asked == 0 { other } else { asked };
    Namespace {
        capacity: Some(asked.capacity.unwrap_or(Capacity::EntriesMax(100_000))),
        eviction: or(asked.eviction, Eviction::TinyLfu.into()),
        ttl_ms: Some(asked.ttl_ms.unwrap_or(3_600_000)),
        ttl_max_ms: Some(asked.ttl_max_ms.unwrap_or(86_400_000)),
        ttl_jitter_percent: Some(asked.ttl_jitter_percent.unwrap_or(10)),
        stale_while_revalidate_ms: Some(asked.stale_while_revalidate_ms.unwrap_or(0)),
        stale_if_error_ms: Some(asked.stale_if_error_ms.unwrap_or(0)),
        negative_ttl_ms: Some(asked.negative_ttl_ms.unwrap_or(0)),
        write_mode: or(asked.write_mode, WriteMode::AtOnce.into()),
        overwrite: or(asked.overwrite, Overwrite::Allowed.into()),
        key_bytes_max: Some(asked.key_bytes_max.unwrap_or(1024)),
        value_bytes_max: Some(asked.value_bytes_max.unwrap_or(1 << 20)),
        queue_max: Some(asked.queue_max.unwrap_or(10_000)),
        origin: origin.into(),
        revision: asked.revision.max(1),
        store_prefix: Bytes::from(format!("{{{}}}:", asked.name)),
        name: asked.name,
    }
}
