use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Cache, Deleted, KeyError, Read, Stored, Write, bytes_of, call, millis};
use crate::v1::cache::{
    BatchDeleteRequest, BatchGetRequest, BatchSetItem, BatchSetRequest, batch_delete_result, batch_get_result,
    batch_set_result,
};
use crate::{Error, RetryPolicy};

/// Calls that one batch of reads becomes at most, where its values do not fit into one answer. The first key of a call always
/// does, so that each call is nearer to the end.
const BATCH_CALLS_MAX: usize = 256;

/// A result per key, in the order of the request. Where a retry could help a key it was tried, within the client's
/// [`RetryPolicy`] and deadline.
pub type PerKey<T> = Vec<Result<T, KeyError>>;

/// How keys are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchGetOptions {
    /// As in [`GetOptions`](super::GetOptions).
    pub no_cache: bool,
    /// As in [`GetOptions`](super::GetOptions).
    pub etag: bool,
}

/// A value to write in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// How long it stays fresh. None: as long as the namespace says.
    pub ttl: Option<Duration>,
}

impl Item {
    /// A value that stays fresh as long as the namespace says.
    pub fn new(key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Self {
        Self { key: bytes_of(key), value: value.into(), ttl: None }
    }

    /// The same, fresh for so long.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }
}

impl Cache {
    /// Reads keys, at most 1,000 unless the platform is set otherwise. Those whose values do not fit into one answer are asked
    /// for by further calls, each with a deadline of its own.
    ///
    /// # Errors
    /// Where the batch as a whole was not looked at.
    pub async fn batch_get<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<PerKey<Read>, Error> {
        self.batch_get_with(keys, BatchGetOptions::default()).await
    }

    /// As [`Self::batch_get`], past the replica's memory, or with etags.
    ///
    /// # Errors
    /// As [`Self::batch_get`].
    pub async fn batch_get_with<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: BatchGetOptions,
    ) -> Result<PerKey<Read>, Error> {
        let keys: Vec<Bytes> = keys.into_iter().map(bytes_of).collect();
        let end = Instant::now() + self.client.deadline;
        let mut results = self.batch_get_once(keys.clone(), options).await?;
        let again = |cache: Self, places: Vec<usize>| {
            let keys = places.into_iter().map(|place| keys[place].clone()).collect();
            async move { cache.batch_get_once(keys, options).await }
        };
        self.complete(&mut results, end, |_| true, again).await;
        Ok(results)
    }

    async fn batch_get_once(&self, keys: Vec<Bytes>, options: BatchGetOptions) -> Result<PerKey<Read>, Error> {
        let asked = keys.len();
        let request = BatchGetRequest { namespace: self.name(), keys, no_cache: options.no_cache, etag: options.etag };
        let answer = self.client.unary(request, call!(self.client, batch_get)).await?;
        let results = answer.results.into_iter().map(|result| {
            Ok(match result.result.ok_or_else(empty)? {
                batch_get_result::Result::Found(found) => Ok(found.into()),
                batch_get_result::Result::Error(error) => Err(error.into()),
            })
        });
        in_order(asked, results)
    }

    /// Writes values, at most 1,000 unless the platform is set otherwise. A key that is there twice is written twice.
    ///
    /// # Errors
    /// Where the batch as a whole was not looked at.
    pub async fn batch_set(&self, items: impl IntoIterator<Item = Item>) -> Result<PerKey<Write<Stored>>, Error> {
        let items: Vec<Item> = items.into_iter().collect();
        let end = Instant::now() + self.client.deadline;
        let mut results = self.batch_set_once(items.clone()).await?;
        let mut times: HashMap<&Bytes, usize> = HashMap::new();
        for item in &items {
            *times.entry(&item.key).or_default() += 1;
        }
        let again = |cache: Self, places: Vec<usize>| {
            let items = places.into_iter().map(|place| items[place].clone()).collect();
            async move { cache.batch_set_once(items).await }
        };
        // The first of two values for a key must not come after the second.
        self.complete(&mut results, end, |place| times[&items[place].key] == 1, again).await;
        Ok(results)
    }

