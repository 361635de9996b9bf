use std::error::Error;

use bytes::{BufMut, BytesMut};
use headwater_domain::{ColumnType, Value};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// Microseconds from the Unix epoch to Postgres's, 2000-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// The times that can be asked for: the years 1 to 9999, of which every stored time is.
const ASKED_US: (i64, i64) = (-62_135_596_800_000_000, 253_402_300_800_000_000);

/// A moment in microseconds since the Unix epoch, as a `timestamptz`. Moments before or after all that can be
/// stored become the first or the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) i64);

/// A cell of a row that is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell<'a> {
    Null,
    Value(&'a Value),
    Int(i32),
    Long(i64),
    Moment(Moment),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A value that was read from a stream's column.
pub(super) struct Stored(pub(super) Value);

/// The SQL type of a column, with its collation: text is compared by its bytes, as everywhere else in the platform.
pub(super) fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Bool => "boolean",
        ColumnType::I64 => "bigint",
        ColumnType::U64 => "numeric(20)",
        ColumnType::F64 => "double precision",
        ColumnType::Text => "text COLLATE \"C\"",
        ColumnType::Bytes => "bytea",
        ColumnType::Time => "timestamptz",
        ColumnType::Json => "jsonb",
    }
}

/// The same type as the protocol names it.
pub(super) fn wire_type(kind: ColumnType) -> Type {
    match kind {
        ColumnType::Bool => Type::BOOL,
        ColumnType::I64 => Type::INT8,
        ColumnType::U64 => Type::NUMERIC,
        ColumnType::F64 => Type::FLOAT8,
        ColumnType::Text => Type::TEXT,
        ColumnType::Bytes => Type::BYTEA,
        ColumnType::Time => Type::TIMESTAMPTZ,
        ColumnType::Json => Type::JSONB,
    }
}

type Conversion<T> = Result<T, Box<dyn Error + Sync + Send>>;

impl ToSql for Moment {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        out.put_i64(self.0.clamp(ASKED_US.0, ASKED_US.1) - POSTGRES_EPOCH_US);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Moment {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Conversion<Self> {
        Ok(Self(i64::from_be_bytes(raw.try_into()?).saturating_add(POSTGRES_EPOCH_US)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        match *self {
            Self::Null | Self::Value(Value::Null) => return Ok(IsNull::Yes),
            Self::Value(value) => put(value, ty, out)?,
            Self::Int(n) => out.put_i32(n),
            Self::Long(n) => out.put_i64(n),
            Self::Moment(moment) => return moment.to_sql(ty, out),
            Self::Text(text) => out.put_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.put_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn put(value: &Value, ty: &Type, out: &mut BytesMut) -> Conversion<()> {
    match value {
        Value::Text(text) if *ty == Type::TEXT => out.put_slice(text.as_bytes()),
        Value::Time(us) if *ty == Type::TIMESTAMPTZ => out.put_i64(us.saturating_sub(POSTGRES_EPOCH_US)),
        Value::I64(n) if *ty == Type::INT8 => out.put_i64(*n),
        Value::F64(x) if *ty == Type::FLOAT8 => out.put_f64(*x),
        Value::Bool(is) if *ty == Type::BOOL => out.put_u8(u8::from(*is)),
        Value::U64(n) if *ty == Type::NUMERIC => put_numeric(*n, out),
        Value::Bytes(bytes) if *ty == Type::BYTEA => out.put_slice(bytes),
        Value::Json(text) if *ty == Type::JSONB => {
            out.put_u8(1);
            out.put_slice(text.as_bytes());
        }
        other => return Err(format!("a column of type {ty} cannot hold {other:?}").into()),
    }
    Ok(())
}

/// A `numeric` of the protocol: its digits in base 10,000, the greatest first.
fn put_numeric(mut n: u64, out: &mut BytesMut) {
    let mut digits = [0_i16; 5];
    let mut count = 0;
    while n > 0 {
        digits[count] = (n % 10_000) as i16;
        n /= 10_000;
        count += 1;
    }
    out.put_i16(count as i16);
    out.put_i16(count as i16 - 1);
    out.put_i16(0);
    out.put_i16(0);
    for digit in digits[..count].iter().rev() {
        out.put_i16(*digit);
    }
}

fn numeric(raw: &[u8]) -> Conversion<u64> {
    let mut words = raw.chunks_exact(2).map(|word| i16::from_be_bytes([word[0], word[1]]));
    let header: Vec<i16> = words.by_ref().take(4).collect();
    let [count, weight, 0, _] = header[..] else { return Err("not a number of 0 or more".into()) };
    let mut n = 0_u64;
    let mut digits = words.take(usize::try_from(count)?);
    for _ in 0..=weight {
        let digit = u64::try_from(digits.next().unwrap_or(0))?;
        n = n.checked_mul(10_000).and_then(|n| n.checked_add(digit)).ok_or("a number of more than 64 bits")?;
    }
    Ok(n)
}

impl<'a> FromSql<'a> for Stored {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Conversion<Self> {
        let value = match *ty {
            Type::BOOL => Value::Bool(bool::from_sql(ty, raw)?),
            Type::INT8 => Value::I64(i64::from_sql(ty, raw)?),
            Type::NUMERIC => Value::U64(numeric(raw)?),
            Type::FLOAT8 => Value::F64(f64::from_sql(ty, raw)?),
            Type::TEXT => Value::Text(String::from_sql(ty, raw)?),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            Type::TIMESTAMPTZ => Value::Time(Moment::from_sql(ty, raw)?.0),
            // The first byte is the version of the format, and there is but one.
            Type::JSONB => Value::Json(std::str::from_utf8(raw.get(1..).unwrap_or_default())?.to_owned()),
            _ => return Err(format!("no column of a stream has type {ty}").into()),
        };
        Ok(Self(value))
    }

    fn from_sql_null(_: &Type) -> Conversion<Self> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_64_bits_comes_back() {
        for n in [0, 1, 9_999, 10_000, 10_001, 100_000_000, 12_345_678_901_234_567_890, u64::MAX] {
            let mut out = BytesMut::new();
            put_numeric(n, &mut out);
            assert_eq!(numeric(&out).expect("a number"), n);
        }
    }
}
