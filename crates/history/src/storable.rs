use headwater_domain::{BatchCommit, DeadLetter, Event, StreamSchema, Value};
use thiserror::Error;

use crate::HistoryError;

/// Bytes of an event's id at most: it is half of a unique index, whose entries the database bounds.
pub const ID_BYTES_MAX: usize = 1024;

/// Bytes of a text column at most that history is searched by, for the same reason.
pub const INDEXED_BYTES_MAX: usize = 1024;

/// Times that both histories can hold: the years 1 to 9999, which is what a Protobuf timestamp may say.
const TIME_US: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// An event that no history can hold: a dead letter, with the field at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}")]
pub struct NotStorable {
    /// Name of the field.
    pub field: String,
    /// Why, as a sentence for people.
    pub reason: &'static str,
}

/// Whether the histories can hold the event: both refuse the same. Ask before an event enters a batch, because a
/// batch that holds such an event is refused whole, each time.
///
/// # Errors
/// Where a text holds U+0000, a time lies outside the years 1 to 9999, the id or the time is not set, or an indexed
/// text is too long.
pub fn storable(schema: &StreamSchema, event: &Event) -> Result<(), NotStorable> {
    let fault = |index: usize, reason| {
        let field = schema.columns.get(index).map(|column| column.name.clone()).unwrap_or_default();
        Err(NotStorable { field, reason })
    };
    if event.values.len() != schema.columns.len() {
        return fault(event.values.len(), "the event has not one value per column");
    }
    for (index, value) in event.values.iter().enumerate() {
        match value {
            Value::Text(text) if text.as_bytes().contains(&0) => return fault(index, "holds the character U+0000"),
            Value::Text(text) if index == schema.id && text.len() > ID_BYTES_MAX => {
                return fault(index, "the id is longer than 1024 bytes");
            }
            Value::Text(text) if text.len() > INDEXED_BYTES_MAX && schema.indexes.contains(&index) => {
                return fault(index, "is searched by and longer than 1024 bytes");
            }
            Value::Json(text) if escapes_nul(text) => return fault(index, "holds the character U+0000"),
            Value::Time(us) if !TIME_US.contains(us) => return fault(index, "lies outside the years 1 to 9999"),
            _ => {}
        }
    }
    if !matches!(event.values[schema.id], Value::Text(_)) {
        return fault(schema.id, "identifies the event and is not set");
    }
    if !matches!(event.values[schema.time], Value::Time(_)) {
        return fault(schema.time, "says when the event happened and is not set");
    }
    Ok(())
}

/// The id that a dead letter is found by; none where no event could have it.
pub(crate) fn letter_id(letter: &DeadLetter) -> Option<&str> {
    let is_one = |id: &&str| !id.is_empty() && id.len() <= ID_BYTES_MAX && !id.contains('\0');
    letter.id.as_deref().filter(is_one)
}

/// Whether JSON text holds the escape of U+0000, which `jsonb` refuses.
fn escapes_nul(json: &str) -> bool {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|&byte| byte == b'\\') {
        let escape = at + found;
        if bytes[escape..].starts_with(b"\\u0000") {
            return true;
        }
        at = (escape + 2).min(bytes.len());
    }
    false
}

/// Refuses a batch that could not be read back as what it says.
pub(crate) fn check(schema: &StreamSchema, batch: &BatchCommit) -> Result<(), HistoryError> {
    let refuse = |text: String| {
        let BatchCommit { partition, first, next, .. } = batch;
        Err(HistoryError::Refused(format!(
            "stream {}, partition {partition}, batch [{first}, {next}): {text}",
            schema.name
        )))
    };
    if batch.first >= batch.next {
        return refuse("it has no record".to_owned());
    }
    let stored = batch.stored.iter().map(|row| row.offset);
    let dead = batch.dead.iter().map(|letter| letter.offset);
    let duplicates = batch.duplicates.iter().map(|duplicate| duplicate.offset);
    if let Some(stray) = stored.chain(dead).chain(duplicates).find(|offset| !(batch.first..batch.next).contains(offset))
    {
        return refuse(format!("offset {stray} lies outside"));
    }
    if batch.stored.windows(2).any(|pair| pair[0].offset >= pair[1].offset) {
        return refuse("its events are not in order of offsets".to_owned());
    }
    for row in &batch.stored {
        if let Err(fault) = storable(schema, &row.event) {
            return refuse(format!("offset {}: {fault}", row.offset));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::escapes_nul;

    #[test]
    fn only_an_escape_that_stands_alone_is_one() {
        for held in [r#""\u0000""#, r#"{"a":"b\\\u0000"}"#, r#""\n\u0000""#] {
            assert!(escapes_nul(held), "{held}");
        }
        for free in ["", r#""\\u0000""#, r#""\u0001""#, r#""\\""#, r#"{"a":1}"#, "\"\\"] {
            assert!(!escapes_nul(free), "{free}");
        }
    }
}
