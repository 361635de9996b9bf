use headwater_domain::{ColumnType, StoredEvent, StreamSchema, Value, Verdict, murmur2};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::error::classify;
use super::value::{Cell, Moment, Stored, wire_type};
use crate::HistoryError;

/// Columns of the platform's own in every stream's table, after the fields'.
const OWN_COLUMNS: [(&str, Type); 7] = [
    ("_partition", Type::INT4),
    ("_offset", Type::INT8),
    ("_appended_at", Type::TIMESTAMPTZ),
    ("_rule", Type::TEXT),
    ("_rule_version", Type::INT4),
    ("_rule_count", Type::INT8),
    ("_unknown", Type::BYTEA),
];

/// Bytes of a table's name that the names of its parts and indexes begin with, at most.
const BASE_BYTES_MAX: usize = 48;

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

    /// What the names of its parts and indexes begin with. The `$` keeps them apart from every stream's table.
    pub(super) fn base(&self) -> String {
        let name = &self.schema.table;
        if name.len() <= BASE_BYTES_MAX {
            return format!("{name}$");
        }
        let hash = murmur2(name.as_bytes());
        format!("{}{hash:08x}$", &name[..name.floor_char_boundary(BASE_BYTES_MAX - 8)])
    }

    /// A column, quoted.
    pub(super) fn column(&self, index: usize) -> String {
        quoted(&self.schema.columns[index].name)
    }

    /// The key text of a column: `Value::key_text` in SQL.
    pub(super) fn key_text(&self, index: usize) -> String {
        let column = self.column(index);
        match self.schema.columns[index].kind {
            ColumnType::Text => format!("coalesce({column}, '')"),
            ColumnType::Bool | ColumnType::I64 | ColumnType::U64 => {
                format!("coalesce({column}::text, '') COLLATE \"C\"")
            }
            ColumnType::F64 | ColumnType::Bytes | ColumnType::Time | ColumnType::Json => "''::text".to_owned(),
        }
    }

    /// That a column has a key text, given as a parameter: so that an index of the column can be used where it has one.
    pub(super) fn key_is(&self, index: usize, key: &str, parameter: usize) -> String {
        match self.schema.columns[index].kind {
            ColumnType::Text if !key.is_empty() => format!("{} = ${parameter}", self.column(index)),
            _ => format!("{} = ${parameter}", self.key_text(index)),
        }
    }

    /// The COPY that takes rows of `write_row`.
    pub(super) fn copy(&self) -> String {
        format!("COPY {} ({}) FROM STDIN BINARY", self.name, self.columns())
    }

    /// The types of such a row.
    pub(super) fn types(&self) -> Vec<Type> {
        let fields = self.schema.columns.iter().map(|column| wire_type(column.kind));
        fields.chain(OWN_COLUMNS.into_iter().map(|(_, ty)| ty)).collect()
    }

    /// Every column, in the order of `write_row` and `read_row`.
    pub(super) fn columns(&self) -> String {
        let fields = self.schema.columns.iter().map(|column| quoted(&column.name));
        let own = OWN_COLUMNS.iter().map(|(name, _)| (*name).to_owned());
        fields.chain(own).collect::<Vec<_>>().join(", ")
    }
}

/// An event as the cells of its row.
pub(super) fn write_row<'a>(cells: &mut Vec<Cell<'a>>, partition: i32, row: &'a StoredEvent) {
    cells.clear();
    cells.extend(row.event.values.iter().map(Cell::Value));
    cells.extend([Cell::Int(partition), Cell::Long(row.offset)]);
    cells.push(Cell::Moment(Moment(row.appended_ms.saturating_mul(1000))));
    match &row.verdict {
        Verdict::Counted => cells.extend([Cell::Null; 3]),
        Verdict::Flagged { rule, version, count } => {
            let version = Cell::Int(i32::try_from(*version).unwrap_or(i32::MAX));
            cells.extend([Cell::Text(rule), version, Cell::Long(i64::try_from(*count).unwrap_or(i64::MAX))]);
        }
    }
    cells.push(if row.event.unknown.is_empty() { Cell::Null } else { Cell::Bytes(&row.event.unknown) });
}

/// An event and its partition, of a row with the columns of `Table::columns`.
pub(super) fn read_row(schema: &StreamSchema, row: &Row) -> Result<(i32, StoredEvent), HistoryError> {
    read(schema, row).map_err(|error| classify(&error))
}

fn read(schema: &StreamSchema, row: &Row) -> Result<(i32, StoredEvent), tokio_postgres::Error> {
    let own = schema.columns.len();
    let mut values: Vec<Value> = Vec::with_capacity(own);
    for index in 0..own {
        values.push(row.try_get::<_, Stored>(index)?.0);
    }
    let unknown: Option<Vec<u8>> = row.try_get(own + 6)?;
    let verdict = match row.try_get::<_, Option<String>>(own + 3)? {
        None => Verdict::Counted,
        Some(rule) => Verdict::Flagged {
            rule,
            version: row.try_get::<_, i32>(own + 4)?.unsigned_abs(),
            count: row.try_get::<_, i64>(own + 5)?.unsigned_abs(),
        },
    };
    let event = headwater_domain::Event { values, unknown: unknown.unwrap_or_default() };
    let appended_ms = row.try_get::<_, Moment>(own + 2)?.0.div_euclid(1000);
    Ok((row.try_get(own)?, StoredEvent { offset: row.try_get(own + 1)?, appended_ms, event, verdict }))
}

/// A name as SQL takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
