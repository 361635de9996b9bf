use std::collections::HashMap;
use std::time::Duration;

use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why a call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// An option or argument is wrong; nothing was sent.
    #[error("{option}: {problem}")]
    Option {
        /// Which one.
        option: &'static str,
        /// A sentence for people.
        problem: String,
    },
    /// No server answers at the address, or the connection broke. A retry can help.
    #[error("cannot reach {endpoint}: {detail}")]
    Unreachable {
        /// The address, as it was given.
        endpoint: String,
        /// What the network said.
        detail: String,
    },
    /// No answer before the deadline. What was sent may have taken effect.
    #[error("no answer within {} ms", .after.as_millis())]
    DeadlineExceeded {
        /// The deadline that was given.
        after: Duration,
    },
    /// The server answered that it will not.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The server answered what the contract does not allow.
    #[error("the server does not keep to the contract: {0}")]
    Protocol(String),
    /// The publish stream has ended; its acknowledgements say why.
    #[error("the publish stream has ended")]
    Closed,
}

/// What the server said when it refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {detail}", self.title())]
pub struct Refusal {
    /// The code of gRPC.
    pub code: Code,
    /// The platform's reason, for example `UNKNOWN_STREAM`. None where the answer came from something in between.
    pub reason: Option<String>,
    /// A sentence for people.
    pub detail: String,
    /// The fields of the request at fault.
    pub violations: Vec<Violation>,
    /// When a retry can help: how long to wait.
    pub retry_after: Option<Duration>,
    /// What else the server said, for example the limit that was passed.
    pub metadata: HashMap<String, String>,
}

/// A field of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field within the request.
    pub field: String,
    /// A sentence for people.
    pub description: String,
}

impl Refusal {
    fn title(&self) -> String {
        self.reason.clone().unwrap_or_else(|| format!("{:?}", self.code))
    }
}

impl Error {
    /// The platform's reason, where it gave one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.reason.as_deref(),
            Self::DeadlineExceeded { .. } => Some("DEADLINE_EXCEEDED"),
            _ => None,
        }
    }

    /// True where the same call can succeed later: nobody answered, UNAVAILABLE, or RESOURCE_EXHAUSTED with a delay.
    ///
    /// RESOURCE_EXHAUSTED without a delay is not: servers say it of what is too large, too.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => match refusal.code {
                Code::Unavailable => true,
                Code::ResourceExhausted => refusal.retry_after.is_some(),
                _ => false,
            },
            _ => false,
        }
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// `after`: the deadline of the call.
    pub(crate) fn from_status(status: &Status, endpoint: &str, after: Duration) -> Self {
        if made_here(status) {
            if status.message() == tonic::TimeoutExpired(()).to_string() {
                return Self::DeadlineExceeded { after };
            }
            if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal) {
                return Self::Unreachable { endpoint: endpoint.to_owned(), detail: innermost(status) };
            }
        }
        let details = status.get_error_details();
        let info = details.error_info();
        Self::Refused(Box::new(Refusal {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).filter(|reason| !reason.is_empty()),
            detail: status.message().to_owned(),
            violations: details
                .bad_request()
                .map(|request| request.field_violations.as_slice())
                .unwrap_or_default()
                .iter()
                .map(|violation| Violation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
        }))
    }
}

/// True where the status is not the server's but tonic's own, for want of an answer.
fn made_here(status: &Status) -> bool {
    use std::error::Error;
    status.source().is_some()
        // The generated clients put it so, without the source.
        || (status.code() == Code::Unknown && status.message().starts_with("Service was not ready"))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// As for a status: what the network said, without what was wrapped around it.
pub(crate) fn unreachable(endpoint: &str, error: &tonic::transport::Error) -> Error {
    Error::Unreachable { endpoint: endpoint.to_owned(), detail: innermost(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn what_the_server_said_is_there() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("OVERLOADED", "headwater", [("limit".to_owned(), "10".to_owned())])
            .set_retry_info(Some(Duration::from_millis(250)))
            .add_bad_request_violation("records", "too many");
        let status = Status::with_error_details(Code::ResourceExhausted, "too much in flight", details);
        let error = Error::from_status(&status, "http://x", Duration::ZERO);
        assert_eq!(error.reason(), Some("OVERLOADED"));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(250)));
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), "OVERLOADED: too much in flight");
        let Error::Refused(refusal) = error else { panic!("{error:?}") };
        assert_eq!(refusal.violations[0].field, "records");
        assert_eq!(refusal.metadata["limit"], "10");
    }

    #[test]
    fn too_large_is_not_tried_again() {
        let status = Status::resource_exhausted("message larger than max");
        let error = Error::from_status(&status, "http://x", Duration::ZERO);
        assert!(!error.is_retryable());
        assert_eq!(error.to_string(), "ResourceExhausted: message larger than max");
        assert!(Error::from_status(&Status::unavailable("proxy"), "http://x", Duration::ZERO).is_retryable());
        assert!(!Error::from_status(&Status::internal("x"), "http://x", Duration::ZERO).is_retryable());
    }
}
