//! A disk that is soon full: a tmpfs with a bound.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// What the ballast is written by.
const CHUNK_BYTES: usize = 64 * 1024;
/// Linux's code of a disk without space.
const NO_SPACE: i32 = 28;

/// A small disk of its own, mounted until it is dropped. Servers that use it are dropped before.
pub struct SmallDisk {
    mounted: TempDir,
}

impl SmallDisk {
    /// Mounts a disk of that size, which belongs to the user with these ids where they are given.
    ///
    /// # Errors
    /// Where this process may not mount: it needs root, or in a container CAP_SYS_ADMIN.
    pub fn mount(mebibytes: u32, owner: Option<(u32, u32)>) -> Result<Self> {
        let mounted = tempfile::Builder::new().prefix("headwater-small-disk-").tempdir()?;
        let size = format!("size={mebibytes}m,mode=0755");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(mounted.path()).output()?;
        ensure!(
            output.status.success(),
            "a small disk cannot be mounted: this test needs root, and in a container CAP_SYS_ADMIN (docker run \
             --cap-add SYS_ADMIN): {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let disk = Self { mounted };
        fs::create_dir(disk.folder())?;
        fs::set_permissions(disk.folder(), Permissions::from_mode(0o700))?;
        if let Some((uid, gid)) = owner {
            chown(disk.folder(), Some(uid), Some(gid))?;
        }
        Ok(disk)
    }

    /// An empty folder on it.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.mounted.path().join("data")
    }

    /// Writes until nothing more fits.
    ///
    /// # Errors
    /// Where writing fails for another reason.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.ballast())?;
        let mut chunk = CHUNK_BYTES;
        loop {
            match file.write_all(&vec![0; chunk]) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(NO_SPACE) && chunk > 1 => chunk /= 2,
                Err(error) if error.raw_os_error() == Some(NO_SPACE) => return Ok(()),
                Err(error) => bail!(error),
            }
        }
    }

    /// Removes what `fill` wrote.
    ///
    /// # Errors
    /// Where there is nothing to remove.
    pub fn empty(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("the disk was not filled")
    }

    fn ballast(&self) -> PathBuf {
        self.mounted.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.mounted.path());
    }
}

/// Lazily: whatever still has a file open on it keeps it until then.
fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("-l").arg(path).status();
}
