//! The contracts' style, and that none of them breaks a client: `buf lint` and `buf breaking`.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::test_run::path_with_tools;

/// Runs buf on the contracts as they are, and against those of the last release (before the first release: as they were
/// first committed).
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    buf(root, &["lint"])?;
    let Some(base) = base(root)? else {
        println!("contracts: buf lint is clean; nothing is committed yet to compare with");
        return Ok(ExitCode::SUCCESS);
    };
    let old = tempfile::tempdir()?;
    unpack(root, &base, old.path())?;
    buf(root, &["breaking", "--against", &old.path().to_string_lossy()])?;
    println!("contracts: buf lint is clean, and nothing breaks clients of {base}");
    Ok(ExitCode::SUCCESS)
}

/// The last release, else the first commit that has contracts.
fn base(root: &Path) -> Result<Option<String>> {
    let tags = git(root, &["tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname"])?;
    if let Some(tag) = tags.lines().next() {
        return Ok(Some(tag.to_owned()));
    }
    let commits = git(root, &["log", "--reverse", "--format=%H", "--", "proto"])?;
    Ok(commits.lines().next().map(str::to_owned))
}

fn unpack(root: &Path, commit: &str, target: &Path) -> Result<()> {
    let mut archive = Command::new("git")
        .args(["archive", "--format=tar", commit, "buf.yaml", "proto", "third_party/proto"])
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()?;
    let tar = archive.stdout.take().context("git's output is piped")?;
    let unpacked = Command::new("tar").arg("-x").current_dir(target).stdin(tar).status()?;
    ensure!(archive.wait()?.success() && unpacked.success(), "the contracts of {commit} cannot be read");
    Ok(())
}

fn buf(root: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new("buf")
        .args(arguments)
        .current_dir(root)
        .env("PATH", path_with_tools())
        .status()
        .context("buf cannot be started: run `tools/setup buf`")?;
    if !status.success() {
        bail!("buf {} found the above", arguments[0]);
    }
    Ok(())
}

/// The output of a git command.
pub(crate) fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).current_dir(root).output().context("git cannot be started")?;
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
