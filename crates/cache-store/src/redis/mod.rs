//! The cache's store in Redis 6.2 or later, by itself or as a Cluster.
//!
//! A value is a plain string at the namespace's prefix and the key, kept for its time to live and however long it is kept
//! stale. Beside it, in the same slot, lies its lease or what is denied. A write to a key is one script. What several keys
//! share (ranks, queues) lies in the slot of the namespace's name.

mod answer;
mod check;
mod failure;
mod flush;
mod follow;
mod keys;
mod namespaces;
mod node;
mod queue;
mod ranked;
mod read;
mod router;
mod script;
mod slot;
mod topology;
mod way;
mod write;

use std::{fmt, time::Duration};

use ::redis::{Value, cmd};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    Applied, CacheStore, EnqueueError, Entry, Expected, Got, Held, Holder, LeaseAsk, Notice, Outcome, QueuedWrite,
    Saved, Space, StoreError, StoreInfo, StoredNamespace, Write,
};
use keys::Keys;
use router::Router;
use script::{DENY, RELEASE};
use way::Call;

/// Times to live past this are taken for this: Redis' own end is near.
const TIME_MAX_MS: u64 = 1 << 50;

/// How to reach Redis.
#[derive(Clone)]
pub struct RedisStoreOptions {
    /// `redis://` or `rediss://` addresses: one, or some nodes of a Cluster. Name and password are the first one's.
    pub urls: Vec<String>,
    /// Whether it is a Cluster.
    pub cluster: bool,
    /// What the store's own keys begin with; as in [`Space::new`], without braces.
    pub root: String,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long an answer may take. A call waits for the two together at most.
    pub response_timeout: Duration,
}

/// The cache's store in Redis. Needs no Redis to be made: it connects when it is used, and again when a connection is lost.
pub struct RedisStore {
    root: String,
    response_timeout: Duration,
    router: Router,
}

impl RedisStoreOptions {
    /// One Redis at this address: connections within a second, answers within a second.
    pub fn new(url: impl Into<String>, root: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            cluster: false,
            root: root.into(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        }
    }
}

/// Without the addresses, which may hold a password.
impl fmt::Debug for RedisStoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { urls: _, cluster, root, connect_timeout, response_timeout } = self;
        f.debug_struct("RedisStoreOptions")
            .field("cluster", cluster)
            .field("root", root)
            .field("connect_timeout", connect_timeout)
            .field("response_timeout", response_timeout)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// A store in the Redis that the options name. Nothing is connected yet.
    ///
    /// # Errors
    /// `Refused` where the options cannot be used.
    pub fn new(options: RedisStoreOptions) -> Result<Self, StoreError> {
        if options.root.contains(['{', '}']) {
            return Err(StoreError::Refused(format!(
                "the root {:?} has a brace, which slots are told by",
                options.root
            )));
        }
        let router = Router::new(&options)?;
        // Some milliseconds of work, that the first call is spared.
        slot::tag_of(0);
        Ok(Self { root: options.root, response_timeout: options.response_timeout, router })
    }
}

#[async_trait]
impl CacheStore for RedisStore {
    async fn get(&self, space: &Space, key: &[u8], lease: Option<&LeaseAsk>) -> Result<Got, StoreError> {
        read::get(&self.router, space, key, lease).await
    }

    async fn batch_get(&self, space: &Space, keys: &[Bytes]) -> Vec<Result<Option<Entry>, StoreError>> {
        read::batch_get(&self.router, space, keys).await
    }

    async fn write(&self, space: &Space, writes: &[Write]) -> Vec<Result<Outcome, StoreError>> {
        write::write(&self.router, space, writes).await
    }

    async fn release(&self, space: &Space, key: &[u8], token: &[u8]) -> Result<(), StoreError> {
        let pair = Keys::of(space).pair(key);
        let command = RELEASE.call(&[&pair.beside]).arg(token).take();
        self.router.run(Call::repeatable(pair.slot, &RELEASE, command)).await?;
        Ok(())
    }

    async fn deny(&self, space: &Space, key: &[u8], token: &[u8], why: &[u8], for_ms: u64) -> Result<(), StoreError> {
        let pair = Keys::of(space).pair(key);
        let for_ms = for_ms.clamp(1, TIME_MAX_MS);
        let command = DENY.call(&[&pair.beside]).arg(token).arg(why).arg(for_ms).take();
        self.router.run(Call::repeatable(pair.slot, &DENY, command)).await?;
        Ok(())
    }

    async fn raise(&self, space: &Space, reads: &[(Bytes, u64)]) -> Result<(), StoreError> {
        ranked::raise(&self.router, space, reads).await
    }

    async fn shrink(&self, space: &Space) -> Result<u64, StoreError> {
        ranked::shrink(&self.router, space).await
    }

    async fn flush(&self, space: &Space) -> Result<u64, StoreError> {
        flush::flush(&self.router, space, &self.root).await
    }

    async fn held(&self, space: &Space) -> Result<Held, StoreError> {
        ranked::held(&self.router, space).await
    }

    async fn enqueue(&self, space: &Space, writes: &[Write]) -> Result<Vec<String>, EnqueueError> {
        queue::enqueue(&self.router, space, writes).await
    }

    async fn apply_queued(&self, space: &Space, holder: &Holder, writes_max: u64) -> Result<Applied, StoreError> {
        queue::apply(&self.router, space, holder, writes_max).await
    }

    async fn queued(&self, space: &Space, id: &str) -> Result<Option<QueuedWrite>, StoreError> {
        queue::queued(&self.router, space, id).await
    }

    async fn namespaces(&self) -> Result<Vec<StoredNamespace>, StoreError> {
        namespaces::all(&self.router, &self.root).await
    }

    async fn save_namespace(
        &self,
        name: &str,
        body: &[u8],
        expected: Expected,
        namespaces_max: usize,
    ) -> Result<Saved, StoreError> {
        namespaces::save(&self.router, &self.root, name, body, expected, namespaces_max).await
    }

    async fn follow(&self, prefixes: &[Bytes], heard_every: Duration, notices: mpsc::Sender<Notice>) -> StoreError {
        follow::follow(&self.router, prefixes, heard_every, self.response_timeout, &notices).await
    }

    async fn check(&self) -> Result<StoreInfo, StoreError> {
        check::check(&self.router).await
    }
}

/// What an answer is taken for that has another form than it should.
fn unreadable(answer: &Value) -> StoreError {
    let kind = match answer {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    StoreError::Refused(format!("what it answered cannot be read: {kind}"))
}

fn ping() -> ::redis::Cmd {
    cmd("PING")
}
