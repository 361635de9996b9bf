//! Every reason has a page, every page a reason, and what the pages say of codes and retries is what the code does.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use headwater_domain::Reason;
use headwater_serving::problem::{code_of, page_of, retry_after_of};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors")
}

/// The name that gRPC gives a code: `InvalidArgument` is `INVALID_ARGUMENT`.
fn code_name(reason: Reason) -> String {
    let mut name = String::new();
    for c in format!("{:?}", code_of(reason)).chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[test]
fn every_reason_has_a_page_that_is_true() {
    for reason in Reason::ALL {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(page_of(reason));
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(page.starts_with(&format!("# {reason}\n")), "{reason}: title");
        for section in ["## What it means", "## An example", "## What to do", "## May it be retried?"] {
            let (_, text) = page.split_once(section).unwrap_or_else(|| panic!("{reason}: no section {section}"));
            assert!(text.trim_start().split("\n## ").next().unwrap().len() > 20, "{reason}: {section} is empty");
        }
        assert!(page.contains(&format!("| `{}` ({}) |", code_name(reason), code_of(reason) as i32)), "{reason}: code");
        let answer = page.split_once("## May it be retried?").unwrap().1.trim_start();
        let delay = retry_after_of(reason);
        assert_eq!(answer.starts_with("Yes"), delay.is_some(), "{reason}: {answer}");
        let row = delay.map_or("no |".to_owned(), |delay| format!("yes, {} ms", delay.as_millis()));
        assert!(page.contains(&format!("| {row}")), "{reason}: {row}");
    }
}

#[test]
fn no_page_is_orphaned() {
    let pages: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let expected: BTreeSet<String> = Reason::ALL.iter().map(|reason| format!("{reason}.md")).collect();
    assert_eq!(pages, expected);
}

#[test]
fn the_index_lists_every_reason_once() {
    let index = fs::read_to_string(folder().join("README.md")).unwrap();
    for reason in Reason::ALL {
        let retry = if retry_after_of(reason).is_some() { "yes" } else { "no" };
        let row = format!("| [{reason}]({reason}.md) | `{}` | {retry} |", code_name(reason));
        assert_eq!(index.matches(&row).count(), 1, "{row}");
    }
    assert_eq!(index.matches(".md) |").count(), Reason::ALL.len());
}
