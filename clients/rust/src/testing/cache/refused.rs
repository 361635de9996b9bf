use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::v1::cache::KeyError;
use crate::v1::error::Reason;

/// Why the fake does not do something: the status of a call, or the result of a key.
#[derive(Debug)]
pub(super) struct Refused {
    reason: Reason,
    detail: String,
    field: Option<String>,
}

impl Refused {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), field: None }
    }

    /// A field of the request is wrong.
    pub(super) fn field(field: &str, problem: &str) -> Self {
        let field = Some(field.to_owned());
        Self { reason: Reason::InvalidRequest, detail: problem.to_owned(), field }
    }

    fn name(&self) -> &'static str {
        self.reason.as_str_name().trim_start_matches("REASON_")
    }

    fn retry_after(&self) -> Option<Duration> {
        (self.reason == Reason::QueueFull).then_some(Duration::from_millis(100))
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let code = match refused.reason {
            Reason::InvalidRequest | Reason::BatchTooLarge | Reason::EmptyBatch => Code::InvalidArgument,
            Reason::UnknownNamespace | Reason::UnknownWrite => Code::NotFound,
            Reason::NamespaceExists | Reason::KeyExists => Code::AlreadyExists,
            Reason::QueueFull => Code::ResourceExhausted,
            Reason::Overflow => Code::OutOfRange,
            _ => Code::FailedPrecondition,
        };
        let mut details = ErrorDetails::new();
        details.set_error_info(refused.name(), "headwater", []);
        if let Some(delay) = refused.retry_after() {
            details.set_retry_info(Some(delay));
        }
        if let Some(field) = &refused.field {
            details.add_bad_request_violation(field, &refused.detail);
        }
        Self::with_error_details(code, refused.detail, details)
    }
}

impl From<Refused> for KeyError {
    fn from(refused: Refused) -> Self {
        let retry_delay = refused.retry_after().and_then(|delay| prost_types::Duration::try_from(delay).ok());
        Self { reason: refused.reason.into(), detail: refused.detail, retry_delay }
    }
}
