use headwater_domain::{ColumnType, Event, StoredEvent, StreamSchema, Value, Verdict};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement};

/// Columns of the platform's own in every stream's table, after the fields'.
const OWN_COLUMNS: [&str; 7] =
    ["_partition", "_offset", "_appended_ms", "_rule", "_rule_version", "_rule_count", "_unknown"];

/// A stream's table, as SQL speaks of it.
pub(super) struct Table<'a> {
    schema: &'a StreamSchema,
    /// Its name, quoted.
    pub(super) name: String,
    /// The time column, quoted.
    pub(super) time: String,
    /// The id column, quoted.
    pub(super) id: String,
}

impl<'a> Table<'a> {
    pub(super) fn of(schema: &'a StreamSchema) -> Self {
        let column = |index: usize| quoted(&schema.columns[index].name);
        Self { schema, name: quoted(&schema.table), time: column(schema.time), id: column(schema.id) }
    }

    /// A column, quoted.
    pub(super) fn column(&self, index: usize) -> String {
        quoted(&self.schema.columns[index].name)
    }

    /// The key text of a column: `Value::key_text` in SQL.
    pub(super) fn key_text(&self, index: usize) -> String {
        let column = self.column(index);
        match self.schema.columns[index].kind {
            ColumnType::Text | ColumnType::U64 => format!("ifnull({column}, '')"),
            ColumnType::Bool => format!("CASE {column} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE '' END"),
            ColumnType::I64 => format!("ifnull(CAST({column} AS TEXT), '')"),
            ColumnType::F64 | ColumnType::Bytes | ColumnType::Time | ColumnType::Json => "''".to_owned(),
        }
    }

    /// Every column, in the order of `bind_row` and `read_row`.
    pub(super) fn columns(&self) -> String {
        let fields = self.schema.columns.iter().map(|column| quoted(&column.name));
        fields.chain(OWN_COLUMNS.iter().map(|name| (*name).to_owned())).collect::<Vec<_>>().join(", ")
    }

    /// The INSERT of a row.
    pub(super) fn insert(&self) -> String {
        let places = vec!["?"; self.schema.columns.len() + OWN_COLUMNS.len()].join(", ");
        format!("INSERT INTO {} ({}) VALUES ({places})", self.name, self.columns())
    }
}

/// The declared type of a column.
pub(super) fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Bool | ColumnType::I64 | ColumnType::Time => "INTEGER",
        ColumnType::U64 | ColumnType::Text | ColumnType::Json => "TEXT",
        // A column of REAL keeps whole numbers as integers, of which none is -0.0.
        ColumnType::F64 => "",
        ColumnType::Bytes => "BLOB",
    }
}

/// Binds an event to the INSERT of its row.
pub(super) fn bind_row(statement: &mut Statement<'_>, partition: i32, row: &StoredEvent) -> rusqlite::Result<()> {
    let mut at = 0;
    for value in &row.event.values {
        at += 1;
        statement.raw_bind_parameter(at, cell(value))?;
    }
    statement.raw_bind_parameter(at + 1, partition)?;
    statement.raw_bind_parameter(at + 2, row.offset)?;
    statement.raw_bind_parameter(at + 3, row.appended_ms)?;
    let (rule, version, count) = match &row.verdict {
        Verdict::Counted => (None, None, None),
        Verdict::Flagged { rule, version, count } => {
            (Some(rule), Some(*version), Some(i64::try_from(*count).unwrap_or(i64::MAX)))
        }
    };
    statement.raw_bind_parameter(at + 4, rule)?;
    statement.raw_bind_parameter(at + 5, version)?;
    statement.raw_bind_parameter(at + 6, count)?;
    let unknown = (!row.event.unknown.is_empty()).then_some(&row.event.unknown);
    statement.raw_bind_parameter(at + 7, unknown)
}

fn cell(value: &Value) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Bool(is) => ValueRef::Integer(i64::from(*is)),
        Value::I64(n) | Value::Time(n) => ValueRef::Integer(*n),
        Value::U64(n) => return ToSqlOutput::Owned(n.to_string().into()),
        // SQLite would make NULL of it.
        Value::F64(x) if x.is_nan() => ValueRef::Text(b"NaN"),
        Value::F64(x) => ValueRef::Real(*x),
        Value::Text(text) | Value::Json(text) => ValueRef::Text(text.as_bytes()),
        Value::Bytes(bytes) => ValueRef::Blob(bytes),
    })
}

/// An event and its partition, of a row with the columns of `Table::columns`.
pub(super) fn read_row(schema: &StreamSchema, row: &Row<'_>) -> rusqlite::Result<(i32, StoredEvent)> {
    let own = schema.columns.len();
    let mut values = Vec::with_capacity(own);
    for (index, column) in schema.columns.iter().enumerate() {
        values.push(match (row.get_ref(index)?, column.kind) {
            (ValueRef::Null, _) => Value::Null,
            (ValueRef::Text(b"NaN"), ColumnType::F64) => Value::F64(f64::NAN),
            (_, ColumnType::Bool) => Value::Bool(row.get(index)?),
            (_, ColumnType::I64) => Value::I64(row.get(index)?),
            (_, ColumnType::U64) => Value::U64(number(index, row.get(index)?)?),
            (_, ColumnType::F64) => Value::F64(row.get(index)?),
            (_, ColumnType::Text) => Value::Text(row.get(index)?),
            (_, ColumnType::Bytes) => Value::Bytes(row.get(index)?),
            (_, ColumnType::Time) => Value::Time(row.get(index)?),
            (_, ColumnType::Json) => Value::Json(row.get(index)?),
        });
    }
    let verdict = match row.get::<_, Option<String>>(own + 3)? {
        None => Verdict::Counted,
        Some(rule) => {
            Verdict::Flagged { rule, version: row.get(own + 4)?, count: row.get::<_, i64>(own + 5)?.unsigned_abs() }
        }
    };
    let unknown = row.get::<_, Option<Vec<u8>>>(own + 6)?.unwrap_or_default();
    let event = Event { values, unknown };
    Ok((row.get(own)?, StoredEvent { offset: row.get(own + 1)?, appended_ms: row.get(own + 2)?, event, verdict }))
}

fn number(index: usize, text: String) -> rusqlite::Result<u64> {
    let fault = |error| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error));
    text.parse::<u64>().map_err(fault)
}

/// A name as SQL takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
