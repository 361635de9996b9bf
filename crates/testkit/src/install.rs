//! Where `tools/setup` put things.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folder that `tools/setup` installs into: `$HEADWATER_TOOLS`, else `.tools` at the root of the workspace.
#[must_use]
pub fn tools_dir() -> PathBuf {
    if let Some(folder) = std::env::var_os("HEADWATER_TOOLS") {
        return PathBuf::from(folder);
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).join(".tools")
}

/// A TCP port of 127.0.0.1 on which nothing listened a moment ago.
///
/// # Errors
/// Where the machine has none left.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A program by its name: in `.tools/bin`, else on the path.
pub(crate) fn program(name: &str, need: &str) -> Result<PathBuf> {
    let own = tools_dir().join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(own)
        .chain(std::env::split_paths(&path))
        // Debian keeps servers and setpriv out of a bare PATH.
        .chain(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: run `tools/setup {need}`"))
}

/// Something below `.tools`.
pub(crate) fn installed(path: &str, need: &str) -> Result<PathBuf> {
    let full = tools_dir().join(path);
    if !full.exists() {
        bail!("{} is missing: run `tools/setup {need}`", full.display());
    }
    Ok(full)
}
