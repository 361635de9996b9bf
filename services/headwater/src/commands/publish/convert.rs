use headwater_client::v1::ingest::Record;
use headwater_client::{derive_event_id, record};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions, Value};
use serde_json::Value as Json;

use super::ordinals::{Ordinals, TooMany};

/// Turns lines of JSON into records of one stream.
#[derive(Debug)]
pub(super) struct Converter {
    stream: String,
    descriptor: MessageDescriptor,
    id: FieldDescriptor,
    time: Option<FieldDescriptor>,
    ordinals: Ordinals,
}

/// Why a line is no event. The reason is one of `headwater.error.v1.Reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LineDefect {
    pub(super) reason: String,
    /// Path of the field; empty where it is the line as a whole.
    pub(super) field: String,
    pub(super) description: String,
}

/// What became of a line.
#[derive(Debug)]
pub(super) enum Converted {
    Record(Record),
    Defect(LineDefect),
}

impl LineDefect {
    pub(super) fn new(reason: &str, field: &str, description: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), field: field.to_owned(), description: description.into() }
    }
}

impl Converter {
    /// # Errors
    /// A sentence, where the message has no such fields: the platform and its reflection disagree.
    pub(super) fn new(
        stream: &str,
        descriptor: MessageDescriptor,
        id_field: &str,
        time_field: &str,
        ordinals: Ordinals,
    ) -> Result<Self, String> {
        let id = descriptor
            .get_field_by_name(id_field)
            .filter(|field| field.kind() == Kind::String && !field.is_list())
            .ok_or_else(|| format!("{} has no text field {id_field:?} to be the id", descriptor.full_name()))?;
        let time = descriptor.get_field_by_name(time_field);
        Ok(Self { stream: stream.to_owned(), descriptor, id, time, ordinals })
    }

    /// # Errors
    /// Where no further different lines can be told apart.
    pub(super) fn convert(&mut self, line: &[u8]) -> Result<Converted, TooMany> {
        let mut message = match self.read(line) {
            Ok(message) => message,
            Err(defect) => return Ok(Converted::Defect(defect)),
        };
        if !message.has_field(&self.id) {
            if let Some(defect) = self.empty_id(line) {
                return Ok(Converted::Defect(defect));
            }
            let id = self.derive_id(&message)?;
            message.set_field(&self.id, Value::String(id));
        }
        Ok(Converted::Record(record(self.descriptor.full_name(), message.encode_to_vec())))
    }

    fn read(&self, line: &[u8]) -> Result<DynamicMessage, LineDefect> {
        let mut json = serde_json::Deserializer::from_slice(line);
        let message = DynamicMessage::deserialize(self.descriptor.clone(), &mut json);
        let message = message.and_then(|message| json.end().map(|()| message));
        message.map_err(|error| match serde_json::from_slice::<Json>(line) {
            Ok(Json::Object(fields)) => self.field_defect(&fields, &error),
            Ok(_) => LineDefect::new("MALFORMED", "", "not a JSON object"),
            Err(error) => LineDefect::new("MALFORMED", "", not_json(&error)),
        })
    }

    /// Which field it is that the reading failed at: the first that fails by itself.
    fn field_defect(&self, fields: &serde_json::Map<String, Json>, error: &serde_json::Error) -> LineDefect {
        for (name, value) in fields {
            let field =
                self.descriptor.get_field_by_name(name).or_else(|| self.descriptor.get_field_by_json_name(name));
            let Some(field) = field else {
                let known: Vec<String> = self.descriptor.fields().map(|field| field.name().to_owned()).collect();
                let problem = format!("the contract has no field of this name; it has {}", known.join(", "));
                return LineDefect::new("INVALID_FIELD", name, problem);
            };
            let one = serde_json::Map::from_iter([(name.clone(), value.clone())]);
            if let Err(error) = DynamicMessage::deserialize(self.descriptor.clone(), Json::Object(one)) {
                return LineDefect::new("INVALID_FIELD", field.name(), in_line(&error));
            }
        }
        LineDefect::new("INVALID_FIELD", "", in_line(error))
    }

    /// An id that is written and empty is a mistake, not an absence.
    fn empty_id(&self, line: &[u8]) -> Option<LineDefect> {
        let names = [self.id.name(), self.id.json_name()];
        // Looking into the line again is only worth it where the name is in it at all.
        let mentioned = names.iter().any(|name| line.windows(name.len()).any(|part| part == name.as_bytes()));
        if !mentioned {
            return None;
        }
        let fields: serde_json::Map<String, Json> = serde_json::from_slice(line).ok()?;
        let empty = names.iter().any(|name| fields.get(*name).and_then(Json::as_str) == Some(""));
        empty.then(|| LineDefect::new("INVALID_FIELD", self.id.name(), "is empty; leave it out to have one derived"))
    }

    fn derive_id(&mut self, message: &DynamicMessage) -> Result<String, TooMany> {
        let content = canonical(message);
        let time_ms = self.time.as_ref().map_or(0, |field| millis(message, field));
        let first = derive_event_id(&self.stream, time_ms, content.as_bytes(), 0);
        Ok(match self.ordinals.next(&first)? {
            0 => first,
            ordinal => derive_event_id(&self.stream, time_ms, content.as_bytes(), ordinal),
        })
    }
}

fn not_json(error: &serde_json::Error) -> String {
    let hint = if error.is_eof() { "; an event is one line" } else { "" };
    format!("not JSON: {}{hint}", in_line(error))
}

/// What is wrong, with the column only: which line it is, is said before.
fn in_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// The message as ProtoJSON with the contract's field names, sorted, without blanks and without fields at their default:
/// however a line writes it, it is the same.
fn canonical(message: &DynamicMessage) -> String {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let json = message.serialize_with_options(serde_json::value::Serializer, &options);
    let mut text = String::new();
    // A message that was read from JSON can be written as JSON; one that could not would only share its ids.
    write_sorted(&json.unwrap_or(Json::Null), &mut text);
    text
}

fn write_sorted(json: &Json, text: &mut String) {
    match json {
        Json::Object(fields) => {
            let mut fields: Vec<(&String, &Json)> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (place, (name, value)) in fields.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                text.push_str(&Json::String(name.clone()).to_string());
                text.push(':');
                write_sorted(value, text);
            }
            text.push('}');
        }
        Json::Array(values) => {
            text.push('[');
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_sorted(value, text);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

fn millis(message: &DynamicMessage, field: &FieldDescriptor) -> i64 {
    let value = message.get_field(field);
    let Some(time) = value.as_message() else { return 0 };
    let part = |name| time.get_field_by_name(name);
    let seconds = part("seconds").and_then(|value| value.as_i64()).unwrap_or(0);
    let nanos = part("nanos").and_then(|value| value.as_i32()).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000))
}
