//! Contracts to Rust. The output is committed, so that a build needs neither protoc nor a build script.
//!
//! One file per package, in folders named like the package without its first part: `headwater.stream.v1` is
//! `generated/stream/v1.rs`. Beside them lies `descriptors.bin`, the encoded set of all files as protox made it: custom
//! options, comments and imports are still in it, which prost's own descriptor types would lose.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

/// Packages of this prefix get Rust code; the rest (`google.protobuf`, `buf.validate`) are only imported.
const OWN_PREFIX: &str = "headwater.";
const OUTPUT: &str = "crates/contracts/src/generated";
const INCLUDES: [&str; 2] = ["proto", "third_party/proto"];
const HEADER: &str = "// Generated from proto/ by `cargo xtask codegen`. Change the contract, not this file.\n\n";

/// Writes the generated code below `root`, or with `check` only compares it with what is there.
pub(crate) fn run(root: &Path, check: bool) -> Result<ExitCode> {
    let wanted = generate(root)?;
    let output = root.join(OUTPUT);
    let present = read_tree(&output)?;
    let changed: Vec<&PathBuf> = wanted
        .keys()
        .chain(present.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|path| wanted.get(*path) != present.get(*path))
        .collect();
    if check {
        if changed.is_empty() {
            println!("codegen: {OUTPUT} is what the contracts say");
            return Ok(ExitCode::SUCCESS);
        }
        for path in changed {
            eprintln!("codegen: {OUTPUT}/{} differs from what the contracts say", path.display());
        }
        bail!("the generated code is not up to date: run `cargo xtask codegen` and commit {OUTPUT}");
    }
    for path in &changed {
        let target = output.join(path);
        match wanted.get(*path) {
            Some(content) => {
                let folder = target.parent().context("a generated file lies in a folder")?;
                fs::create_dir_all(folder)?;
                // Only what changed is written, so that a second run rebuilds nothing.
                fs::write(&target, content).with_context(|| format!("cannot write {}", target.display()))?;
            }
            None => fs::remove_file(&target).with_context(|| format!("cannot remove {}", target.display()))?,
        }
    }
    println!("codegen: {} files, {} changed", wanted.len(), changed.len());
    Ok(ExitCode::SUCCESS)
}

/// Everything that belongs into the output folder, by path relative to it.
fn generate(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut compiler = protox::Compiler::new(INCLUDES.map(|include| root.join(include)))?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(proto_files(&root.join("proto"))?)?;

    let mut set = compiler.file_descriptor_set();
    set.file.retain(|file| file.package().starts_with(OWN_PREFIX) || file.package() == "google.protobuf");
    let packages: BTreeSet<String> =
        set.file.iter().map(|file| file.package().to_owned()).filter(|name| name.starts_with(OWN_PREFIX)).collect();

    let work = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .out_dir(work.path())
        .build_client(true)
        .build_server(true)
        .emit_rerun_if_changed(false)
        // Values of the cache are handed on without being copied.
        .bytes(".headwater.cache.v1")
        .compile_fds(set)
        .context("prost cannot make code of the contracts")?;

    let tree = work.path().join("tree");
    for package in &packages {
        let made = work.path().join(format!("{package}.rs"));
        // A package of options only has nothing to generate.
        let code = if made.exists() { fs::read_to_string(&made)? } else { String::new() };
        let target = tree.join(module_path(package)).with_extension("rs");
        fs::create_dir_all(target.parent().context("a generated file lies in a folder")?)?;
        fs::write(target, format!("{HEADER}{code}"))?;
    }
    fs::write(tree.join("mod.rs"), module_tree(&packages))?;
    rustfmt(root, &tree.join("mod.rs"))?;

    let mut files = read_tree(&tree)?;
    files.insert(PathBuf::from("descriptors.bin"), compiler.encode_file_descriptor_set());
    Ok(files)
}

/// `headwater.stream.v1` → `stream/v1`.
fn module_path(package: &str) -> PathBuf {
    package.split('.').skip(1).collect()
}

/// The `mod.rs` that declares the packages, nested as their names are: prost's references between packages rely on it.
fn module_tree(packages: &BTreeSet<String>) -> String {
    let mut text = String::from(HEADER);
    text.push_str(concat!(
        "#![allow(\n",
        "    missing_docs,\n",
        "    unreachable_pub,\n",
        "    unused_qualifications,\n",
        "    rustdoc::all,\n",
        "    clippy::all,\n",
        "    clippy::allow_attributes_without_reason,\n",
        "    reason = \"generated: prost and tonic decide how it is written, the comments are the contracts'\"\n",
        ")]\n\n",
    ));
    let mut open: Vec<&str> = Vec::new();
    for package in packages {
        let parts: Vec<&str> = package.split('.').skip(1).collect();
        let Some((leaf, parents)) = parts.split_last() else { continue };
        let shared = open.iter().zip(parents).take_while(|(a, b)| a == b).count();
        for _ in shared..open.len() {
            text.push_str("}\n");
        }
        open.truncate(shared);
        for parent in &parents[shared..] {
            text.push_str(&format!("/// Packages of `headwater.{parent}`.\npub mod {parent} {{\n"));
            open.push(parent);
        }
        text.push_str(&format!("/// Package `{package}`.\npub mod {leaf};\n"));
    }
    for _ in open {
        text.push_str("}\n");
    }
    text
}

/// Formats a file and the modules that it declares.
fn rustfmt(root: &Path, file: &Path) -> Result<()> {
    let status = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root.join("rustfmt.toml"))
        .arg(file)
        .status()
        .context("rustfmt cannot be started: run `tools/setup rustfmt`")?;
    ensure!(status.success(), "rustfmt refused {}", file.display());
    Ok(())
}

/// Every `.proto` below `folder`, sorted, so that the output does not depend on the file system.
fn proto_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = read_paths(folder)?;
    Ok(files.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "proto")).collect())
}

fn read_tree(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    if !folder.exists() {
        return Ok(BTreeMap::new());
    }
    read_paths(folder)?.into_iter().map(|path| Ok((path.strip_prefix(folder)?.to_owned(), fs::read(&path)?))).collect()
}

fn read_paths(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
