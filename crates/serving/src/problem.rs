//! What a failure looks like to a caller: a stable reason, a sentence, and what can be done.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use headwater_domain::Reason;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// The `domain` of every `google.rpc.ErrorInfo` of the platform.
pub const DOMAIN: &str = "headwater";

/// Violations that a status carries at most. Many clients take no more than 8 KiB of headers.
pub const VIOLATIONS_MAX: usize = 20;

/// Bytes of a sentence that a status carries at most.
pub const DETAIL_BYTES_MAX: usize = 1024;

/// The trailer by which gRPC's own clients are told when to try again (gRFC A6).
pub const RETRY_PUSHBACK: &str = "grpc-retry-pushback-ms";

/// A failed call: what the services return, and what becomes a [`Status`] in exactly one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The reason.
    pub reason: Reason,
    /// A sentence for people: what is wrong and what to do.
    pub detail: String,
    /// The fields at fault.
    pub violations: Vec<Violation>,
    /// How long to wait before a retry. Sent only where a retry can help, whatever is set here.
    pub retry_after: Option<Duration>,
    /// Facts for programs, for example `stream` or `limit`.
    pub metadata: BTreeMap<String, String>,
}

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, for example "records[3].event".
    pub field: String,
    /// The rule, for example "string.uuid".
    pub rule: String,
    /// A sentence for people.
    pub description: String,
}

impl Problem {
    /// A problem with the reason's own delay before a retry, where one can help.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            violations: Vec::new(),
            retry_after: retry_after_of(reason),
            metadata: BTreeMap::new(),
        }
    }

    /// A field of the request is wrong: `INVALID_REQUEST` with that violation.
    pub fn invalid_request(field: impl Into<String>, rule: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        Self::new(Reason::InvalidRequest, format!("{field}: {description}")).with_violation(field, rule, description)
    }

    /// Adds a violation.
    #[must_use]
    pub fn with_violation(
        mut self,
        field: impl Into<String>,
        rule: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        self.violations.push(Violation { field: field.into(), rule: rule.into(), description: description.into() });
        self
    }

    /// Sets how long to wait before a retry.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// The code of its status.
    pub fn code(&self) -> Code {
        code_of(self.reason)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let (code, retry) = outcome(problem.reason);
        let mut details = ErrorDetails::new();
        let metadata: HashMap<String, String> = problem.metadata.into_iter().collect();
        details.set_error_info(problem.reason.name(), DOMAIN, metadata);
        if !problem.violations.is_empty() {
            let violations: Vec<FieldViolation> = problem
                .violations
                .into_iter()
                .take(VIOLATIONS_MAX)
                .map(|it| FieldViolation::new(it.field, format!("{} ({})", cut_short(&it.description), it.rule)))
                .collect();
            details.set_bad_request(violations);
        }
        let delay = retry.map(|default| problem.retry_after.unwrap_or(default));
        if delay.is_some() {
            details.set_retry_info(delay);
        }
        details.add_help_link(format!("What {} means and what to do", problem.reason), page_of(problem.reason));
        let mut status = Self::with_error_details(code, cut_short(&problem.detail), details);
        if let Some(pushback) = pushback(code, delay) {
            status.metadata_mut().insert(RETRY_PUSHBACK, pushback);
        }
        status
    }
}

/// The code that a reason is sent with.
pub fn code_of(reason: Reason) -> Code {
    outcome(reason).0
}

/// How long to wait before a retry, where nothing better is known; none where a retry cannot help.
pub fn retry_after_of(reason: Reason) -> Option<Duration> {
    outcome(reason).1
}

/// What gRPC's own clients are told of a retry by their service config, which does not know `google.rpc.RetryInfo`: the
/// delay in ms, rounded up, or -1 where they would try again and that cannot help.
fn pushback(code: Code, delay: Option<Duration>) -> Option<MetadataValue<Ascii>> {
    match delay {
        // More than the clients' 32 bits would be read as no delay at all.
        Some(delay) => {
            let ms = delay.as_nanos().div_ceil(1_000_000);
            Some(i32::try_from(ms).unwrap_or(i32::MAX).into())
        }
        None if matches!(code, Code::Unavailable | Code::ResourceExhausted) => Some((-1_i32).into()),
        None => None,
    }
}

/// Path of the page that explains a reason, from the root of the repository.
pub fn page_of(reason: Reason) -> String {
    format!("docs/errors/{}.md", reason.name())
}

/// The reason that a status carries; none where another system made it.
pub fn reason_of(status: &Status) -> Option<Reason> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    Reason::from_name(&info.reason)
}

