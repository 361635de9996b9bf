//! Taking an event's bytes apart and putting them together, by a plan made once from the descriptor.

use std::collections::HashMap;

use headwater_domain::{ColumnType, Event, Reason, StatKind, StreamSchema, Value, units_of};
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};
use prost_reflect::Value as Reflected;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions};
use prost_types::Timestamp;
use thiserror::Error;

use crate::rules::{self, FastRule};

/// 2000-01-01T00:00:00Z: what claims to be older was never an event of this platform.
const ANCIENT_US: i64 = 946_684_800_000_000;

/// Bytes of an id or a key at most: the history has both in an index.
const IDENTITY_BYTES_MAX: usize = 1024;

/// Why an event's bytes are not an event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// The reason.
    pub reason: Reason,
    /// A sentence for people: what is wrong and what to do.
    pub detail: String,
    /// The fields at fault; at least one unless the bytes could not be read.
    pub fields: Vec<FieldDefect>,
}

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDefect {
    /// Path of the field within the event.
    pub field: String,
    /// The rule, for example `string.uuid`.
    pub rule: String,
    /// A sentence for people.
    pub description: String,
}

#[derive(Debug)]
struct FieldPlan {
    descriptor: FieldDescriptor,
    column: usize,
    kind: ColumnType,
    wire: WireType,
}

/// How the bytes of one message become an event, and back.
#[derive(Debug)]
pub(crate) struct Plan {
    descriptor: MessageDescriptor,
    fields: Vec<FieldPlan>,
    by_number: HashMap<u32, usize>,
    defaults: Vec<Value>,
    /// None: the library judges every event.
    fast_rules: Option<Vec<Vec<FastRule>>>,
    has_json: bool,
}

impl Plan {
    pub(crate) fn new(descriptor: &MessageDescriptor, schema: &StreamSchema) -> Self {
        let mut fields = Vec::new();
        let mut defaults = Vec::new();
        for (column, spec) in schema.columns.iter().enumerate() {
            let Some(field) = descriptor.get_field(spec.number) else { continue };
            defaults.push(default_value(&field, spec.kind));
            fields.push(FieldPlan { wire: wire_type(&field), column, kind: spec.kind, descriptor: field });
        }
        let by_number = fields.iter().enumerate().map(|(i, field)| (field.descriptor.number(), i)).collect();
        Self {
            descriptor: descriptor.clone(),
            by_number,
            defaults,
            fast_rules: rules::compile(descriptor),
            has_json: fields.iter().any(|field| field.kind == ColumnType::Json),
            fields,
        }
    }

    /// Takes the bytes apart, and checks them against the contract.
    pub(crate) fn check(&self, schema: &StreamSchema, bytes: &[u8]) -> Result<Event, Defect> {
        let event = self.decode(bytes).map_err(|error| Defect {
            reason: Reason::Malformed,
            detail: format!("the bytes are not a {}: {error}", schema.message),
            fields: Vec::new(),
        })?;
        let holds = self.fast_rules.as_ref().is_some_and(|columns| {
            columns.iter().zip(&event.values).all(|(rules, value)| rules.iter().all(|rule| rule.holds(value)))
        });
        if !holds {
            self.validate(bytes)?;
        }
        self.check_time(schema, &event)?;
        check_identity(schema, &event)?;
        check_sums(schema, &event)?;
        Ok(event)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Event, WireError> {
        let mut values = self.defaults.clone();
        let mut unknown = Vec::new();
        let mut rest = bytes;
        while rest.has_remaining() {
            let before = rest;
            let (number, wire) = decode_key(&mut rest)?;
            let known = self.by_number.get(&number).map(|&i| &self.fields[i]);
            match known {
                Some(field) if field.kind == ColumnType::Json => {
                    skip_field(wire, number, &mut rest, DecodeContext::default())?;
                }
                Some(field) => {
                    if wire != field.wire {
                        return Err(WireError::WrongType(field.descriptor.name().to_owned()));
                    }
                    let merged = std::mem::replace(&mut values[field.column], Value::Null);
                    values[field.column] = decode_value(field, &mut rest, merged)?;
                }
                None => {
                    skip_field(wire, number, &mut rest, DecodeContext::default())?;
                    unknown.extend_from_slice(&before[..before.len() - rest.len()]);
                }
            }
        }
        if self.has_json {
            self.decode_json(bytes, &mut values)?;
        }
        Ok(Event { values, unknown })
    }

    /// Fields that are repeated, maps or messages go through reflection, which bounds how deep messages may nest.
    fn decode_json(&self, bytes: &[u8], values: &mut [Value]) -> Result<(), WireError> {
        let message = DynamicMessage::decode(self.descriptor.clone(), bytes)?;
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(true);
        let mut json = Vec::new();
        message.serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)?;
        let whole: serde_json::Value = serde_json::from_slice(&json)?;
        for field in self.fields.iter().filter(|field| field.kind == ColumnType::Json) {
            if let Some(value) = whole.get(field.descriptor.name()) {
                values[field.column] = Value::Json(value.to_string());
            }
        }
        Ok(())
    }

