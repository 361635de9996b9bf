//! A file of transactions: CSV, or JSON lines. Fields are found by the message's descriptor, so that one which the contract
//! gains needs nothing new here.

use std::io::Read;
use std::path::Path;
use std::str::from_utf8;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::Failed;

/// Bytes of a line, or of a record of CSV over several lines, at most.
const LINE_BYTES_MAX: usize = 1 << 20;
/// The columns that no CSV may lack.
const REQUIRED: [&str; 4] = ["transaction_id", "account_number", "transaction_datetime", "amount"];

/// The number of a line and what it holds, as ProtoJSON; or why it is none.
pub(super) type Row = (usize, Result<Value, String>);

/// The rows of a file that are not blank, in order. `-` is the standard input, as JSON lines.
///
/// # Errors
/// `Input`, where the file cannot be read at all, or its header names no columns of a transaction.
pub(super) fn rows(path: &Path, transaction: &MessageDescriptor) -> Result<Vec<Row>, Failed> {
    let failed = |problem: String| Failed::Input(format!("--input {}: {problem}", path.display()));
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().read_to_end(&mut bytes).map(|_| ()),
        _ => std::fs::read(path).map(|read| bytes = read),
    };
    read.map_err(|error| failed(error.to_string()))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
        return Ok(json_rows(bytes, transaction));
    }
    csv_rows(bytes, transaction).map_err(|problem| failed(format!("line 1: {problem}")))
}

fn json_rows(bytes: &[u8], transaction: &MessageDescriptor) -> Vec<Row> {
    let lines = (1..).zip(bytes.split(|&byte| byte == b'\n'));
    lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(at, line)| (at, json(line, transaction))).collect()
}

fn json(line: &[u8], transaction: &MessageDescriptor) -> Result<Value, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("is longer than {LINE_BYTES_MAX} bytes"));
    }
    let text = from_utf8(line).map_err(|_| "is not UTF-8")?;
    let value: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let Value::Object(fields) = &value else {
        return Err("is not a JSON object: write one transaction a line".into());
    };
    for name in fields.keys() {
        field(transaction, name).map_err(|problem| format!("{name}: {problem}"))?;
    }
    Ok(value)
}

/// A field by its name, in either spelling.
fn field(transaction: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, String> {
    let found = transaction.get_field_by_name(name).or_else(|| transaction.get_field_by_json_name(name));
    found.ok_or_else(|| {
        let names: Vec<String> = transaction.fields().map(|field| field.name().to_owned()).collect();
        format!("the contract has no such field; it has {}", names.join(", "))
    })
}

fn csv_rows(bytes: &[u8], transaction: &MessageDescriptor) -> Result<Vec<Row>, String> {
    let mut records = Records { bytes, line: 1 };
    let header = records.next().ok_or("the header is missing: name the columns")?.1?;
    let mut columns: Vec<FieldDescriptor> = Vec::new();
    for name in &header {
        let column = field(transaction, name).map_err(|problem| format!("column '{name}': {problem}"))?;
        if columns.contains(&column) {
            return Err(format!("column '{name}': is there twice"));
        }
        columns.push(column);
    }
    if let Some(missing) = REQUIRED.iter().find(|name| columns.iter().all(|column| column.name() != **name)) {
        return Err(format!("{missing}: the column is missing"));
    }
    Ok(records.map(|(line, cells)| (line, cells.and_then(|cells| row(&columns, &cells)))).collect())
}

fn row(columns: &[FieldDescriptor], cells: &[String]) -> Result<Value, String> {
    if cells.len() != columns.len() {
        return Err(format!("has {} columns, the header has {}", cells.len(), columns.len()));
    }
    let mut fields = Map::new();
    // An empty cell is a field that is not set.
    for (column, cell) in columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
        let value = match column.kind() {
            Kind::Double | Kind::Float => {
                number(cell).ok_or_else(|| format!("{}: '{cell}' is not a number", column.name()))?
            }
            Kind::Bool if cell == "true" || cell == "false" => Value::Bool(cell == "true"),
            _ => cell.as_str().into(),
        };
        fields.insert(column.name().to_owned(), value);
    }
    if !fields.contains_key("amount") {
        return Err("amount: is missing; give a number with at most two decimals".into());
    }
    Ok(Value::Object(fields))
}

/// A number as ProtoJSON has it, where one that is not finite is a text.
fn number(cell: &str) -> Option<Value> {
    let number: f64 = cell.trim().parse().ok()?;
    Some(match number {
        _ if number.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        _ => number.into(),
    })
}

/// Records of CSV with the line that each begins on: a cell in quotes may go over lines. Blank ones are left out.
struct Records<'a> {
    bytes: &'a [u8],
    line: usize,
}

impl Iterator for Records<'_> {
    type Item = (usize, Result<Vec<String>, String>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.bytes.is_empty() {
            let (line, whole) = (self.line, self.bytes);
            let record = self.record();
            let taken = &whole[..whole.len() - self.bytes.len()];
            self.line += taken.iter().filter(|&&byte| byte == b'\n').count();
            if taken.len() > LINE_BYTES_MAX {
                return Some((line, Err(format!("is longer than {LINE_BYTES_MAX} bytes"))));
            }
            if !taken.trim_ascii().is_empty() {
                return Some((line, record));
            }
        }
        None
    }
}

impl Records<'_> {
    fn record(&mut self) -> Result<Vec<String>, String> {
        let mut cells = Vec::new();
        loop {
            let cell = if self.bytes.first() == Some(&b'"') { self.quoted()? } else { self.plain() };
            cells.push(String::from_utf8(cell).map_err(|_| {
                self.line_end();
                "is not UTF-8"
            })?);
            match self.bytes.split_first() {
                Some((b',', rest)) => self.bytes = rest,
                _ => {
                    self.line_end();
                    return Ok(cells);
                }
            }
        }
    }

    /// Up to a comma or the line's end.
    fn plain(&mut self) -> Vec<u8> {
        let end = self.bytes.iter().position(|&byte| byte == b',' || byte == b'\n').unwrap_or(self.bytes.len());
        let (cell, rest) = self.bytes.split_at(end);
        self.bytes = rest;
        let last = rest.first() != Some(&b',');
        (if last { cell.strip_suffix(b"\r").unwrap_or(cell) } else { cell }).to_vec()
    }

    /// Between quotes, of which two stand for one.
    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let mut cell = Vec::new();
        self.bytes = &self.bytes[1..];
        loop {
            let Some(end) = self.bytes.iter().position(|&byte| byte == b'"') else {
                self.bytes = &[];
                return Err("is not CSV: a quote is not closed".into());
            };
            cell.extend_from_slice(&self.bytes[..end]);
            self.bytes = &self.bytes[end + 1..];
            match self.bytes {
                [b'"', rest @ ..] => {
                    cell.push(b'"');
                    self.bytes = rest;
                }
                [] | [b',' | b'\n', ..] | [b'\r', b'\n', ..] => return Ok(cell),
                _ => {
                    self.line_end();
                    return Err("is not CSV: there is text after a closing quote".into());
                }
            }
        }
    }

    fn line_end(&mut self) {
        let end = self.bytes.iter().position(|&byte| byte == b'\n').map_or(self.bytes.len(), |end| end + 1);
        self.bytes = &self.bytes[end..];
    }
}