/// The one place that says which code a reason has, and whether and after how long a retry can help.
fn outcome(reason: Reason) -> (Code, Option<Duration>) {
    const SOON: Option<Duration> = Some(Duration::from_millis(100));
    const LATER: Option<Duration> = Some(Duration::from_secs(1));
    match reason {
        // The same request would fail again.
        Reason::EmptyBatch
        | Reason::BatchTooLarge
        | Reason::UnknownType
        | Reason::WrongType
        | Reason::Malformed
        | Reason::InvalidField
        | Reason::RecordTooLarge
        | Reason::TimeAhead
        | Reason::TimeAncient
        | Reason::NotInScale
        | Reason::BadFrame
        | Reason::UnknownSchema
        | Reason::WrongSchema
        | Reason::InvalidWindow
        | Reason::InvalidRequest
        | Reason::InvalidPageToken
        | Reason::InvalidToken => (Code::InvalidArgument, None),
        Reason::UnknownStream
        | Reason::UnknownStat
        | Reason::UnknownRebuild
        | Reason::UnknownNamespace
        | Reason::UnknownWrite => (Code::NotFound, None),
        // Somebody has to decide something first.
        Reason::RebuildRunning
        | Reason::EventsDropped
        | Reason::RecordsRemoved
        | Reason::OffsetOutsideLog
        | Reason::TopicReplaced
        | Reason::TopicMissing
        | Reason::SystemRefused
        | Reason::NamespaceFixed
        | Reason::NotANumber
        | Reason::ConditionNotMet => (Code::FailedPrecondition, None),
        Reason::NamespaceExists | Reason::KeyExists => (Code::AlreadyExists, None),
        Reason::Overflow => (Code::OutOfRange, None),
        Reason::Unauthenticated => (Code::Unauthenticated, None),
        Reason::Internal => (Code::Internal, None),
        // The caller's time is over: only it can know whether there is more.
        Reason::DeadlineExceeded => (Code::DeadlineExceeded, None),
        // Time may mend these.
        Reason::NotYetVisible => (Code::DeadlineExceeded, SOON),
        Reason::Overloaded | Reason::QueueFull => (Code::ResourceExhausted, SOON),
        Reason::CacheFull => (Code::ResourceExhausted, LATER),
        Reason::CacheUnavailable => (Code::Unavailable, SOON),
        Reason::EventLogUnavailable
        | Reason::RegistryUnavailable
        | Reason::HistoryUnavailable
        | Reason::LiveUnavailable
        | Reason::LoadFailed
        | Reason::NotReady => (Code::Unavailable, LATER),
    }
}

/// The text, or as much of its beginning as a status carries.
fn cut_short(text: &str) -> String {
    if text.len() <= DETAIL_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=DETAIL_BYTES_MAX - '…'.len_utf8()).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_reason_fields_page_and_when_to_retry() {
        let problem = Problem::new(Reason::Overloaded, "10000 requests are in flight")
            .with_retry_after(Duration::from_millis(250))
            .with_metadata("limit", "10000");
        let status = Status::from(problem);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "10000 requests are in flight");
        let details = status.get_error_details();
        let info = details.error_info().expect("info");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OVERLOADED", "headwater"));
        assert_eq!(info.metadata["limit"], "10000");
        assert_eq!(details.retry_info().expect("retry").retry_delay, Some(Duration::from_millis(250)));
        assert_eq!(details.help().expect("help").links[0].url, "docs/errors/OVERLOADED.md");
        assert!(details.bad_request().is_none());
        assert_eq!(reason_of(&status), Some(Reason::Overloaded));
    }

    #[test]
    fn clients_that_retry_by_service_config_are_told_as_much() {
        for reason in Reason::ALL {
            let status = Status::from(Problem::new(reason, "x"));
            let retried = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
            let told = status.metadata().get(RETRY_PUSHBACK).map(|ms| ms.to_str().expect("text").to_owned());
            let expected = retry_after_of(reason).map(|delay| delay.as_millis().to_string());
            assert_eq!(told, expected.or_else(|| retried.then(|| "-1".to_owned())), "{reason}");
        }
        let told = |delay| {
            let status = Status::from(Problem::new(Reason::Overloaded, "x").with_retry_after(delay));
            status.metadata().get(RETRY_PUSHBACK).expect("told").to_str().expect("text").to_owned()
        };
        assert_eq!(told(Duration::from_millis(250)), "250");
        assert_eq!(told(Duration::from_micros(1)), "1", "never sooner than asked for");
        assert_eq!(told(Duration::MAX), i32::MAX.to_string());
        assert_eq!(pushback(Code::Unavailable, None).expect("told"), "-1");
        assert_eq!(pushback(Code::ResourceExhausted, None).expect("told"), "-1");
        assert_eq!(pushback(Code::Internal, None), None);
    }

    #[test]
    fn violations_name_field_and_rule() {
        let status = Status::from(Problem::invalid_request("page_size", "int32.gte", "must be 0 or more"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let violation = &details.bad_request().expect("violations").field_violations[0];
        assert_eq!(violation.field, "page_size");
        assert_eq!(violation.description, "must be 0 or more (int32.gte)");
    }

    #[test]
    fn a_retry_is_advised_only_where_it_can_help() {
        for reason in Reason::ALL {
            let status = Status::from(Problem::new(reason, "x").with_retry_after(Duration::from_secs(9)));
            let advised = status.get_error_details().retry_info().is_some();
            assert_eq!(advised, retry_after_of(reason).is_some(), "{reason}");
            if matches!(status.code(), Code::InvalidArgument | Code::NotFound | Code::Unauthenticated) {
                assert!(!advised, "{reason}");
            }
            if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) {
                assert!(advised, "{reason}");
            }
            assert_eq!(reason_of(&status), Some(reason));
        }
    }

    #[test]
    fn a_status_stays_within_what_clients_take() {
        let mut problem = Problem::new(Reason::InvalidField, "ö".repeat(5000));
        for n in 0..500 {
            problem = problem.with_violation(format!("f{n}"), "r", "d");
        }
        let status = Status::from(problem);
        assert!(status.message().len() <= DETAIL_BYTES_MAX, "{} bytes", status.message().len());
        assert!(status.message().ends_with('…'));
        let details = status.get_error_details();
        assert_eq!(details.bad_request().expect("violations").field_violations.len(), VIOLATIONS_MAX);
    }

    #[test]
    fn a_status_of_another_system_has_no_reason() {
        assert_eq!(reason_of(&Status::internal("x")), None);
        let foreign = ErrorDetails::with_error_info("INTERNAL", "elsewhere", HashMap::new());
        assert_eq!(reason_of(&Status::with_error_details(Code::Internal, "x", foreign)), None);
    }
}