    fn validate(&self, bytes: &[u8]) -> Result<(), Defect> {
        let message = DynamicMessage::decode(self.descriptor.clone(), bytes).map_err(|error| Defect {
            reason: Reason::Malformed,
            detail: error.to_string(),
            fields: Vec::new(),
        })?;
        match prost_protovalidate::validate(&message) {
            Ok(()) => Ok(()),
            Err(prost_protovalidate::Error::Validation(found)) => {
                let fields: Vec<FieldDefect> = found
                    .violations()
                    .iter()
                    .map(|violation| FieldDefect {
                        field: violation.field_path(),
                        rule: violation.rule_id().to_owned(),
                        description: description_of(violation.message(), violation.rule_id()),
                    })
                    .collect();
                Err(invalid(Reason::InvalidField, fields))
            }
            Err(other) => Err(Defect {
                reason: Reason::InvalidField,
                detail: format!("a rule of the contract could not be evaluated: {other}"),
                fields: Vec::new(),
            }),
        }
    }

    fn check_time(&self, schema: &StreamSchema, event: &Event) -> Result<(), Defect> {
        let field = || schema.columns[schema.time].name.clone();
        match event.values[schema.time] {
            Value::Time(us) if us >= ANCIENT_US => Ok(()),
            Value::Time(_) => Err(invalid(
                Reason::TimeAncient,
                vec![FieldDefect {
                    field: field(),
                    rule: "headwater.time".into(),
                    description: "the event's time is before the year 2000".into(),
                }],
            )),
            _ => Err(invalid(
                Reason::InvalidField,
                vec![FieldDefect {
                    field: field(),
                    rule: "required".into(),
                    description: "the event's time is not set".into(),
                }],
            )),
        }
    }

    /// Puts an event's bytes together: the inverse of `check`, up to the order of fields and below a microsecond.
    pub(crate) fn encode(&self, event: &Event) -> Result<Vec<u8>, String> {
        let mut message = DynamicMessage::new(self.descriptor.clone());
        let mut json = serde_json::Map::new();
        for field in &self.fields {
            let name = field.descriptor.name();
            let value = match (&event.values[field.column], field.descriptor.kind()) {
                (Value::Null, _) => continue,
                (Value::Json(text), _) => {
                    let value = serde_json::from_str(text).map_err(|error| format!("{name}: {error}"))?;
                    json.insert(name.to_owned(), value);
                    continue;
                }
                (Value::Time(us), kind) => {
                    let timestamp = Timestamp {
                        seconds: us.div_euclid(1_000_000),
                        nanos: (us.rem_euclid(1_000_000) * 1000) as i32,
                    };
                    let Kind::Message(kind) = kind else { continue };
                    let mut value = DynamicMessage::new(kind);
                    value.transcode_from(&timestamp).map_err(|error| format!("{name}: {error}"))?;
                    Reflected::Message(value)
                }
                (Value::Text(text), Kind::Enum(kind)) => Reflected::EnumNumber(
                    kind.get_value_by_name(text)
                        .map(|value| value.number())
                        .or_else(|| text.parse().ok())
                        .unwrap_or_default(),
                ),
                (value, kind) => reflected(value, &kind),
            };
            message.set_field(&field.descriptor, value);
        }
        if !json.is_empty() {
            let nested = DynamicMessage::deserialize_with_options(
                self.descriptor.clone(),
                serde_json::Value::Object(json),
                &DeserializeOptions::new(),
            )
            .map_err(|error| error.to_string())?;
            message.merge(nested.encode_to_vec().as_slice()).map_err(|error| error.to_string())?;
        }
        let mut bytes = message.encode_to_vec();
        bytes.extend_from_slice(&event.unknown);
        Ok(bytes)
    }
}

