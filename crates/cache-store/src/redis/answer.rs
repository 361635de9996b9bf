use std::vec::IntoIter;

use ::redis::Value;
use bytes::Bytes;

use super::unreadable;
use crate::StoreError;

/// The answers of a call, or the fields of one, taken one after another.
pub(super) struct Fields(IntoIter<Value>);

impl Fields {
    pub(super) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    /// The fields of a list.
    pub(super) fn of(value: Value) -> Result<Self, StoreError> {
        match value {
            Value::Array(values) | Value::Set(values) => Ok(Self::new(values)),
            other => Err(unreadable(&other)),
        }
    }

    pub(super) fn value(&mut self) -> Value {
        self.0.next().unwrap_or(Value::Nil)
    }

    pub(super) fn list(&mut self) -> Result<Self, StoreError> {
        Self::of(self.value())
    }

    pub(super) fn number(&mut self) -> Result<i64, StoreError> {
        match self.value() {
            Value::Int(number) => Ok(number),
            other => text_of(other)?.parse().map_err(|_| unreadable(&Value::Okay)),
        }
    }

    /// A number, or none where the text is empty.
    pub(super) fn maybe_number(&mut self) -> Result<Option<i64>, StoreError> {
        match self.value() {
            Value::Int(number) => Ok(Some(number)),
            other => match text_of(other)?.as_str() {
                "" => Ok(None),
                text => text.parse().map(Some).map_err(|_| unreadable(&Value::Okay)),
            },
        }
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        text_of(self.value())
    }

    pub(super) fn maybe_bytes(&mut self) -> Result<Option<Bytes>, StoreError> {
        match self.value() {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes.into())),
            other => Err(unreadable(&other)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}

fn text_of(value: Value) -> Result<String, StoreError> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| unreadable(&Value::Okay)),
        Value::SimpleString(text) => Ok(text),
        Value::Int(number) => Ok(number.to_string()),
        other => Err(unreadable(&other)),
    }
}
