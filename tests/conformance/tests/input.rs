//! Files of transactions: what one language's producer takes, and what it refuses with which line's number, all do.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use headwater_domain::format_units;
use serde_json::{Map, Value, json};
use support::{Language, Topic};

const CSV: &str = "\u{feff}amount,account_number,transaction_id,transaction_datetime,transaction_reference\r
10.50,ACC-1,t1,2026-11-21T10:00:00Z,plain\r
-0.29,ACC-1,t2,2026-11-21T11:00:00+01:00,\"a, \"\"b\"\"
over two lines\"\r
,ACC-1,t3,2026-11-21T10:00:00Z,no amount\r
ten,ACC-1,t4,2026-11-21T10:00:00Z,no number\r
1.005,ACC-1,t5,2026-11-21T10:00:00Z,three decimals\r
NaN,ACC-1,t6,2026-11-21T10:00:00Z,not finite\r
1,,t7,2026-11-21T10:00:00Z,no account\r
\r
1,ACC-2,t8,yesterday,no time\r
1,ACC-2,t9,2026-11-21T10:00:00Z\r
1,ACC-2,t10,2026-11-21T10:00:00Z,\"after\" the quote\r
1e2,ACC-2,t11,2026-11-21T10:00:00Z,\r
0,ACC-3,t12,2026-11-21T10:00:00.123456789Z,\"Grüße, 東京\"\r
2,ACC-3,t13,,no time either\r
3,ACC-3,t14,2026-11-21T10:00:00Z,last line without an end";
const CSV_REFUSED: [usize; 9] = [5, 6, 7, 8, 9, 11, 12, 13, 16];

const BAD_HEADERS: [(&str, &str); 4] = [
    ("transaction_id,account_number,transaction_datetime,amount,iban\n", "iban"),
    ("transaction_id,account_number,transaction_datetime,amount,amount\n", "amount"),
    ("transaction_id,account_number,amount\n", "transaction_datetime"),
    ("", "header"),
];

/// Numbers of the lines that a producer has refused.
fn refused(said: &str) -> Vec<usize> {
    let number = |line: &str| line.split_once("line ")?.1.split(':').next()?.trim().parse().ok();
    said.lines().filter_map(number).collect()
}

/// A file of all vectors, the numbers of the lines that are refused, and the sums of the others.
fn of_vectors(header: Option<&str>, vectors: &Value, name: &str) -> (Vec<u8>, Vec<usize>, Value) {
    let (mut file, mut bad, mut sums) = (Vec::new(), Vec::new(), Map::new());
    file.extend(header.into_iter().flat_map(|header| format!("{header}\n").into_bytes()));
    // What opens a quote and does not close it is the file's end.
    let (last, others): (Vec<_>, Vec<_>) =
        vectors.as_array().unwrap().iter().partition(|vector| vector["name"] == "a quote that is not closed");
    for vector in others.into_iter().chain(last) {
        let line = 1 + file.iter().filter(|&&byte| byte == b'\n').count();
        match vector["means"]["account_number"].as_str() {
            Some(account) => {
                let cents = vector["means"]["cents"].as_i64().unwrap();
                assert!(sums.insert(account.into(), format_units(cents, 2).into()).is_none(), "{vector}");
            }
            None => bad.push(line),
        }
        let hex = vector[format!("{name}_hex")].as_str().unwrap_or_default();
        file.extend(vector[name].as_str().unwrap_or_default().bytes());
        file.extend((0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()));
        file.push(b'\n');
    }
    (file, bad, sums.into())
}

fn sends(language: Language, file: &Path, bad: &[usize], sums: &Value) {
    let topic = Topic::make("input");
    let (code, said) = language.produces(&topic, &["-i", file.to_str().unwrap()]);
    assert_eq!((code, refused(&said).as_slice()), (Some(1), bad), "{}: {said}", language.name());
    assert_eq!(json!(topic.read().sums), *sums, "{}: {said}", language.name());
}

#[test]
fn a_file_is_read_alike_in_every_language() {
    let folder = tempfile::tempdir().unwrap();
    let vectors: Value = serde_json::from_str(include_str!("../vectors/lines.json")).unwrap();
    let sums = json!({"ACC-1": "10.21", "ACC-2": "100.00", "ACC-3": "3.00"});
    let files = [
        ("file.CSV", (CSV.into(), CSV_REFUSED.to_vec(), sums)),
        ("lines.ndjson", of_vectors(None, &vectors["ndjson"], "line")),
        ("rows.csv", of_vectors(vectors["csv_header"].as_str(), &vectors["csv"], "row")),
    ];
    for (name, (content, ..)) in &files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    std::thread::scope(|scope| {
        for language in Language::ALL {
            let (files, folder) = (&files, folder.path());
            scope.spawn(move || {
                for (name, (_, bad, sums)) in files {
                    sends(language, &folder.join(name), bad, sums);
                }
            });
        }
    });
}

#[test]
fn a_header_without_what_a_transaction_needs_is_wrong_usage_in_every_language() {
    let topic = Topic::make("header");
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for language in Language::ALL {
            let (topic, folder) = (&topic, folder.path());
            scope.spawn(move || {
                for (number, (header, named)) in BAD_HEADERS.into_iter().enumerate() {
                    let file = folder.join(format!("{}-{number}.csv", language.name()));
                    let row = "t1,ACC-1,2026-11-21T10:00:00Z,1,1\n";
                    fs::write(&file, if header.is_empty() { String::new() } else { format!("{header}{row}") }).unwrap();
                    let (code, said) = language.produces(topic, &["-i", file.to_str().unwrap()]);
                    assert_eq!(code, Some(2), "{}: {header:?}: {said}", language.name());
                    assert!(said.contains(named), "{}: {header:?}: {said}", language.name());
                }
            });
        }
    });
    assert_eq!(topic.read().transactions, 0);
}
