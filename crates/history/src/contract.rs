use headwater_domain::{Column, ColumnType, StreamSchema};
use serde_json::{Value as Json, json};

use crate::HistoryError;

/// Tables of the platform's own that lie beside the streams'.
const OWN_TABLES: [&str; 7] =
    ["offsets", "batches", "dead_letters", "duplicates", "generations", "contracts", "refinery_schema_history"];

/// Names that Postgres keeps for itself in every table.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Bytes of a name in Postgres at most.
pub(crate) const NAME_BYTES_MAX: usize = 63;

/// A stream as its table was made: what a contract is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contract {
    pub(crate) message: String,
    /// Numbers of the fields that identify an event, choose its partition and say when it happened.
    pub(crate) id: u32,
    pub(crate) key: u32,
    pub(crate) time: u32,
    /// Every column that the table has, those of former fields too.
    pub(crate) columns: Vec<Column>,
}

/// What a new contract makes of a stream's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Columns to rename, in this order.
    pub(crate) renames: Vec<(String, String)>,
    /// Columns to add.
    pub(crate) added: Vec<Column>,
    /// The contract to remember.
    pub(crate) contract: Contract,
}

impl Contract {
    /// The contract of a table that is made anew.
    pub(crate) fn of(schema: &StreamSchema) -> Self {
        Self {
            message: schema.message.clone(),
            id: schema.columns[schema.id].number,
            key: schema.columns[schema.key].number,
            time: schema.columns[schema.time].number,
            columns: schema.columns.clone(),
        }
    }

    /// The columns as they are remembered in the table `contracts`.
    pub(crate) fn columns_json(&self) -> Json {
        let column =
            |column: &Column| json!({"number": column.number, "name": column.name, "kind": column.kind.name()});
        self.columns.iter().map(column).collect()
    }

    /// The columns of such a text; none where it is not one.
    pub(crate) fn columns_of(json: &Json) -> Option<Vec<Column>> {
        let column = |json: &Json| {
            Some(Column {
                name: json.get("name")?.as_str()?.to_owned(),
                number: u32::try_from(json.get("number")?.as_u64()?).ok()?,
                kind: kind_of(json.get("kind")?.as_str()?)?,
            })
        };
        json.as_array()?.iter().map(column).collect()
    }

    fn column(&self, number: u32) -> Option<&Column> {
        self.columns.iter().find(|column| column.number == number)
    }
}

fn kind_of(name: &str) -> Option<ColumnType> {
    use ColumnType::{Bool, Bytes, F64, I64, Json, Text, Time, U64};
    [Bool, I64, U64, F64, Text, Bytes, Time, Json].into_iter().find(|kind| kind.name() == name)
}

/// Refuses streams whose names cannot be tables or columns.
pub(crate) fn check_names(schema: &StreamSchema) -> Result<(), HistoryError> {
    let StreamSchema { name, table, .. } = schema;
    if OWN_TABLES.contains(&table.as_str()) {
        return Err(HistoryError::Contract(format!("stream {name}: a table of the platform's own is called {table}")));
    }
    for (index, column) in schema.columns.iter().enumerate() {
        let same = |other: &Column| other.name.eq_ignore_ascii_case(&column.name);
        let reason = if column.name.starts_with('_') {
            "names that begin with an underscore are the platform's own"
        } else if SYSTEM_COLUMNS.contains(&column.name.as_str()) {
            "Postgres keeps that name for itself"
        } else if column.name.len() > NAME_BYTES_MAX {
            "the name is longer than the 63 bytes of a column's name"
        } else if schema.columns[..index].iter().any(same) {
            "another field has that name but for upper and lower case"
        } else {
            continue;
        };
        return Err(HistoryError::Contract(format!("stream {name}: field {}: {reason}", column.name)));
    }
    Ok(())
}

/// What has to be done to a table of `stored` for `schema`.
///
/// # Errors
/// The stream, the field and the reason, where what is stored would get another meaning.
pub(crate) fn changes(stored: &Contract, schema: &StreamSchema) -> Result<Changes, String> {
    let refuse = |field: &str, reason: String| Err(format!("stream {}: field {field}: {reason}", schema.name));
    for (role, number, index) in
        [("id", stored.id, schema.id), ("key", stored.key, schema.key), ("time", stored.time, schema.time)]
    {
        let field = &schema.columns[index];
        if field.number != number {
            let former = stored.column(number).map_or("?", |column| &column.name);
            return refuse(
                &field.name,
                format!("is the {role} now, and events are stored whose {role} is field {number}, {former}"),
            );
        }
    }
    let mut columns = Vec::new();
    let mut added = Vec::new();
    let mut renamed = Vec::new();
    for field in &schema.columns {
        match stored.column(field.number) {
            Some(was) if was.kind != field.kind => {
                let (now, then) = (field.kind.name(), was.kind.name());
                return refuse(&field.name, format!("is of kind {now} now, and events are stored with kind {then}"));
            }
            Some(was) if was.name != field.name => renamed.push((was.name.clone(), field)),
            Some(_) => {}
            None => added.push(field.clone()),
        }
        columns.push(field.clone());
    }
    let mut renames = Vec::new();
    // A column whose field is gone is kept, and makes room where its name is wanted.
    for former in stored.columns.iter().filter(|was| !schema.columns.iter().any(|field| field.number == was.number)) {
        let wanted = schema.columns.iter().any(|field| field.name.eq_ignore_ascii_case(&former.name));
        let name = if wanted { retired_name(former) } else { former.name.clone() };
        if wanted {
            renames.push((former.name.clone(), name.clone()));
        }
        columns.push(Column { name, ..former.clone() });
    }
    // Names may have been exchanged: each is put aside before any is given.
    let aside = |number: u32| format!("_renamed_{number}");
    if renamed.len() > 1 {
        renames.extend(renamed.iter().map(|(was, field)| (was.clone(), aside(field.number))));
        renames.extend(renamed.iter().map(|(_, field)| (aside(field.number), field.name.clone())));
    } else {
        renames.extend(renamed.iter().map(|(was, field)| (was.clone(), field.name.clone())));
    }
    Ok(Changes { renames, added, contract: Contract { columns, ..Contract::of(schema) } })
}

