//! What librdkafka's errors mean to those who wait, and where its log lines go.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, info, warn};

use crate::EventLogError;

/// The code within an error, where it has one.
pub(super) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// What an error on a topic means. `bytes` is the size of the record, where it is about one.
pub(super) fn meaning(code: RDKafkaErrorCode, topic: &str, bytes: usize) -> EventLogError {
    use RDKafkaErrorCode as Code;
    match code {
        Code::QueueFull => EventLogError::QueueFull,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            EventLogError::RecordTooLarge { bytes }
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::UnknownTopicId => {
            EventLogError::UnknownTopic(topic.into())
        }
        Code::InvalidTopic
        | Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidPartitions
        | Code::InvalidRecord
        | Code::InvalidRequest
        | Code::InvalidRequiredAcks
        | Code::InvalidTimestamp
        | Code::PolicyViolation
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::InvalidSessionTimeout
        | Code::InvalidGroupId
        | Code::InconsistentGroupProtocol
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType => EventLogError::Refused(code.to_string()),
        // Everything else is taken for passing: to say too early that it will never work would lose records.
        _ => EventLogError::Unavailable(code.to_string()),
    }
}

/// The same for an error with its own text, not about a record.
pub(super) fn meaning_of(error: &KafkaError, topic: &str) -> EventLogError {
    match code_of(error) {
        Some(code) => meaning(code, topic, 0),
        None => EventLogError::Unavailable(error.to_string()),
    }
}

/// librdkafka's own lines. Its errors are warnings here: it goes on by itself after each.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => warn!(target: "librdkafka", "{facility}: {message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => info!(target: "librdkafka", "{facility}: {message}"),
        RDKafkaLogLevel::Debug => debug!(target: "librdkafka", "{facility}: {message}"),
    }
}
