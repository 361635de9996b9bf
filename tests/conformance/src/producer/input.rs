//! A file of transactions: CSV, or JSON lines.

mod fields;
#[cfg(test)]
mod lines;
mod records;

use std::io::Read;
use std::path::Path;
use std::str::from_utf8;

use prost_reflect::{FieldDescriptor, MessageDescriptor};
use serde::de::IgnoredAny;
use serde_json::Value;

use self::fields::Part;
use self::records::Records;
use crate::Failed;

/// Bytes of a line, or of a record of CSV over several lines, at most.
const LINE_BYTES_MAX: usize = 1 << 20;
/// What may stand between the signs of JSON.
const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];
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
    let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    rows_of(&bytes, csv, transaction).map_err(|problem| failed(format!("line 1: {problem}")))
}

fn rows_of(bytes: &[u8], csv: bool, transaction: &MessageDescriptor) -> Result<Vec<Row>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if csv { csv_rows(bytes, transaction) } else { Ok(json_rows(bytes, transaction)) }
}

fn json_rows(bytes: &[u8], transaction: &MessageDescriptor) -> Vec<Row> {
    let lines = (1..).zip(bytes.split(|&byte| byte == b'\n'));
    lines.filter(|(_, line)| !is_blank(line)).map(|(at, line)| (at, json_row(line, transaction))).collect()
}

fn json_row(line: &[u8], transaction: &MessageDescriptor) -> Result<Value, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("is longer than {LINE_BYTES_MAX} bytes"));
    }
    let text = from_utf8(line).map_err(|error| format!("is not UTF-8: {error}"))?;
    let parts = members(text)?.into_iter().map(|(name, part)| (name, Part::Json(part)));
    fields::object(transaction, parts)
}

/// The members of an object of JSON, each value as it is written.
fn members(text: &str) -> Result<Vec<(String, &str)>, String> {
    let not_json = |error: serde_json::Error| format!("is not JSON: {error}");
    serde_json::from_str::<IgnoredAny>(text).map_err(not_json)?;
    let rest = text.trim_start_matches(BLANK).strip_prefix('{');
    let mut rest = rest.ok_or("is not a JSON object: write one transaction a line")?;
    let mut members = Vec::new();
    // Its signs are where they belong, as it is JSON.
    let mut next = |signs: &[char]| {
        rest = rest.trim_start_matches(BLANK).trim_start_matches(signs).trim_start_matches(BLANK);
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        if rest.starts_with('}') || values.next().is_none() {
            return None;
        }
        let (value, after) = rest.split_at(values.byte_offset());
        rest = after;
        Some(value)
    };
    while let Some(name) = next(&[',']) {
        let name = serde_json::from_str(name).map_err(not_json)?;
        members.extend(next(&[':']).map(|value| (name, value)));
    }
    Ok(members)
}

fn csv_rows(bytes: &[u8], transaction: &MessageDescriptor) -> Result<Vec<Row>, String> {
    let mut records = Records::new(bytes);
    let header = records.next().filter(|(line, _)| *line == 1).ok_or("the header is missing: name the columns")?.1?;
    let mut columns: Vec<FieldDescriptor> = Vec::new();
    for name in &header {
        let column = fields::named(transaction, name).map_err(|problem| format!("column {problem}"))?;
        if columns.contains(&column) {
            return Err(format!("column '{name}': is there twice"));
        }
        columns.push(column);
    }
    if let Some(missing) = REQUIRED.iter().find(|name| columns.iter().all(|column| column.name() != **name)) {
        return Err(format!("{missing}: the column is missing"));
    }
    Ok(records.map(|(line, cells)| (line, cells.and_then(|cells| row(&columns, &cells, transaction)))).collect())
}

fn row(columns: &[FieldDescriptor], cells: &[String], transaction: &MessageDescriptor) -> Result<Value, String> {
    if cells.len() != columns.len() {
        return Err(format!("has {} columns, the header has {}", cells.len(), columns.len()));
    }
    // An empty cell is a field that is not there; but in a table an amount that nobody wrote is a mistake.
    let (empty, written): (Vec<_>, Vec<_>) = columns.iter().zip(cells).partition(|(_, cell)| cell.is_empty());
    if empty.iter().any(|(column, _)| column.name() == "amount") {
        return Err("amount: is missing; give a number with at most two decimals".into());
    }
    fields::object(transaction, written.into_iter().map(|(column, cell)| (column.name().to_owned(), Part::Cell(cell))))
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| b" \t\r\n".contains(byte))
}