fn retired_name(column: &Column) -> String {
    let mut name = format!("_{}_{}", column.number, column.name);
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(columns: &[(&str, u32, ColumnType)]) -> StreamSchema {
        let column = |&(name, number, kind): &(&str, u32, ColumnType)| Column { name: name.to_owned(), number, kind };
        StreamSchema {
            name: "clicks".to_owned(),
            table: "clicks".to_owned(),
            message: "a.Click".to_owned(),
            columns: columns.iter().map(column).collect(),
            id: 0,
            key: 0,
            time: 1,
            indexes: vec![],
            stats: vec![],
            rules: vec![],
        }
    }

    const ID: (&str, u32, ColumnType) = ("id", 1, ColumnType::Text);
    const AT: (&str, u32, ColumnType) = ("at", 2, ColumnType::Time);

    fn pairs(of: &[(String, String)]) -> Vec<(&str, &str)> {
        of.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect()
    }

    #[test]
    fn a_field_is_known_by_its_number() {
        let stored = Contract::of(&schema(&[ID, AT, ("a", 3, ColumnType::Text), ("b", 4, ColumnType::Text)]));
        let same = changes(&stored, &schema(&[ID, AT, ("a", 3, ColumnType::Text), ("b", 4, ColumnType::Text)]));
        let same = same.expect("nothing changed");
        assert_eq!((same.renames.len(), same.added.len()), (0, 0));
        let exchanged = changes(&stored, &schema(&[ID, AT, ("b", 3, ColumnType::Text), ("a", 4, ColumnType::Text)]));
        assert_eq!(
            pairs(&exchanged.expect("names may be exchanged").renames),
            [("a", "_renamed_3"), ("b", "_renamed_4"), ("_renamed_3", "b"), ("_renamed_4", "a")]
        );
        let replaced = changes(&stored, &schema(&[ID, AT, ("a", 7, ColumnType::I64)])).expect("a name may be reused");
        assert_eq!(pairs(&replaced.renames), [("a", "_3_a")]);
        assert_eq!(replaced.added, [Column { name: "a".to_owned(), number: 7, kind: ColumnType::I64 }]);
        let back = changes(&replaced.contract, &schema(&[ID, AT, ("c", 3, ColumnType::Text)])).expect("may come back");
        assert_eq!(pairs(&back.renames), [("_3_a", "c")]);
        assert_eq!(back.contract.columns.len(), 5);
    }

    #[test]
    fn another_meaning_is_refused_with_the_field() {
        let stored = Contract::of(&schema(&[ID, AT, ("a", 3, ColumnType::Text)]));
        let kind = changes(&stored, &schema(&[ID, AT, ("a", 3, ColumnType::I64)])).expect_err("another kind");
        assert!(kind.contains("clicks") && kind.contains("field a") && kind.contains("i64"), "{kind}");
        let time = changes(&stored, &schema(&[ID, ("then", 9, ColumnType::Time)])).expect_err("another time");
        assert!(time.contains("field then") && time.contains("the time"), "{time}");
    }

    #[test]
    fn columns_are_remembered_as_json() {
        let stored = Contract::of(&schema(&[ID, AT, ("raw", 3, ColumnType::Bytes)]));
        assert_eq!(Contract::columns_of(&stored.columns_json()), Some(stored.columns));
        assert_eq!(Contract::columns_of(&json!([{"number": 1, "name": "a", "kind": "nothing"}])), None);
    }

    #[test]
    fn names_that_cannot_be_columns_are_refused() {
        for bad in ["_offset", "xmin", "ID", &"x".repeat(64)] {
            let error = check_names(&schema(&[ID, AT, (bad, 3, ColumnType::Text)])).expect_err(bad);
            assert!(error.to_string().contains(bad), "{error}");
        }
        let own = StreamSchema { table: "offsets".to_owned(), ..schema(&[ID, AT]) };
        assert!(check_names(&own).is_err());
        assert_eq!(check_names(&schema(&[ID, AT])), Ok(()));
    }
}
