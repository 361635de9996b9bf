//! Files of transactions: what one language's producer takes, and what it refuses with which line's number, all do.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::json;
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

const NDJSON: &str = r#"{"transaction_id":"t1","account_number":"ACC-1","transaction_datetime":"2026-11-21T10:00:00Z","amount":1.5}
{"transactionId":"t2","accountNumber":"ACC-1","transactionDatetime":"2026-11-21T10:00:00Z","amount":"-0.25"}

{"transaction_id":"t3","account_number":"ACC-1","transaction_datetime":"2026-11-21T10:00:00Z"}
{"transaction_id":"t4","account_number":"ACC-1","transaction_datetime":"2026-11-21T10:00:00Z","amount":1,"iban":"x"}
{"transaction_id":"t5","account_number":"ACC-1","transaction_datetime":"2026-11-21T10:00:00Z","amount":"NaN"}
{"transaction_id":"t6","account_number":"ACC-1","transaction_datetime":"2026-11-21T10:00:00Z","amount":0.001}
{"transaction_id":6,"account_number":"ACC-1","transaction_datetime":"2026-11-21T10:00:00Z","amount":1}
["t7"]
{"transaction_id":"t8",
{"transaction_id":"","account_number":"ACC-1","transaction_datetime":"2026-11-21T10:00:00Z","amount":1}
{"transaction_id":"t9","account_number":"ACC-2","transaction_datetime":"2026-11-21T10:00:00Z","amount":2.75} "#;
const NDJSON_REFUSED: [usize; 7] = [5, 6, 7, 8, 9, 10, 11];

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

fn sends(language: Language, file: &Path, bad: &[usize], sums: &serde_json::Value) {
    let topic = Topic::make("input");
    let (code, said) = language.produces(&topic, &["-i", file.to_str().unwrap()]);
    assert_eq!((code, refused(&said).as_slice()), (Some(1), bad), "{}: {said}", language.name());
    assert_eq!(json!(topic.read().sums), *sums, "{}: {said}", language.name());
}

#[test]
fn a_file_is_read_alike_in_every_language() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, ndjson) = (folder.path().join("file.CSV"), folder.path().join("file.ndjson"));
    fs::write(&csv, CSV).unwrap();
    fs::write(&ndjson, NDJSON).unwrap();
    std::thread::scope(|scope| {
        for language in Language::ALL {
            let (csv, ndjson) = (&csv, &ndjson);
            scope.spawn(move || {
                let sums = json!({"ACC-1": "10.21", "ACC-2": "100.00", "ACC-3": "3.00"});
                sends(language, csv, &CSV_REFUSED, &sums);
                sends(language, ndjson, &NDJSON_REFUSED, &json!({"ACC-1": "1.25", "ACC-2": "2.75"}));
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
