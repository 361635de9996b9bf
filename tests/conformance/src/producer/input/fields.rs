//! Named values as ProtoJSON. What a value is, is looked at before the library reads it. Fields are found by the message's
//! descriptor, so that one which the contract gains needs nothing new here.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

const TIMESTAMP: &str = "google.protobuf.Timestamp";
const NOT_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// A value as it is written.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Json(&'a str),
    Cell(&'a str),
}

/// A field by its name, in either spelling.
pub(super) fn named(transaction: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, String> {
    let found = transaction.get_field_by_name(name).or_else(|| transaction.get_field_by_json_name(name));
    found.ok_or_else(|| {
        let names: Vec<String> = transaction.fields().map(|field| field.name().to_owned()).collect();
        format!("{name}: the contract has no such field; it has {}", names.join(", "))
    })
}

/// The object of the parts; null is a field that is not there.
pub(super) fn object<'a>(
    transaction: &MessageDescriptor,
    parts: impl IntoIterator<Item = (String, Part<'a>)>,
) -> Result<Value, String> {
    let mut object = Map::new();
    for (name, part) in parts {
        let field = named(transaction, &name)?;
        let refused = |problem: String| format!("{}: {} is not valid: {problem}", field.name(), part.text());
        let value = value(&field, part).map_err(refused)?;
        if object.insert(field.name().to_owned(), value).is_some() {
            return Err(format!("{}: is there twice", field.name()));
        }
    }
    object.retain(|_, value| !value.is_null());
    Ok(Value::Object(object))
}

fn value(field: &FieldDescriptor, part: Part<'_>) -> Result<Value, String> {
    let value = match part {
        Part::Cell("true") if field.kind() == Kind::Bool => Value::Bool(true),
        Part::Cell("false") if field.kind() == Kind::Bool => Value::Bool(false),
        Part::Cell(text) => text.into(),
        // As it is written: the library's double is not always the nearest, and one that is too great is no JSON to it.
        Part::Json(text) if text.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) => {
            return match field.kind() {
                Kind::Double | Kind::Float => number(text),
                _ => serde_json::from_str(text).map_err(|error| error.to_string()),
            };
        }
        Part::Json(text) => serde_json::from_str(text).map_err(|error| error.to_string())?,
    };
    match (field.kind(), &value) {
        (Kind::Double | Kind::Float, Value::String(text)) if !NOT_FINITE.contains(&text.as_str()) => number(text),
        (Kind::Message(message), Value::String(text)) if message.full_name() == TIMESTAMP && !is_time(text) => {
            Err("write a time as 2026-01-02T03:04:05Z".into())
        }
        _ => Ok(value),
    }
}

fn number(text: &str) -> Result<Value, String> {
    if !is_number(text) {
        return Err("it is no number".into());
    }
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    Ok(number.ok_or("it is too great")?.into())
}

/// As JSON has it, but that zeros may come before it. Rust takes more.
fn is_number(text: &str) -> bool {
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    is_digits(whole.strip_prefix('-').unwrap_or(whole))
        && is_digits(decimals)
        && is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
}

/// Whether it has the shape of RFC 3339. The library knows the calendar, but would take more decimals and leap seconds.
fn is_time(text: &str) -> bool {
    let is = |text: &str, shape: &str| {
        let sign = |(sign, of): (u8, u8)| if of == b'0' { sign.is_ascii_digit() } else { sign == of };
        text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(sign)
    };
    let Some((whole, rest)) = text.split_at_checked(19) else { return false };
    let (decimals, zone) = rest.split_at(rest.find(['Z', '+', '-']).unwrap_or(rest.len()));
    let offset = zone.strip_prefix(['+', '-']).unwrap_or("00:00");
    is(whole, "0000-00-00T00:00:00")
        && &whole[17..] < "60"
        && (decimals.is_empty() || decimals.len() <= 10 && decimals.strip_prefix('.').is_some_and(is_digits))
        && (zone == "Z" || zone.starts_with(['+', '-']))
        && is(offset, "00:00")
        && offset < "24"
        && &offset[3..] < "60"
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl<'a> Part<'a> {
    fn text(self) -> &'a str {
        let (Self::Json(text) | Self::Cell(text)) = self;
        text
    }
}
