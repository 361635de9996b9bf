//! Writing: at once, or into the namespace's queue.

use std::sync::Arc;

use bytes::Bytes;
use headwater_cache_store::{
    self as store, Condition, EnqueueError, Etag, Op, Outcome, Refusal, StoreError, Write, etag_of,
};

use crate::answer::{WriteDone, Written};
use crate::cache::Cache;
use crate::error::CacheError;
use crate::namespaces::Namespace;
use crate::policy::WriteMode;

/// A write that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteAsk {
    /// The key.
    pub key: Bytes,
    /// What to do.
    pub op: OpAsk,
}

/// What a write is to do. A `ttl_ms` of none is the namespace's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpAsk {
    /// Writes a value where a condition holds.
    Put {
        /// The value.
        value: Bytes,
        /// How long it stays fresh.
        ttl_ms: Option<i64>,
        /// What must hold.
        condition: Condition,
    },
    /// Adds to a decimal integer of 64 bits.
    Add {
        /// What to add.
        delta: i64,
        /// What an absent key has before.
        initial: i64,
        /// How long the sum stays fresh. None: a key that is there keeps its time.
        ttl_ms: Option<i64>,
    },
    /// Gives a value another time to live.
    Touch {
        /// The time.
        ttl_ms: Option<i64>,
    },
    /// Forgets a key.
    Delete,
}

impl Cache {
    /// Does writes, or queues them where the namespace says so: one result per write, in order. A write that breaks a rule
    /// is refused by itself; those that are queued are queued together or not at all.
    pub async fn write(&self, namespace: &Arc<Namespace>, asks: Vec<WriteAsk>) -> Vec<Result<Written, CacheError>> {
        let checked: Vec<Result<Write, CacheError>> = asks.into_iter().map(|ask| namespace.checked(ask)).collect();
        let writes: Vec<Write> = checked.iter().filter_map(|write| write.as_ref().ok()).cloned().collect();
        let mut results = match namespace.info.policy.write_mode {
            _ if writes.is_empty() => Vec::new(),
            WriteMode::AtOnce => self.write_now(namespace, &writes).await,
            WriteMode::Queued => self.enqueue(namespace, &writes).await,
        }
        .into_iter();
        let none = || Err(CacheError::Internal("a write has no result".into()));
        checked.into_iter().map(|write| write.and_then(|_| results.next().unwrap_or_else(none))).collect()
    }

    async fn write_now(&self, namespace: &Arc<Namespace>, writes: &[Write]) -> Vec<Result<Written, CacheError>> {
        if let Err(error) = self.admitted() {
            return vec![Err(error); writes.len()];
        }
        for write in writes {
            self.lag().sent(&namespace.space.prefix, &write.key);
        }
        // However the call ends, what L1 has is gone before the caller knows: also where it is cut off in the middle.
        let forget = Forget { cache: self, namespace, writes };
        let outcomes = self.store().write(&namespace.space, writes).await;
        drop(forget);
        self.judge(outcomes.iter().map(|outcome| outcome.as_ref().err()));
        for (write, outcome) in writes.iter().zip(&outcomes) {
            if !changes(write, outcome) {
                self.lag().forget(&namespace.space.prefix, &write.key);
            }
        }
        let results = writes.iter().zip(outcomes).map(|(write, outcome)| namespace.written(write, outcome));
        results.map(|result| result.map(Written::Done)).collect()
    }

    async fn enqueue(&self, namespace: &Arc<Namespace>, writes: &[Write]) -> Vec<Result<Written, CacheError>> {
        let all = |error: CacheError| vec![Err(error); writes.len()];
        if let Err(error) = self.admitted() {
            return all(error);
        }
        let result = self.store().enqueue(&namespace.space, writes).await;
        self.judge([match &result {
            Err(EnqueueError::Store(error)) => Some(error),
            Ok(_) | Err(EnqueueError::Full { .. }) => None,
        }]);
        match result {
            Ok(ids) => {
                namespace.counts.writes.add(ids.len() as u64);
                for (id, write) in ids.iter().zip(writes) {
                    self.queued_keys().add(&namespace.info.name, id, write);
                }
                self.queue_grew().notify_one();
                ids.into_iter().map(|id| Ok(Written::Queued(id))).collect()
            }
            Err(EnqueueError::Full { waiting }) => all(CacheError::QueueFull(waiting)),
            Err(EnqueueError::Store(error)) => all(error.into()),
        }
    }
}

