//! The cache: keys and values are bytes, kept in namespaces. [`Client::cache`] gives a namespace's handle.

mod answer;
mod batch;
mod namespaces;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use answer::{Conditional, Deleted, KeyError, QueuedWrite, Read, Stored, Sum, Touched, Write};
pub use batch::{BatchGetOptions, Item, PerKey};
pub use watch::{Watch, WatchEvent, WatchOptions};

pub use crate::v1::cache::{CacheStatus, Forward, KeyState, Layer, Outcome};
use crate::v1::cache::{
    Condition, DeleteRequest, GetRequest, GetWriteRequest, IncrementRequest, SetIfRequest, SetRequest, TouchRequest,
    condition,
};
use crate::{Client, Error, RetryPolicy};

/// A namespace of the cache. Clones share the connection.
///
/// Reads, `set`, `touch`, `delete` and their batches are called again where that can help, within the client's
/// [`RetryPolicy`]: a write whose answer was lost may then be done twice, which ends in the same value unless another
/// wrote in between. `set_if` and `increment` are called once.
#[derive(Clone, Debug)]
pub struct Cache {
    client: Client,
    namespace: Arc<str>,
}

/// How a key is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// Asks the store, whatever the replica's memory has: what was written anywhere before is seen.
    pub no_cache: bool,
    /// Where the key is missing or stale: asks for the right to write it, for so long (1 ms to 60 s). At most one caller
    /// has it: see [`Read::lease`].
    pub lease: Option<Duration>,
    /// Asks for the value's etag too, which costs hashing it.
    pub etag: bool,
}

/// How much is added to a number, and to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IncrementOptions {
    /// What to add; may be negative.
    pub delta: i64,
    /// What a key without a value has before.
    pub initial: i64,
    /// How long the sum stays fresh. None: a key that has a value keeps its time, another gets the namespace's.
    pub ttl: Option<Duration>,
}

/// What must hold for a value to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// The key has no value.
    Absent,
    /// The key has a value.
    Present,
    /// The key's value has this etag.
    Etag(Bytes),
    /// Nobody wrote the key since this lease was given.
    Lease(Bytes),
}

impl Client {
    /// The namespace of the cache with that name; empty is `default`. Nothing is sent: a name that there is not is told by
    /// the first call.
    pub fn cache(&self, namespace: &str) -> Cache {
        Cache { client: self.clone(), namespace: namespace.into() }
    }
}

