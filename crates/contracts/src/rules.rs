//! The rules of buf.validate that nearly every contract uses, compiled for the hot path.
//!
//! The library (prost-protovalidate) is the authority: it says what is wrong with an event that these rules refuse, and it
//! judges every event of a message that has a rule which is not among these.

use headwater_domain::Value;
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor};

/// A rule on a column's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FastRule {
    Required,
    CharsMin(u64),
    CharsMax(u64),
    Uuid,
    Finite,
}

/// The rules of a message by column, in order of field numbers; none where one of them is not among the fast ones.
pub(crate) fn compile(message: &MessageDescriptor) -> Option<Vec<Vec<FastRule>>> {
    let pool = message.parent_pool();
    let Some(field_extension) = pool.get_extension_by_name("buf.validate.field") else {
        return Some(vec![Vec::new(); message.fields().len()]);
    };
    for (name, options) in [("buf.validate.message", message.options())]
        .into_iter()
        .chain(message.oneofs().map(|oneof| ("buf.validate.oneof", oneof.options())))
    {
        if pool.get_extension_by_name(name).is_some_and(|extension| options.has_extension(&extension)) {
            return None;
        }
    }
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    fields
        .into_iter()
        .map(|field| {
            if field.kind().as_message().is_some_and(|inner| !is_plain(inner)) {
                return None;
            }
            let options = field.options();
            if !options.has_extension(&field_extension) {
                return Some(Vec::new());
            }
            let rules = options.get_extension(&field_extension);
            // Presence changes what a rule means for a field that is not set: that is left to the library.
            let plain = field.kind().as_message().is_some() || !field.supports_presence();
            if plain && !field.is_list() && !field.is_map() { fast_rules(rules.as_message()?) } else { None }
        })
        .collect()
}

/// Whether a nested message can hold no rule of its own: the well-known types.
fn is_plain(message: &MessageDescriptor) -> bool {
    message.package_name() == "google.protobuf"
}

fn fast_rules(rules: &DynamicMessage) -> Option<Vec<FastRule>> {
    let mut fast = Vec::new();
    for (field, value) in rules.fields() {
        match field.name() {
            "required" => fast.extend(value.as_bool().filter(|set| *set).map(|_| FastRule::Required)),
            "string" => {
                for (rule, value) in value.as_message()?.fields() {
                    fast.push(match rule.name() {
                        "min_len" => FastRule::CharsMin(value.as_u64()?),
                        "max_len" => FastRule::CharsMax(value.as_u64()?),
                        "uuid" if value.as_bool() == Some(true) => FastRule::Uuid,
                        _ => return None,
                    });
                }
            }
            "double" | "float" => {
                for (rule, value) in value.as_message()?.fields() {
                    fast.push(match rule.name() {
                        "finite" if value.as_bool() == Some(true) => FastRule::Finite,
                        _ => return None,
                    });
                }
            }
            _ => return None,
        }
    }
    Some(fast)
}

impl FastRule {
    /// Whether the value meets the rule.
    pub(crate) fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Required, Value::Null) => false,
            (Self::Required, Value::Text(text)) => !text.is_empty(),
            (Self::Required, Value::Bool(set)) => *set,
            (Self::Required, Value::I64(n)) => *n != 0,
            (Self::Required, Value::U64(n)) => *n != 0,
            (Self::Required, Value::F64(x)) => x.to_bits() != 0,
            (Self::Required, Value::Bytes(bytes)) => !bytes.is_empty(),
            (Self::Required, Value::Time(_) | Value::Json(_)) => true,
            (Self::CharsMin(min), Value::Text(text)) => chars(text) >= *min,
            (Self::CharsMax(max), Value::Text(text)) => chars(text) <= *max,
            (Self::Uuid, Value::Text(text)) => is_uuid(text),
            (Self::Finite, Value::F64(x)) => x.is_finite(),
            // A rule of another kind of value: never compiled onto this column.
            _ => true,
        }
    }
}

fn chars(text: &str) -> u64 {
    if text.is_ascii() { text.len() as u64 } else { text.chars().count() as u64 }
}

fn is_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
