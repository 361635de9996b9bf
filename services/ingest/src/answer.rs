//! From what was found to what is said.

use std::time::Duration;

use headwater_contracts::Defect;
use headwater_contracts::v1::ingest::{
    Accepted, FieldViolation, RecordResult, Rejected, Retry, record_result::Result as Answer,
};
use headwater_domain::Reason;
use headwater_event_log::{EventLogError, Position};
use headwater_serving::problem::retry_after_of;

pub(crate) fn accepted(position: Position, id: String) -> RecordResult {
    let accepted = Accepted { partition: position.partition, offset: position.offset, id };
    RecordResult { result: Some(Answer::Accepted(accepted)) }
}

pub(crate) fn rejected(reason: Reason, detail: String) -> RecordResult {
    let rejected = Rejected { reason: reason.number(), detail, violations: Vec::new() };
    RecordResult { result: Some(Answer::Rejected(rejected)) }
}

pub(crate) fn defective(defect: Defect) -> RecordResult {
    let violations = defect
        .fields
        .into_iter()
        .map(|field| FieldViolation { field: field.field, rule: field.rule, description: field.description })
        .collect();
    let rejected = Rejected { reason: defect.reason.number(), detail: defect.detail, violations };
    RecordResult { result: Some(Answer::Rejected(rejected)) }
}

/// What the event log's error means for a record. Its own words are not for the caller.
pub(crate) fn not_appended(error: &EventLogError) -> RecordResult {
    let (reason, detail) = match error {
        EventLogError::RecordTooLarge { bytes } => {
            return rejected(
                Reason::RecordTooLarge,
                format!("with its frame the record has {bytes} bytes, more than the event log takes"),
            );
        }
        EventLogError::QueueFull => {
            (Reason::Overloaded, "too many records wait for the event log; publish it again after the delay")
        }
        EventLogError::Unavailable(_)
        | EventLogError::OffsetOutOfRange { .. }
        | EventLogError::UnknownTopic(_)
        | EventLogError::Unsuitable(_)
        | EventLogError::Revoked
        | EventLogError::Refused(_) => (
            Reason::EventLogUnavailable,
            "the event log did not acknowledge it; publish it again with the same id after the delay",
        ),
    };
    let delay = retry_after_of(reason).unwrap_or(Duration::from_secs(1));
    let retry_delay = prost_types::Duration::try_from(delay).ok();
    let retry = Retry { reason: reason.number(), retry_delay, detail: detail.into() };
    RecordResult { result: Some(Answer::Retry(retry)) }
}