impl Cache {
    /// The namespace's name, as it was given.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The same namespace with another deadline for its unary calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { client: self.client.with_deadline(deadline), namespace: Arc::clone(&self.namespace) }
    }

    /// The same namespace with other retries, for example [`RetryPolicy::none`].
    #[must_use]
    pub fn with_retry(&self, retry: RetryPolicy) -> Self {
        Self { client: self.client.with_retry(retry), namespace: Arc::clone(&self.namespace) }
    }

    /// Reads a key. A miss is an answer.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Read, Error> {
        self.get_with(key, GetOptions::default()).await
    }

    /// As [`Self::get`], past the replica's memory, with the right to write what is missing, or with the etag.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn get_with(&self, key: impl AsRef<[u8]>, options: GetOptions) -> Result<Read, Error> {
        let request = GetRequest {
            namespace: self.name(),
            key: bytes_of(key),
            no_cache: options.no_cache,
            lease: options.lease.is_some(),
            lease_ms: options.lease.map_or(0, millis),
            etag: options.etag,
        };
        self.client.unary(request, call!(self.client, get)).await.map(Read::from)
    }

    /// Writes a value, whatever was there; it stays fresh as long as the namespace says.
    ///
    /// # Errors
    /// Where the call failed; KEY_EXISTS where the namespace refuses to overwrite, also where an attempt of this very call
    /// wrote the value and its answer was lost.
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Result<Write<Stored>, Error> {
        self.set_with(key, value, None).await
    }

    /// As [`Self::set`]; it stays fresh for so long.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn set_for(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<Write<Stored>, Error> {
        self.set_with(key, value, Some(ttl)).await
    }

    /// As [`Self::set`]; it stays fresh for `ttl`, or as long as the namespace says.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn set_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        ttl: Option<Duration>,
    ) -> Result<Write<Stored>, Error> {
        let request =
            SetRequest { namespace: self.name(), key: bytes_of(key), value: value.into(), ttl_ms: ttl.map(millis) };
        let answer = self.client.unary(request, call!(self.client, set)).await?;
        Ok(Write::of(answer.written.ok_or_else(|| incomplete("Set"))?))
    }

    /// Writes a value where a condition holds, in one atomic step. That it does not hold is an answer. It is called once.
    ///
    /// # Errors
    /// Where the call failed: whether the value was written is then not known, unless the reason says so.
    pub async fn set_if(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        ttl: Option<Duration>,
        when: When,
    ) -> Result<Write<Conditional>, Error> {
        let condition = match when {
            When::Absent => condition::Condition::Absent(true),
            When::Present => condition::Condition::Absent(false),
            When::Etag(etag) => condition::Condition::Etag(etag),
            When::Lease(lease) => condition::Condition::Lease(lease),
        };
        let request = SetIfRequest {
            namespace: self.name(),
            key: bytes_of(key),
            value: value.into(),
            ttl_ms: ttl.map(millis),
            condition: Some(Condition { condition: Some(condition) }),
        };
        let answer = self.client.once(request, call!(self.client, set_if)).await?;
        if !answer.met && answer.written.as_ref().is_none_or(|written| written.write_id.is_empty()) {
            let current_etag = answer::unless_empty(answer.current_etag);
            return Ok(Write::Applied(Conditional::NotMet { current_etag }));
        }
        Ok(Write::of(answer.written.ok_or_else(|| incomplete("SetIf"))?).map(Conditional::Met))
    }

    /// Adds to a decimal integer of 64 bits, in one atomic step. A key without a value has 0 before. It is called once.
    ///
    /// # Errors
    /// Where the call failed; NOT_A_NUMBER, OVERFLOW.
    pub async fn increment(&self, key: impl AsRef<[u8]>, delta: i64) -> Result<Write<Sum>, Error> {
        self.increment_with(key, IncrementOptions { delta, ..IncrementOptions::default() }).await
    }

    /// As [`Self::increment`], from another number, or with a time to live.
    ///
    /// # Errors
    /// As [`Self::increment`].
    pub async fn increment_with(&self, key: impl AsRef<[u8]>, options: IncrementOptions) -> Result<Write<Sum>, Error> {
        let IncrementOptions { delta, initial, ttl } = options;
        let request =
            IncrementRequest { namespace: self.name(), key: bytes_of(key), delta, initial, ttl_ms: ttl.map(millis) };
        let answer = self.client.once(request, call!(self.client, increment)).await?;
        let written = answer.written.ok_or_else(|| incomplete("Increment"))?;
        Ok(Write::of(written).map(|stored| Sum { value: answer.value, stored }))
    }

    /// Gives a key another time to live: `ttl`, or the namespace's. That there is no such key is an answer.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<Write<Touched>, Error> {
        let request = TouchRequest { namespace: self.name(), key: bytes_of(key), ttl_ms: ttl.map(millis) };
        let answer = self.client.unary(request, call!(self.client, touch)).await?;
        let written = answer.written.ok_or_else(|| incomplete("Touch"))?;
        Ok(Write::of(written).map(|stored| Touched { found: answer.found, ttl: stored.ttl }))
    }

    /// Forgets a key. That there is no such key is an answer.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Write<Deleted>, Error> {
        let request = DeleteRequest { namespace: self.name(), key: bytes_of(key) };
        let answer = self.client.unary(request, call!(self.client, delete)).await?;
        let written = answer.written.ok_or_else(|| incomplete("Delete"))?;
        Ok(Write::of(written).map(|_| Deleted { found: answer.found }))
    }

    /// Keys' states now and whenever they change. Quiet connections that break are opened again: see [`Watch`].
    ///
    /// # Errors
    /// Where it could not be begun.
    pub async fn watch(&self, options: WatchOptions) -> Result<Watch, Error> {
        Watch::open(self.client.clone(), self.name(), options).await
    }

    /// What became of a queued write, waiting for it to be applied for at most `wait` beyond the deadline of other calls.
    ///
    /// # Errors
    /// Where the call failed; UNKNOWN_WRITE.
    pub async fn get_write(&self, write_id: &str, wait: Duration) -> Result<QueuedWrite, Error> {
        let request = GetWriteRequest {
            namespace: self.name(),
            write_id: write_id.to_owned(),
            wait: prost_types::Duration::try_from(wait).ok().filter(|_| !wait.is_zero()),
        };
        let client = self.client.with_deadline(self.client.deadline.saturating_add(wait));
        client.unary(request, call!(client, get_write)).await.and_then(QueuedWrite::of)
    }

    fn name(&self) -> String {
        self.namespace.as_ref().to_owned()
    }
}

/// A method of the generated client as [`Client::unary`] calls it.
macro_rules! call {
    ($client:expr, $method:ident) => {
        |request| {
            let mut cache = $client.cache.clone();
            async move { cache.$method(request).await }
        }
    };
}
use call;

fn bytes_of(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

/// Whole milliseconds, as the contract has them.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn incomplete(method: &str) -> Error {
    Error::Protocol(format!("{method} answered without what became of the write"))
}
