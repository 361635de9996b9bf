use headwater_domain::{Bucket, Operation, StatKind};

use crate::{LiveError, ReadRequest};

/// What a read asks of a shard.
pub(crate) struct Ask {
    pub(crate) stat: usize,
    pub(crate) keys: Keys,
    pub(crate) of: Of,
}

/// The keys whose figures are asked for.
pub(crate) enum Keys {
    /// One; empty where the statistic has no keys.
    One(String),
    /// All that have a figure.
    All,
}

/// Where the figures come from.
pub(crate) enum Of {
    /// Members that were seen at this time or later.
    Seen { start_ms: i64 },
    /// Amounts in these buckets.
    Buckets(Vec<Bucket>),
    /// Amounts in all time.
    AllTime,
}

impl Ask {
    /// What the request asks for.
    ///
    /// # Errors
    /// `Refused` for a distinct over all time, a window that is longer than the longest, and a key of a statistic that
    /// has none.
    pub(crate) fn new(request: &ReadRequest, window_max_ms: i64) -> Result<Self, LiveError> {
        let has_keys = request.kind.by().is_some();
        let keys = match &request.key {
            Some(key) if !has_keys && !key.is_empty() => {
                return Err(LiveError::Refused(format!("statistic {} has no keys", request.stat)));
            }
            Some(key) => Keys::One(key.clone()),
            None if has_keys => Keys::All,
            None => Keys::One(String::new()),
        };
        if let Some(window) = request.window
            && request.as_of_ms - window.start_ms(request.as_of_ms) > window_max_ms
        {
            return Err(LiveError::Refused(format!("a window is at most {} s", window_max_ms / 1000)));
        }
        let of = match (request.kind, request.window) {
            (StatKind::Distinct { .. }, Some(window)) => Of::Seen { start_ms: window.start_ms(request.as_of_ms) },
            (StatKind::Distinct { .. }, None) => {
                return Err(LiveError::Refused(
                    "a distinct over all time is answered by the history, not by live statistics".into(),
                ));
            }
            (_, Some(window)) => Of::Buckets(window.buckets(request.as_of_ms, window_max_ms)),
            (_, None) => Of::AllTime,
        };
        Ok(Self { stat: request.stat, keys, of })
    }

    /// Whether the shard can have a part of what is asked for.
    pub(crate) fn touches(&self, shard: u32, shards: u32) -> bool {
        match (&self.keys, &self.of) {
            (Keys::All, _) => true,
            // Members without a key, and of the empty key, are spread over the shards.
            (Keys::One(key), Of::Seen { .. }) if key.is_empty() => true,
            (Keys::One(key), _) => {
                Operation::Add { stat: self.stat, key: key.clone(), bucket: None, amount: 0 }.shard(shards) == shard
            }
        }
    }
}
