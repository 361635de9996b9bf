//! What the sender wrote down: everything that it sent, before it sent it, and every answer.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Stream};

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// An event, before it is sent for the first time.
    Event(Event),
    /// A call, before it is made.
    Send {
        /// Its number.
        call: u64,
        /// When, in milliseconds since the Unix epoch.
        at_ms: i64,
        /// The process that it goes to.
        to: String,
        /// Numbers of the events, in order.
        events: Vec<u64>,
    },
    /// What was answered.
    Answer {
        /// The call's number.
        call: u64,
        /// When, in milliseconds since the Unix epoch.
        at_ms: i64,
        /// One for each event, in order.
        outcomes: Vec<Outcome>,
    },
    /// No answer came, or one for the call as a whole: what became of its events is not known.
    Unanswered {
        /// The call's number.
        call: u64,
        /// When, in milliseconds since the Unix epoch.
        at_ms: i64,
        /// What came instead.
        why: String,
    },
}

/// What was answered of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Acknowledged, at this partition and offset.
    At(i32, i64),
    /// Refused for good, with the reason.
    Refused(String),
    /// To be sent again, with the reason.
    Again(String),
}

/// A file of JSON lines that is only ever added to. A line is with the operating system before the call returns.
pub struct Lines {
    file: Mutex<File>,
}

/// A journal as it is read back.
#[derive(Debug, Default)]
pub struct Journal {
    /// Every event, by its number.
    pub events: Vec<Event>,
    /// How often each event was sent.
    pub sends: Vec<u32>,
    /// Every acknowledgement, in the order in which they came.
    pub acks: Vec<Ack>,
    /// Every refusal: the event's number and the reason.
    pub refusals: Vec<(u64, String)>,
    /// Calls in all.
    pub calls: usize,
    /// Calls whose answer never came.
    pub unanswered: usize,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The event's number.
    pub n: u64,
    /// Where it is.
    pub partition: i32,
    /// Where it is within the partition.
    pub offset: i64,
}

impl Lines {
    /// A new file.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Adds lines.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn add(&self, lines: &[impl Serialize]) -> Result<()> {
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes).context("a line was not written")
    }
}

/// Every line of such a file.
///
/// # Errors
/// Where it cannot be read, or a line is something else.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut all = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line?;
        all.push(serde_json::from_str(&line).with_context(|| format!("{}:{number}: {line}", path.display()))?);
    }
    Ok(all)
}

impl Journal {
    /// Reads a journal.
    ///
    /// # Errors
    /// Where it cannot be read, or does not fit together.
    pub fn read(path: &Path) -> Result<Self> {
        Self::of(read_lines(path)?)
    }

    /// A journal of these lines.
    ///
    /// # Errors
    /// Where they do not fit together: an answer to nothing, or an event that was sent before it was written down.
    pub fn of(lines: Vec<Line>) -> Result<Self> {
        let mut journal = Self::default();
        let mut open: HashMap<u64, Vec<u64>> = HashMap::new();
        for line in lines {
            match line {
                Line::Event(event) => {
                    ensure!(event.n == journal.events.len() as u64, "event {} is out of order", event.n);
                    journal.events.push(event);
                    journal.sends.push(0);
                }
                Line::Send { call, events, .. } => {
                    for n in &events {
                        let sends = journal.sends.get_mut(usize::try_from(*n)?);
                        *sends.with_context(|| format!("call {call}: event {n} was not written down"))? += 1;
                    }
                    journal.calls += 1;
                    ensure!(open.insert(call, events).is_none(), "call {call} was made twice");
                }
                Line::Answer { call, outcomes, .. } => {
                    let events = open.remove(&call).with_context(|| format!("an answer to no call {call}"))?;
                    ensure!(events.len() == outcomes.len(), "call {call}: {} answers", outcomes.len());
                    for (n, outcome) in events.into_iter().zip(outcomes) {
                        match outcome {
                            Outcome::At(partition, offset) => journal.acks.push(Ack { n, partition, offset }),
                            Outcome::Refused(reason) => journal.refusals.push((n, reason)),
                            Outcome::Again(_) => {}
                        }
                    }
                }
                Line::Unanswered { call, .. } => {
                    open.remove(&call).with_context(|| format!("no answer to no call {call}"))?;
                    journal.unanswered += 1;
                }
            }
        }
        journal.unanswered += open.len();
        Ok(journal)
    }

    /// The event of that number.
    pub fn event(&self, n: u64) -> &Event {
        // `of` has looked at every number.
        &self.events[n as usize]
    }

    /// Every event by what identifies it.
    pub fn by_identity(&self) -> HashMap<(Stream, &str, i64), &Event> {
        self.events.iter().map(|event| ((event.stream, event.id.as_str(), event.time_us), event)).collect()
    }
}
