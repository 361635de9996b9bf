//! Links of the documentation: each leads to a file of the repository, and to a heading that is in it.

use std::fs;
use std::path::{Path, PathBuf};

/// Checks the links of one Markdown file. Links to other hosts are not followed.
pub(super) fn check(root: &Path, path: &str, text: &str, findings: &mut Vec<String>) {
    for (number, target) in targets(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, heading) = target.split_once('#').unwrap_or((target.as_str(), ""));
        let linked = if file.is_empty() {
            root.join(path)
        } else if let Some(from_root) = file.strip_prefix('/') {
            root.join(from_root)
        } else {
            root.join(path).parent().map_or_else(PathBuf::new, |folder| folder.join(file))
        };
        if !file.is_empty() && !linked.exists() {
            findings.push(format!("{path}:{number}: there is no {file}"));
        } else if !heading.is_empty() && (file.is_empty() || file.ends_with(".md")) {
            let linked = if file.is_empty() { text.to_owned() } else { fs::read_to_string(linked).unwrap_or_default() };
            if !headings(&linked).any(|known| known == heading) {
                findings.push(format!("{path}:{number}: there is no heading #{heading}"));
            }
        }
    }
}

/// The targets of `[text](target)` and `[name]: target`, with their lines, outside of code.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in outside_code(text) {
        // Code in a line: every second piece between backticks.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for (at, _) in prose.match_indices("](") {
            let rest = &prose[at + 2..];
            if let Some(end) = rest.find([')', ' ']) {
                found.push((number, rest[..end].to_owned()));
            }
        }
        if prose.starts_with('[')
            && let Some((_, target)) = prose.split_once("]: ")
        {
            found.push((number, target.split_whitespace().next().unwrap_or_default().to_owned()));
        }
    }
    found
}

/// The anchors of a file's headings, in the spelling that hosts of Markdown give them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    outside_code(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        line.trim_start_matches('#')
            .trim()
            .to_lowercase()
            .chars()
            .filter(|sign| sign.is_alphanumeric() || " -_".contains(*sign))
            .map(|sign| if sign == ' ' { '-' } else { sign })
            .collect()
    })
}

fn outside_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn dead_links_are_found_and_live_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(root.path().join("docs/b.md"), "# The one: heading\n").unwrap();
        let text = "[a](b.md) [b](b.md#the-one-heading) [c](/docs/b.md) [d](https://example.org/x) `[e](no.md)`\n\
                    ```\n[f](no.md)\n```\n\
                    [g](no.md)\n[h](b.md#none)\n[i]: gone.md\n[j](#nowhere)\n";
        let mut findings = Vec::new();
        check(root.path(), "docs/a.md", text, &mut findings);
        assert_eq!(
            findings,
            [
                "docs/a.md:5: there is no no.md",
                "docs/a.md:6: there is no heading #none",
                "docs/a.md:7: there is no gone.md",
                "docs/a.md:8: there is no heading #nowhere",
            ]
        );
    }
}
