//! `headwater contracts export`: what a contract of one's own imports.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::ArgMatches;

/// The files, by the name under which they are imported.
const FILES: [(&str, &str); 2] = [
    ("headwater/stream/v1/stream.proto", include_str!("../../../proto/headwater/stream/v1/stream.proto")),
    ("buf/validate/validate.proto", include_str!("../../../third_party/proto/buf/validate/validate.proto")),
];

/// Writes the files into a folder, over what is there by their names.
pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let folder = matches
        .subcommand()
        .and_then(|(_, matches)| matches.get_one::<PathBuf>("dir"))
        .context("give the folder to write to")?;
    for (name, text) in FILES {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