    async fn batch_set_once(&self, items: Vec<Item>) -> Result<PerKey<Write<Stored>>, Error> {
        let item = |Item { key, value, ttl }| BatchSetItem { key, value, ttl_ms: ttl.map(millis) };
        let items: Vec<BatchSetItem> = items.into_iter().map(item).collect();
        let asked = items.len();
        let request = BatchSetRequest { namespace: self.name(), items };
        let answer = self.client.unary(request, call!(self.client, batch_set)).await?;
        let results = answer.results.into_iter().map(|result| {
            Ok(match result.result.ok_or_else(empty)? {
                batch_set_result::Result::Written(written) => Ok(Write::of(written)),
                batch_set_result::Result::Error(error) => Err(error.into()),
            })
        });
        in_order(asked, results)
    }

    /// Forgets keys, at most 1,000 unless the platform is set otherwise.
    ///
    /// # Errors
    /// Where the batch as a whole was not looked at.
    pub async fn batch_delete<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<PerKey<Write<Deleted>>, Error> {
        let keys: Vec<Bytes> = keys.into_iter().map(bytes_of).collect();
        let end = Instant::now() + self.client.deadline;
        let mut results = self.batch_delete_once(keys.clone()).await?;
        let again = |cache: Self, places: Vec<usize>| {
            let keys = places.into_iter().map(|place| keys[place].clone()).collect();
            async move { cache.batch_delete_once(keys).await }
        };
        self.complete(&mut results, end, |_| true, again).await;
        Ok(results)
    }

    async fn batch_delete_once(&self, keys: Vec<Bytes>) -> Result<PerKey<Write<Deleted>>, Error> {
        let asked = keys.len();
        let request = BatchDeleteRequest { namespace: self.name(), keys };
        let answer = self.client.unary(request, call!(self.client, batch_delete)).await?;
        let results = answer.results.into_iter().map(|result| {
            Ok(match result.result.ok_or_else(empty)? {
                batch_delete_result::Result::Forgotten(forgotten) => {
                    let found = forgotten.found;
                    Ok(Write::of(forgotten.written.unwrap_or_default()).map(|_| Deleted { found }))
                }
                batch_delete_result::Result::Error(error) => Err(error.into()),
            })
        });
        in_order(asked, results)
    }
}

impl Cache {
    /// Asks again for keys that did not fit into the answer, and before the end for those for which that can help and that
    /// `may` be asked for again. What is left then keeps its error.
    async fn complete<T, F>(
        &self,
        results: &mut PerKey<T>,
        end: Instant,
        may: impl Fn(usize) -> bool,
        again: impl Fn(Self, Vec<usize>) -> F,
    ) where
        F: Future<Output = Result<PerKey<T>, Error>>,
    {
        let mut backoff = self.client.retry.backoff();
        let mut too_large_before = usize::MAX;
        for _ in 1..BATCH_CALLS_MAX {
            let (mut too_large, mut later, mut asked) = (Vec::new(), Vec::new(), Duration::ZERO);
            for (place, result) in results.iter().enumerate() {
                let Err(error) = result else { continue };
                if error.reason == "BATCH_TOO_LARGE" {
                    too_large.push(place);
                } else if let Some(delay) = error.retry_after.filter(|_| may(place)) {
                    later.push(place);
                    asked = asked.max(delay);
                }
            }
            let (places, done) = if !too_large.is_empty() && too_large.len() < too_large_before {
                too_large_before = too_large.len();
                let done = again(self.clone(), too_large.clone()).await;
                (too_large, done)
            } else if !later.is_empty() {
                let wait = backoff.next_wait(Some(asked)).filter(|&wait| Instant::now() + wait < end);
                let Some(wait) = wait else { return };
                tokio::time::sleep(wait).await;
                let rest = self.with_deadline(end.saturating_duration_since(Instant::now()));
                let done = again(rest.with_retry(RetryPolicy::none()), later.clone()).await;
                (later, done)
            } else {
                return;
            };
            // What is known of the other keys is not lost by a call that fails.
            let Ok(done) = done else { return };
            for (place, result) in places.into_iter().zip(done) {
                results[place] = result;
            }
        }
    }
}

/// Results are told apart by their place alone: another number of them is no answer.
fn in_order<T>(
    asked: usize,
    results: impl ExactSizeIterator<Item = Result<Result<T, KeyError>, Error>>,
) -> Result<PerKey<T>, Error> {
    if results.len() != asked {
        return Err(Error::Protocol(format!("{} results for {asked} keys", results.len())));
    }
    results.collect()
}

fn empty() -> Error {
    Error::Protocol("a key's result is empty".into())
}
