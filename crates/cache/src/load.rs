//! Where missing values come from.

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

/// A source that a namespace is read through.
///
/// For a key that is missing it is asked once, however many wait and on however many replicas: in a task that no caller's
/// end ends, cut after [`crate::CacheOptions::load_timeout`]. What it gives is kept unless the key was written meanwhile.
/// That there is nothing, or that it failed, is remembered for the namespace's `negative_ttl_ms`.
#[async_trait]
pub trait Loader: Send + Sync + 'static {
    /// The value of a key; none where the source has none.
    ///
    /// # Errors
    /// Where the source failed; the text is told to callers.
    async fn load(&self, key: &[u8]) -> Result<Option<Loaded>, LoadError>;
}

/// A value that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The value, of any size up to the namespace's `value_bytes_max`.
    pub value: Bytes,
    /// How long it stays fresh, in milliseconds, at least 1. None: as the namespace says.
    pub ttl_ms: Option<u64>,
}

/// Why a value was not loaded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct LoadError(pub String);
