//! What the engine's errors are to a caller.

use std::time::Duration;

use headwater_cache::{CacheError, Refusal};
use headwater_contracts::v1::cache::KeyError;
use headwater_domain::Reason;
use headwater_serving::Problem;

/// What an error of a call is to its caller.
pub(crate) fn problem(error: CacheError) -> Problem {
    let detail = error.to_string();
    match error {
        CacheError::Invalid { field, rule, description } => Problem::invalid_request(field, rule, description),
        CacheError::UnknownNamespace { name, .. } => {
            Problem::new(Reason::UnknownNamespace, detail).with_metadata("namespace", name)
        }
        CacheError::NamespaceExists(name) => {
            Problem::new(Reason::NamespaceExists, detail).with_metadata("namespace", name)
        }
        CacheError::TooManyWatches(most) | CacheError::TooManyLoads(most) => {
            Problem::new(Reason::Overloaded, detail).with_metadata("limit", most.to_string())
        }
        CacheError::NamespaceFixed(_) | CacheError::TooManyNamespaces(_) => {
            Problem::new(Reason::NamespaceFixed, detail)
        }
        CacheError::KeyExists => Problem::new(Reason::KeyExists, detail),
        CacheError::NotMet { .. } => Problem::new(Reason::ConditionNotMet, detail),
        CacheError::NotANumber => Problem::new(Reason::NotANumber, detail),
        CacheError::Overflow => Problem::new(Reason::Overflow, detail),
        CacheError::QueueFull(waiting) => {
            Problem::new(Reason::QueueFull, detail).with_metadata("waiting", waiting.to_string())
        }
        CacheError::UnknownWrite => Problem::new(Reason::UnknownWrite, detail),
        CacheError::Unavailable(_) => Problem::new(Reason::CacheUnavailable, detail),
        CacheError::Full(_) => Problem::new(Reason::CacheFull, detail),
        // A wrong password, a replica that is read-only: somebody mends it, and calls find out by trying again.
        CacheError::Refused(_) => Problem::new(Reason::CacheUnavailable, detail).with_retry_after(REFUSED_RETRY),
        CacheError::LoadFailed { for_ms, .. } => {
            let problem = Problem::new(Reason::LoadFailed, detail);
            // Before that nobody asks the loader again.
            if for_ms > 0 { problem.with_retry_after(Duration::from_millis(for_ms)) } else { problem }
        }
        CacheError::Internal(why) => {
            tracing::error!(why, "a fault of the cache's own");
            Problem::new(Reason::Internal, "a fault of the cache's own; its log says more")
        }
    }
}

/// How long to wait before a retry where the store refused.
const REFUSED_RETRY: Duration = Duration::from_secs(1);

/// What an error of a call about a namespace is, whose fields are those of its `namespace`.
pub(crate) fn of_namespace(error: CacheError) -> Problem {
    match error {
        CacheError::Invalid { field, rule, description } => {
            Problem::invalid_request(format!("namespace.{field}"), rule, description)
        }
        error => problem(error),
    }
}

/// What an error of one key of a batch is to its caller.
pub(crate) fn key_error(error: CacheError) -> KeyError {
    of_key(problem(error))
}

/// That a key of a batch had no room in the answer.
pub(crate) fn answer_full(bytes_max: usize) -> KeyError {
    let detail = format!("the answer has {bytes_max} bytes of values (cache.batch_bytes_max): ask for this key apart");
    of_key(Problem::new(Reason::BatchTooLarge, detail))
}

/// Why a queued write was refused.
pub(crate) fn refusal(refusal: Refusal) -> KeyError {
    key_error(CacheError::from(refusal))
}

/// A problem as that of one key.
fn of_key(problem: Problem) -> KeyError {
    KeyError {
        reason: problem.reason.number(),
        detail: problem.detail,
        retry_delay: problem.retry_after.and_then(|delay| delay.try_into().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_key_says_when_to_retry_only_where_that_helps() {
        let away = key_error(CacheError::Unavailable("no answer".into()));
        assert_eq!(away.reason, Reason::CacheUnavailable.number());
        assert!(away.retry_delay.is_some() && away.detail.contains("no answer"));
        let wrong = key_error(CacheError::Invalid { field: "key", rule: "bytes.min_len", description: "empty".into() });
        assert_eq!((wrong.reason, wrong.retry_delay), (Reason::InvalidRequest.number(), None));
        let failed = key_error(CacheError::LoadFailed { why: "x".into(), for_ms: 5000 });
        assert_eq!(failed.retry_delay.map(|delay| delay.seconds), Some(5));
    }
}
