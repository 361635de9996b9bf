use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};

use super::Line;

/// A history that is being made: a file, and the clock of all who write into it.
pub struct Recorder {
    began: Instant,
    file: Mutex<BufWriter<File>>,
}

impl Recorder {
    /// Makes the file; the clock begins now.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { began: Instant::now(), file: Mutex::new(BufWriter::new(file)) })
    }

    /// Microseconds since the history began.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn add(&self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text).context("the history")
    }

    /// Leaves everything that was added to the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&self) -> Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).flush().context("the history")
    }
}

/// Everything in a file.
///
/// # Errors
/// Where it cannot be read, or a line is something else.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(|| format!("{}:{number}", path.display()))?;
        let line = serde_json::from_str(&line).with_context(|| format!("{}:{number}: no such line", path.display()))?;
        lines.push(line);
    }
    Ok(lines)
}
