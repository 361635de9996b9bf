//! The lines that every language reads alike, or refuses.
#![allow(clippy::unwrap_used, reason = "tests")]

use headwater_contracts::v1::event::Transaction;
use headwater_domain::{Value as Scalar, units_of};
use prost::Message;
use serde_json::{Value, json};

use super::{LINE_BYTES_MAX, Row, rows_of};
use crate::contract;
use crate::producer::record;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/lines.json")).unwrap()
}

fn bytes(row: &Value, name: &str) -> Vec<u8> {
    let hex = row[format!("{name}_hex")].as_str().unwrap_or_default();
    let text = row[name].as_str().unwrap_or_default().bytes();
    let of_hex = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
    text.chain(of_hex).collect()
}

/// What each row means, by its line, or why it is refused.
fn read(bytes: &[u8], csv: bool) -> Result<Vec<Row>, String> {
    let stream = contract(None).unwrap();
    let meaning = |value: &Value| {
        let payload = record(&stream, &[], value)?.value;
        let found = Transaction::decode(payload).unwrap();
        let time = found.transaction_datetime.unwrap();
        Ok(json!({
            "transaction_id": found.transaction_id,
            "account_number": found.account_number,
            "transaction_reference": found.transaction_reference,
            "seconds": time.seconds,
            "nanos": time.nanos,
            "cents": units_of(&Scalar::F64(found.amount), 2),
        }))
    };
    let rows = rows_of(bytes, csv, &stream.descriptor)?;
    Ok(rows.into_iter().map(|(line, row)| (line, row.and_then(|value| meaning(&value)))).collect())
}

fn check(vector: &Value, found: Result<Vec<Row>, String>, line: usize) {
    let [(at, found)] = <[_; 1]>::try_from(found.unwrap()).unwrap();
    assert_eq!(at, line, "{vector}");
    match found {
        Ok(found) => assert_eq!(found, vector["means"], "{vector}"),
        Err(said) => {
            assert!(vector["refused"].as_str().is_some_and(|begins| said.starts_with(begins)), "{vector}: {said}")
        }
    }
}

#[test]
fn a_line_is_taken_or_refused_as_in_every_language() {
    let vectors = vectors();
    for vector in vectors["ndjson"].as_array().unwrap() {
        check(vector, read(&bytes(vector, "line"), false), 1);
    }
    let header = bytes(&vectors, "csv_header");
    for vector in vectors["csv"].as_array().unwrap() {
        check(vector, read(&[&header, &b"\n"[..], &bytes(vector, "row")].concat(), true), 2);
    }
    for vector in vectors["headers"].as_array().unwrap() {
        let said = read(&bytes(vector, "header"), true).unwrap_err();
        assert!(said.contains(vector["says"].as_str().unwrap()), "{vector}: {said}");
    }
}

#[test]
fn lines_are_numbered_and_one_that_is_too_long_spoils_no_other() {
    let (vectors, longest) = (vectors(), LINE_BYTES_MAX);
    let good = vectors["ndjson"][0]["line"].as_str().unwrap();
    let spaces = |count| " ".repeat(count);
    let exact = spaces(longest - good.len());
    let lines = format!("\u{feff}{good}\n \t\r\n{good}{}\n{good}{exact}\n{good}", spaces(longest));
    let (header, row) = (vectors["csv_header"].as_str().unwrap(), "t,A,2026-11-21T10:00:00Z,1,");
    let rows = format!("{header}\n{row}{}\n \t\n{row}\"a\n{}\"\n{row}", "x".repeat(longest), "\n".repeat(longest));
    for (text, csv, bad) in [(lines, false, &[3][..]), (rows, true, &[2, 4])] {
        let found = read(text.as_bytes(), csv).unwrap();
        let refused: Vec<_> = found.into_iter().filter_map(|(line, row)| row.err().map(|said| (line, said))).collect();
        let expected = bad.iter().map(|&line| (line, format!("is longer than {longest} bytes")));
        assert_eq!(refused, expected.collect::<Vec<_>>());
    }
}
