//! Redis as it was at an earlier moment.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::redis::Redis;

/// The file that `SAVE` writes, in the server's folder.
const FILE: &str = "dump.rdb";

impl Redis {
    /// Writes everything that the server holds now into a file. Only of a server with the setting `appendonly` as `no`:
    /// another one reads its other file when it starts.
    ///
    /// # Errors
    /// Where the server does not answer, or the file cannot be written.
    pub fn copy_to(&self, file: &Path) -> Result<()> {
        self.ask("SAVE")?;
        let written = self.copied_file();
        fs::copy(&written, file).with_context(|| format!("cannot copy {} to {}", written.display(), file.display()))?;
        fs::remove_file(&written)?;
        Ok(())
    }

    /// Kills the server and starts it again with what [`Self::copy_to`] had written.
    ///
    /// # Errors
    /// Where it does not run, or does not start, or reads another file.
    pub fn go_back_to(&mut self, file: &Path) -> Result<()> {
        ensure!(self.ask("DBSIZE")?.is_some(), "Redis does not answer");
        self.kill()?;
        fs::copy(file, self.copied_file()).with_context(|| format!("cannot copy {}", file.display()))?;
        self.restart()?;
        fs::remove_file(self.copied_file())?;
        Ok(())
    }

    fn copied_file(&self) -> PathBuf {
        self.dir().join(FILE)
    }
}
