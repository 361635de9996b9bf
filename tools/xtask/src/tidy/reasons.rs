//! Each reason that a call can fail for has a page, and each page is of a reason.

use std::collections::BTreeSet;

/// Where the reasons are declared.
pub(super) const CONTRACT: &str = "proto/headwater/error/v1/error.proto";
const PAGES: &str = "docs/errors/";
/// Never sent, so it has no page.
const UNSPECIFIED: &str = "UNSPECIFIED";

/// Compares the reasons of the contract's text with the names of the pages among `files`.
pub(super) fn check(contract: &str, files: &[&str], findings: &mut Vec<String>) {
    let reasons: BTreeSet<&str> = contract
        .lines()
        .filter_map(|line| line.trim().strip_prefix("REASON_")?.split_once(" = "))
        .map(|(reason, _)| reason)
        .filter(|reason| *reason != UNSPECIFIED)
        .collect();
    let pages: BTreeSet<&str> = files
        .iter()
        .filter_map(|path| path.strip_prefix(PAGES)?.strip_suffix(".md"))
        .filter(|page| *page != "README")
        .collect();
    if reasons.is_empty() {
        findings.push(format!("{CONTRACT}: no reason is found in it"));
    }
    for reason in reasons.difference(&pages) {
        findings.push(format!("{CONTRACT}: {reason} has no page {PAGES}{reason}.md"));
    }
    for page in pages.difference(&reasons) {
        findings.push(format!("{PAGES}{page}.md: there is no such reason in {CONTRACT}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_page_and_a_page_too_many_are_found() {
        let contract = "  REASON_UNSPECIFIED = 0;\n  REASON_A = 1;\n  REASON_B = 2;\n";
        let mut findings = Vec::new();
        check(contract, &["docs/errors/A.md", "docs/errors/C.md", "docs/errors/README.md", "a.rs"], &mut findings);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].contains("B has no page") && findings[1].starts_with("docs/errors/C.md"), "{findings:?}");
    }
}
