use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::time::Instant;

use super::Line;

/// A history that is being made, and the clock of all who write into it.
pub struct Recorder {
    began: Instant,
    /// The next time that may be told.
    next_us: AtomicU64,
    lines: Mutex<Lines>,
}

enum Lines {
    File(BufWriter<File>),
    Memory(Vec<Line>),
}

impl Recorder {
    /// Makes a file; the clock begins now.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self {
            began: Instant::now(),
            next_us: AtomicU64::new(1),
            lines: Mutex::new(Lines::File(BufWriter::new(file))),
        })
    }

    /// Keeps it in memory; the clock begins now, and is the runtime's, paused or not.
    pub fn in_memory() -> Self {
        Self { began: Instant::now(), next_us: AtomicU64::new(1), lines: Mutex::new(Lines::Memory(Vec::new())) }
    }

    /// Microseconds since the history began. No time is told twice: what is asked for later is later, also where the clock
    /// stands still meanwhile.
    pub fn now_us(&self) -> u64 {
        let now_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let later = |next_us: u64| Some(next_us.max(now_us) + 1);
        self.next_us
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, later)
            .map_or(now_us, |next_us| next_us.max(now_us))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn add(&self, line: &Line) -> Result<()> {
        match &mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner) {
            Lines::Memory(lines) => lines.push(line.clone()),
            Lines::File(file) => {
                let mut text = serde_json::to_vec(line)?;
                text.push(b'\n');
                file.write_all(&text).context("the history")?;
            }
        }
        Ok(())
    }

    /// Leaves everything that was added to the file, or gives what was kept in memory and forgets it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(&self) -> Result<Vec<Line>> {
        match &mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner) {
            Lines::Memory(lines) => Ok(std::mem::take(lines)),
            Lines::File(file) => file.flush().context("the history").map(|()| Vec::new()),
        }
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
