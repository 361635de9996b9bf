//! What the driver measured while it broke things.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::event::Stream;
use crate::journal::read_lines;

/// A line of the file of measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Something was broken.
    Fault {
        /// Its number within the run, from 1.
        number: usize,
        /// Its kind.
        kind: String,
        /// When, in milliseconds since the Unix epoch.
        at_ms: i64,
        /// What exactly was done.
        detail: String,
    },
    /// How long it took until what was published after a fault was counted.
    Recovery {
        /// The fault's number.
        number: usize,
        /// The fault's kind.
        kind: String,
        /// From what moment on it is measured.
        since: String,
        /// How long it took, in milliseconds. None: it was given up.
        took_ms: Option<u64>,
        /// How long it may take.
        bound_ms: u64,
        /// What was wrong at last, where it was given up.
        why: String,
    },
    /// A process of the platform at a moment.
    Process(Sample),
    /// Kafka's committed offset, read first, and Postgres's, read after it.
    Hint {
        /// When, in milliseconds since the Unix epoch.
        at_ms: i64,
        /// The stream.
        stream: Stream,
        /// The partition.
        partition: i32,
        /// What Kafka has.
        committed: i64,
        /// What Postgres has.
        next: i64,
    },
}

/// A process of the platform at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Which moment.
    pub moment: Moment,
    /// Its name, for example "processor-2".
    pub name: String,
    /// Its role.
    pub role: String,
    /// Its process id: another after each restart.
    pub pid: u32,
    /// Memory in use, in KiB.
    pub rss_kib: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Tasks of its runtime, where it tells.
    pub tasks: Option<u64>,
    /// Calls and records that wait in it, where it tells.
    pub queued: Option<u64>,
}

/// When a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Everything has started and counted something; nothing is sent.
    Before,
    /// While events are sent.
    Under,
    /// Everything is counted; nothing is sent any more.
    After,
}

/// Everything in such a file.
///
/// # Errors
/// Where it cannot be read, or a line is something else.
pub fn read(path: &Path) -> Result<Vec<Measure>> {
    read_lines(path)
}
