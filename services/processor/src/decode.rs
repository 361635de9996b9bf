use headwater_contracts::StreamContract;
use headwater_domain::{DeadLetter, Event, Reason};
use headwater_event_log::{LogRecord, RegistryError, frame};
use headwater_history::storable;

use crate::schema_ids::{SchemaIds, UnknownIds};

/// How far an event's time may lie after its arrival, in microseconds.
const AHEAD_MAX_US: i64 = 5 * 60 * 1_000_000;

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrived {
    pub(crate) offset: i64,
    pub(crate) appended_ms: i64,
    pub(crate) event: Event,
}

/// What a record is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decoded {
    Event(Arrived),
    Dead(DeadLetter),
}

/// Takes a record of a batch apart and checks it, against the contract and against the log's own time.
///
/// # Errors
/// The registry is needed and away, or refuses: nothing can be said of the record yet.
pub(crate) async fn decode(
    stream: &StreamContract,
    schemas: &SchemaIds,
    unknown: &UnknownIds,
    record: &LogRecord,
) -> Result<Decoded, RegistryError> {
    let dead_of = |id: Option<String>, reason: Reason, field: String, detail: String| {
        Decoded::Dead(DeadLetter {
            offset: record.offset,
            appended_ms: record.appended_ms,
            reason,
            id,
            field,
            detail,
            key: record.key.as_ref().map(|key| key.to_vec()),
            value: record.value.as_ref().map(|value| value.to_vec()),
        })
    };
    let foreign = |reason, detail| dead_of(None, reason, String::new(), detail);
    let Some(value) = &record.value else {
        return Ok(foreign(Reason::BadFrame, "the record has no value".into()));
    };
    let (id, indexes, payload) = match frame::parse(value) {
        Ok(parsed) => parsed,
        Err(error) => return Ok(foreign(Reason::BadFrame, error.to_string())),
    };
    if let Err(not_ours) = schemas.judge(stream, id, &indexes, unknown).await? {
        return Ok(foreign(not_ours.reason, not_ours.detail));
    }
    let dead = |reason, field, detail| dead_of(stream.id_in(payload), reason, field, detail);
    Ok(match stream.check(payload) {
        Err(defect) => {
            let field = defect.fields.first().map(|field| field.field.clone()).unwrap_or_default();
            dead(defect.reason, field, defect.detail)
        }
        Ok(event) => {
            let time_us = stream.schema.time_us_of(&event);
            if time_us > record.appended_ms * 1000 + AHEAD_MAX_US {
                let ahead_s = (time_us - record.appended_ms * 1000) / 1_000_000;
                let field = stream.schema.columns[stream.schema.time].name.clone();
                dead(
                    Reason::TimeAhead,
                    field,
                    format!(
                        "the event's time lies {ahead_s} s after its arrival; at most {} s",
                        AHEAD_MAX_US / 1_000_000
                    ),
                )
            } else if let Err(not_storable) = storable(&stream.schema, &event) {
                dead(Reason::InvalidField, not_storable.field, not_storable.reason.to_owned())
            } else {
                Decoded::Event(Arrived { offset: record.offset, appended_ms: record.appended_ms, event })
            }
        }
    })
}
