use headwater_cache_store::{Etag, StoreError};
use thiserror::Error;

use crate::policy::PolicyError;

/// Why the cache did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CacheError {
    /// A field of the request is wrong.
    #[error("{field}: {description}")]
    Invalid {
        /// The field, by the contract's name.
        field: &'static str,
        /// The rule that it breaks, for example `bytes.max_len`.
        rule: &'static str,
        /// What it must be.
        description: String,
    },
    /// No namespace of that name.
    #[error("there is no namespace {name:?}{}", near.as_ref().map_or_else(String::new, |near| format!(": did you mean {near:?}?")))]
    UnknownNamespace {
        /// The name.
        name: String,
        /// A name that is like it.
        near: Option<String>,
    },
    /// There is a namespace of that name.
    #[error("there is a namespace {0:?} already")]
    NamespaceExists(String),
    /// The namespace cannot be changed so.
    #[error("{0}")]
    NamespaceFixed(String),
    /// There are as many namespaces as may be.
    #[error("there are {0} namespaces, which is the most (cache.namespaces_max)")]
    TooManyNamespaces(usize),
    /// There are as many watches as may be.
    #[error("there are {0} watches, which is the most (cache.watches_max)")]
    TooManyWatches(usize),
    /// The key has a value, and the namespace refuses to overwrite.
    #[error("the key has a value, and the namespace refuses to overwrite")]
    KeyExists,
    /// The condition of a write does not hold.
    #[error("the condition does not hold")]
    NotMet {
        /// The etag of the key's value, if it has one.
        current: Option<Etag>,
    },
    /// The key's value is no decimal integer of 64 bits.
    #[error("the key's value is no decimal integer of 64 bits")]
    NotANumber,
    /// The sum passes 64 bits.
    #[error("the sum would pass 64 bits: nothing was changed")]
    Overflow,
    /// As many queued writes wait as may.
    #[error("{0} writes wait, which is the most (the namespace's queue_max): nothing was queued")]
    QueueFull(u64),
    /// No queued write of that id is known.
    #[error("no write of that id is known (any more)")]
    UnknownWrite,
    /// The store is away, or did not answer in time: a write may have been done.
    #[error("the cache's store is away: {0}")]
    Unavailable(String),
    /// The store takes no more.
    #[error("the cache's store takes no more: {0}")]
    Full(String),
    /// The store refused for a reason that retrying does not mend.
    #[error("the cache's store refused: {0}")]
    Refused(String),
    /// The namespace's loader failed.
    #[error("the value could not be loaded: {why}")]
    LoadFailed {
        /// Why.
        why: String,
        /// How long that is remembered, in milliseconds.
        for_ms: u64,
    },
    /// As many loads are under way as may be.
    #[error("{0} loads are under way, which is the most (cache.loads_max)")]
    TooManyLoads(usize),
    /// A fault of the cache's own.
    #[error("{0}")]
    Internal(String),
}

impl From<StoreError> for CacheError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) | StoreError::Declined(why) => Self::Unavailable(why),
            StoreError::Full(why) => Self::Full(why),
            StoreError::Refused(why) => Self::Refused(why),
        }
    }
}

impl From<PolicyError> for CacheError {
    fn from(error: PolicyError) -> Self {
        Self::Invalid { field: error.field, rule: "namespace", description: error.expected }
    }
}
