//! House rules that no linter knows. Each finding is one line: file, line, what is wrong.

mod links;
mod reasons;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::contracts::git;
use crate::test_run::path_with_tools;

/// A file is one idea. Some 400 lines are a lot; here it ends.
const LINES_MAX: usize = 500;
/// Endings of source files, which the rules on source hold for.
const SOURCE: [&str; 7] = ["rs", "py", "scala", "ts", "tsx", "sh", "sql"];
/// Names of files and folders that say nothing of what is in them.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "misc", "types"];
/// Checks every file that is committed or about to be.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let listed = git(root, &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    let mut findings = Vec::new();
    let mut scripts = Vec::new();
    let mut files = 0;
    for path in listed.lines() {
        // Removed in the work tree, or not text.
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        files += 1;
        check_file(path, &text, &mut findings);
        if path.ends_with(".md") {
            links::check(root, path, &text, &mut findings);
        }
        if text.starts_with("#!") && text.lines().next().is_some_and(|line| line.ends_with("sh")) {
            scripts.push(path);
        }
    }
    let contract = fs::read_to_string(root.join(reasons::CONTRACT))?;
    reasons::check(&contract, &listed.lines().collect::<Vec<_>>(), &mut findings);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    shellcheck(root, &scripts)?;
    println!("tidy: {files} files and {} shell scripts are in order", scripts.len());
    Ok(ExitCode::SUCCESS)
}

fn check_file(path: &str, text: &str, findings: &mut Vec<String>) {
    let vendored = path.starts_with("third_party/");
    let generated = path.contains("/generated/") || vendored;
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    if path.ends_with(".lock") || path.ends_with("-lock.json") {
        check_lock(path, text, findings);
        return;
    }
    if generated {
        return;
    }
    if SOURCE.contains(&ending) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{path}: {lines} lines, more than {LINES_MAX}: look for the second idea in it"));
        }
        let stem = path.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) {
            findings.push(format!("{path}: '{stem}' does not say what is in it"));
        }
    }
    if path.ends_with("Cargo.toml") && text.contains("[package]") && !text.contains("[lints]\nworkspace = true") {
        findings.push(format!("{path}: without `[lints] workspace = true` the workspace's lints do not hold"));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(format!("{path}: the last line does not end"));
    }
    let markdown = ending == "md";
    for (number, line) in (1..).zip(text.lines()) {
        if !markdown && line.ends_with([' ', '\t']) {
            findings.push(format!("{path}:{number}: ends with blanks"));
        }
        if let Some(word) = unfinished(line) {
            findings.push(format!("{path}:{number}: {word}: finish it, or say it in an issue"));
        }
        if let Some(folder) = machine_path(line) {
            findings.push(format!("{path}:{number}: {folder} is a path of one machine"));
        }
    }
}

/// Lock files must not name a registry that only some machine has.
fn check_lock(path: &str, text: &str, findings: &mut Vec<String>) {
    if path.ends_with("Cargo.lock") {
        let mut sources = text.lines().filter(|line| line.starts_with("source = "));
        let first = sources.next();
        if sources.any(|line| Some(line) != first) {
            findings.push(format!("{path}: packages come from more than one registry"));
        }
    } else if text.contains("\"resolved\"") {
        findings.push(format!("{path}: names a registry: set `omit-lockfile-registry-resolved=true` in .npmrc"));
    }
}

/// Words for what is left to do. Split here, so that this file does not find itself.
fn unfinished(line: &str) -> Option<&'static str> {
    [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ]
    .into_iter()
    .find(|word| line.contains(word))
}

/// A folder that only the machine of whoever wrote the line has.
fn machine_path(line: &str) -> Option<&'static str> {
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")].into_iter().find(
        |folder| {
            line.match_indices(folder).any(|(at, _)| {
                // Not in the middle of a path or an address.
                let before = line[..at].chars().next_back();
                before.is_none_or(|before| !before.is_alphanumeric() && !"._-}/~".contains(before))
            })
        },
    )
}

fn shellcheck(root: &Path, scripts: &[&str]) -> Result<()> {
    let status = Command::new("shellcheck")
        .arg("--external-sources")
        .args(scripts)
        .current_dir(root)
        .env("PATH", path_with_tools())
        .status()
        .context("shellcheck cannot be started: run `tools/setup shellcheck`")?;
    if !status.success() {
        bail!("tidy: shellcheck found the above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check_file(path, text, &mut findings);
        findings
    }

    #[test]
    fn a_file_in_order_has_no_findings() {
        assert_eq!(findings("crates/a/src/lib.rs", "//! A crate.\n"), Vec::<String>::new());
    }

    #[test]
    fn each_rule_finds_what_it_is_for() {
        let long = "\n".repeat(LINES_MAX + 1);
        for (path, text) in [
            ("a/long.rs", long.as_str()),
            ("a/utils.rs", "fn a() {}\n"),
            ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
            ("a/end.rs", "fn a() {}"),
            ("a/blanks.rs", "fn a() {} \n"),
            ("a/later.rs", concat!("fn a() { to", "do!() }\n")),
            ("a/later.py", concat!("# TO", "DO: more\n")),
            ("a/path.md", concat!("Look into /ro", "ot/somewhere.\n")),
            ("Cargo.lock", "source = \"registry+a\"\nsource = \"registry+b\"\n"),
            ("package-lock.json", "\"resolved\": \"https://mirror.example/a.tgz\"\n"),
        ] {
            assert_eq!(findings(path, text).len(), 1, "{path}: {:?}", findings(path, text));
        }
    }

    #[test]
    fn what_only_looks_like_a_finding_is_none() {
        for (path, text) in [
            ("a/generated/v1.rs", "\n".repeat(LINES_MAX + 1).as_str()),
            ("a/url.md", concat!("See example.org/wo", "rk/a and ~/wo", "rk/b.\n")),
            ("Cargo.lock", "source = \"registry+a\"\nsource = \"registry+a\"\n"),
            ("package-lock.json", "\"integrity\": \"sha512-a\"\n"),
        ] {
            assert_eq!(findings(path, text), Vec::<String>::new());
        }
    }
}