fn check_identity(schema: &StreamSchema, event: &Event) -> Result<(), Defect> {
    for column in [schema.id, schema.key] {
        if event.values[column].key_text().is_empty() {
            let name = schema.columns[column].name.clone();
            let description = "identifies the event or chooses its partition, and is empty".to_owned();
            return Err(invalid(
                Reason::InvalidField,
                vec![FieldDefect { field: name, rule: "required".into(), description }],
            ));
        }
        let bytes = event.values[column].key_text().len();
        if bytes > IDENTITY_BYTES_MAX {
            let field = schema.columns[column].name.clone();
            let description =
                format!("has {bytes} bytes; what identifies or places an event has at most {IDENTITY_BYTES_MAX}");
            return Err(invalid(
                Reason::InvalidField,
                vec![FieldDefect { field, rule: "headwater.identity_bytes".into(), description }],
            ));
        }
    }
    // Postgres has no NUL in text; refusing it here keeps every store's answer the same.
    for (column, value) in schema.columns.iter().zip(&event.values) {
        if matches!(value, Value::Text(text) | Value::Json(text) if text.contains('\0')) {
            let description = "holds the character NUL, which a table cannot".to_owned();
            return Err(invalid(
                Reason::InvalidField,
                vec![FieldDefect { field: column.name.clone(), rule: "headwater.nul".into(), description }],
            ));
        }
    }
    Ok(())
}

fn check_sums(schema: &StreamSchema, event: &Event) -> Result<(), Defect> {
    for stat in &schema.stats {
        let StatKind::Sum { field, scale, .. } = stat.kind else { continue };
        let value = &event.values[field];
        if *value != Value::Null && units_of(value, scale).is_none() {
            let description = format!(
                "is not a number with at most {scale} decimal places below 2^53 in units of the last place, which the \
                 statistic {} needs",
                stat.name
            );
            return Err(invalid(
                Reason::NotInScale,
                vec![FieldDefect {
                    field: schema.columns[field].name.clone(),
                    rule: "headwater.scale".into(),
                    description,
                }],
            ));
        }
    }
    Ok(())
}

/// The library has no words for some rules, such as formats.
fn description_of(message: &str, rule: &str) -> String {
    if message.is_empty() { format!("does not meet the rule {rule}") } else { message.to_owned() }
}

fn invalid(reason: Reason, fields: Vec<FieldDefect>) -> Defect {
    let parts: Vec<String> = fields.iter().map(|field| format!("{}: {}", field.field, field.description)).collect();
    Defect { reason, detail: parts.join("; "), fields }
}

fn default_value(field: &FieldDescriptor, kind: ColumnType) -> Value {
    if kind == ColumnType::Json || field.supports_presence() {
        return Value::Null;
    }
    match (kind, field.kind()) {
        (ColumnType::Bool, _) => Value::Bool(false),
        (ColumnType::I64, _) => Value::I64(0),
        (ColumnType::U64, _) => Value::U64(0),
        (ColumnType::F64, _) => Value::F64(0.0),
        (ColumnType::Text, Kind::Enum(kind)) => Value::Text(kind.default_value().name().to_owned()),
        (ColumnType::Text, _) => Value::Text(String::new()),
        (ColumnType::Bytes, _) => Value::Bytes(Vec::new()),
        (ColumnType::Time | ColumnType::Json, _) => Value::Null,
    }
}

fn wire_type(field: &FieldDescriptor) -> WireType {
    match field.kind() {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::SixtyFourBit,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => WireType::ThirtyTwoBit,
        Kind::String | Kind::Bytes | Kind::Message(_) => WireType::LengthDelimited,
        _ => WireType::Varint,
    }
}

