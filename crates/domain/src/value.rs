/// A field's value, in the few kinds that a table column can have.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A field with presence that was not set.
    Null,
    /// bool
    Bool(bool),
    /// int32, sint32, sfixed32, int64, sint64, sfixed64, uint32, fixed32
    I64(i64),
    /// uint64, fixed64
    U64(u64),
    /// float, double
    F64(f64),
    /// string, and the name of an enum's value (its number where the name is not known)
    Text(String),
    /// bytes
    Bytes(Vec<u8>),
    /// google.protobuf.Timestamp, in microseconds since the Unix epoch
    Time(i64),
    /// Any other message, a repeated field or a map, as its ProtoJSON text
    Json(String),
}

/// The kind of a column. Each history says which SQL type it makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Postgres `boolean`
    Bool,
    /// Postgres `bigint`
    I64,
    /// Postgres `numeric(20)`
    U64,
    /// Postgres `double precision`
    F64,
    /// Postgres `text`
    Text,
    /// Postgres `bytea`
    Bytes,
    /// Postgres `timestamptz`
    Time,
    /// Postgres `jsonb`
    Json,
}

impl ColumnType {
    /// The name under which the type is remembered in the history. Stable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::F64 => "f64",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Time => "time",
            Self::Json => "json",
        }
    }
}

impl Value {
    /// The value as a key: of a partition, a statistic or a rule. Null and values that cannot be keys are empty.
    pub fn key_text(&self) -> std::borrow::Cow<'_, str> {
        use std::borrow::Cow;
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::I64(n) => Cow::Owned(n.to_string()),
            Self::U64(n) => Cow::Owned(n.to_string()),
            Self::Null | Self::F64(_) | Self::Bytes(_) | Self::Time(_) | Self::Json(_) => Cow::Borrowed(""),
        }
    }
}