impl Namespace {
    /// What became of a write.
    fn written(&self, write: &Write, outcome: Result<Outcome, StoreError>) -> Result<WriteDone, CacheError> {
        match outcome? {
            Outcome::Done(done) => {
                self.counts.writes.add(1);
                self.counts.evicted_by_rank.add(u64::from(done.evicted));
                Ok(write_done(done, value_of(write)))
            }
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// The write, once every rule holds.
    fn checked(&self, ask: WriteAsk) -> Result<Write, CacheError> {
        self.check_key(&ask.key)?;
        let op = match ask.op {
            OpAsk::Put { value, ttl_ms, condition } => {
                let most = self.info.policy.value_bytes_max;
                if value.len() as u64 > most {
                    return Err(CacheError::Invalid {
                        field: "value",
                        rule: "bytes.max_len",
                        description: format!(
                            "has {} bytes, must have {most} at most (value_bytes_max of the namespace {:?})",
                            value.len(),
                            self.info.name
                        ),
                    });
                }
                Op::Put { value, ttl_ms: self.ttl(ttl_ms)?, condition }
            }
            OpAsk::Add { delta, initial, ttl_ms } => {
                let given = ttl_ms.map(|_| self.ttl(ttl_ms)).transpose()?.flatten();
                let new_ttl_ms = match given {
                    Some(given) => Some(given),
                    None => self.ttl(None)?,
                };
                Op::Add { delta, initial, ttl_ms: given, new_ttl_ms }
            }
            OpAsk::Touch { ttl_ms } => Op::Touch { ttl_ms: self.ttl(ttl_ms)? },
            OpAsk::Delete => Op::Delete,
        };
        Ok(Write { key: ask.key, op })
    }

    fn ttl(&self, asked: Option<i64>) -> Result<Option<u64>, CacheError> {
        let policy = &self.info.policy;
        let Some(asked) = asked else { return Ok(policy.ttl_drawn(rand::random())) };
        match u64::try_from(asked) {
            Ok(ttl_ms) if (1..=policy.ttl_max_ms).contains(&ttl_ms) => Ok(Some(ttl_ms)),
            _ => Err(CacheError::Invalid {
                field: "ttl_ms",
                rule: "int64.range",
                description: format!(
                    "is {asked}, must be 1 to {} (ttl_max_ms of the namespace {:?}); leave it unset for the namespace's own",
                    policy.ttl_max_ms, self.info.name
                ),
            }),
        }
    }
}

/// Whether a write changed its key.
fn changes(write: &Write, outcome: &Result<Outcome, StoreError>) -> bool {
    match (outcome, &write.op) {
        (Ok(Outcome::Done(done)), Op::Touch { .. } | Op::Delete) => done.existed,
        (Ok(Outcome::Done(_)), _) => true,
        _ => false,
    }
}

/// Takes from L1 what was written, however the write ends.
struct Forget<'a> {
    cache: &'a Cache,
    namespace: &'a Namespace,
    writes: &'a [Write],
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        for write in self.writes {
            self.cache.forget(self.namespace, &write.key);
        }
    }
}

pub(crate) fn write_done(done: store::Done, etag: Option<Etag>) -> WriteDone {
    let etag = etag.or_else(|| done.number.map(|number| etag_of(number.to_string().as_bytes())));
    WriteDone { existed: done.existed, etag, number: done.number, ttl_ms: done.ttl_ms, evicted: done.evicted }
}

/// The etag of the value that a write writes.
pub(crate) fn value_of(write: &Write) -> Option<Etag> {
    match &write.op {
        Op::Put { value, .. } => Some(etag_of(value)),
        Op::Add { .. } | Op::Touch { .. } | Op::Delete => None,
    }
}

impl From<Refusal> for CacheError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Exists => Self::KeyExists,
            Refusal::NotMet { current } => Self::NotMet { current },
            Refusal::NotANumber => Self::NotANumber,
            Refusal::Overflow => Self::Overflow,
        }
    }
}