fn decode_value(field: &FieldPlan, rest: &mut &[u8], merged: Value) -> Result<Value, WireError> {
    let zigzag = |n: u64| ((n >> 1) as i64) ^ -((n & 1) as i64);
    Ok(match field.descriptor.kind() {
        Kind::Bool => Value::Bool(decode_varint(rest)? != 0),
        Kind::Int32 => Value::I64(i64::from(decode_varint(rest)? as i32)),
        Kind::Int64 => Value::I64(decode_varint(rest)? as i64),
        Kind::Uint32 => Value::I64(i64::from(decode_varint(rest)? as u32)),
        Kind::Uint64 => Value::U64(decode_varint(rest)?),
        Kind::Sint32 => Value::I64(zigzag(u64::from(decode_varint(rest)? as u32))),
        Kind::Sint64 => Value::I64(zigzag(decode_varint(rest)?)),
        Kind::Fixed32 => Value::I64(i64::from(u32::from_le_bytes(fixed(rest)?))),
        Kind::Sfixed32 => Value::I64(i64::from(i32::from_le_bytes(fixed(rest)?))),
        Kind::Float => Value::F64(f64::from(f32::from_le_bytes(fixed(rest)?))),
        Kind::Fixed64 => Value::U64(u64::from_le_bytes(fixed(rest)?)),
        Kind::Sfixed64 => Value::I64(i64::from_le_bytes(fixed(rest)?)),
        Kind::Double => Value::F64(f64::from_le_bytes(fixed(rest)?)),
        Kind::Enum(kind) => {
            let number = decode_varint(rest)? as i32;
            Value::Text(kind.get_value(number).map_or_else(|| number.to_string(), |value| value.name().to_owned()))
        }
        Kind::String => {
            let text = std::str::from_utf8(delimited(rest)?)
                .map_err(|_| WireError::NotUtf8(field.descriptor.name().to_owned()))?;
            Value::Text(text.to_owned())
        }
        Kind::Bytes => Value::Bytes(delimited(rest)?.to_vec()),
        Kind::Message(_) => {
            // A message field that stands twice is merged, as every Protobuf reader does.
            let mut timestamp = match merged {
                Value::Time(us) => {
                    Timestamp { seconds: us.div_euclid(1_000_000), nanos: (us.rem_euclid(1_000_000) * 1000) as i32 }
                }
                _ => Timestamp::default(),
            };
            timestamp.merge(delimited(rest)?)?;
            let us = timestamp.seconds.checked_mul(1_000_000).filter(|_| (0..1_000_000_000).contains(&timestamp.nanos));
            Value::Time(
                us.ok_or_else(|| WireError::NotATime(field.descriptor.name().to_owned()))?
                    .saturating_add(i64::from(timestamp.nanos / 1000)),
            )
        }
    })
}

fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let length = usize::try_from(decode_varint(rest)?).map_err(|_| WireError::CutShort)?;
    if length > rest.len() {
        return Err(WireError::CutShort);
    }
    let (head, tail) = rest.split_at(length);
    *rest = tail;
    Ok(head)
}

/// The last text of that field that stands before the bytes end or cannot be read any further.
pub(crate) fn text_in(number: u32, bytes: &[u8]) -> Option<String> {
    let mut found = None;
    let mut rest = bytes;
    while let Ok((at, wire)) = decode_key(&mut rest) {
        if (at, wire) == (number, WireType::LengthDelimited) {
            let Ok(text) = delimited(&mut rest) else { break };
            found = std::str::from_utf8(text).ok().map(str::to_owned);
        } else if skip_field(wire, at, &mut rest, DecodeContext::default()).is_err() {
            break;
        }
    }
    found
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(WireError::CutShort)?;
    *rest = tail;
    Ok(*head)
}

fn reflected(value: &Value, kind: &Kind) -> Reflected {
    match (value, kind) {
        (Value::Bool(set), _) => Reflected::Bool(*set),
        (Value::I64(n), Kind::Int32 | Kind::Sint32 | Kind::Sfixed32) => Reflected::I32(*n as i32),
        (Value::I64(n), Kind::Uint32 | Kind::Fixed32) => Reflected::U32(*n as u32),
        (Value::I64(n), _) => Reflected::I64(*n),
        (Value::U64(n), _) => Reflected::U64(*n),
        (Value::F64(x), Kind::Float) => Reflected::F32(*x as f32),
        (Value::F64(x), _) => Reflected::F64(*x),
        (Value::Text(text), _) => Reflected::String(text.clone()),
        (Value::Bytes(bytes), _) => Reflected::Bytes(bytes.clone().into()),
        // Handled by the caller.
        (Value::Null | Value::Time(_) | Value::Json(_), _) => Reflected::Bool(false),
    }
}

/// Why bytes cannot be taken apart.
#[derive(Debug, Error)]
enum WireError {
    #[error("{0}")]
    Protobuf(#[from] DecodeError),
    #[error("a field is cut short")]
    CutShort,
    #[error("the field {0} has another wire type than the contract gives it")]
    WrongType(String),
    #[error("the field {0} is not UTF-8")]
    NotUtf8(String),
    #[error("the field {0} is not a time that a timestamp can hold")]
    NotATime(String),
    #[error("its nested fields cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}
