use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Violations of one kind that are shown.
pub const SHOWN_MAX: usize = 20;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Invariant {
    /// What was acknowledged is in a place.
    I1Lost,
    /// Nothing is in two.
    I2Doubled,
    /// Nothing is there that was not sent.
    I3Unsent,
    /// Statistics are what one computes oneself.
    I4Statistics,
    /// The first ten page views of a user and second count, the others do not.
    I4Verdicts,
    /// Offsets: Kafka's not ahead of Postgres's, ranges without overlap or hole, epochs that only grow.
    I6Offsets,
    /// What has one key has one partition, and offsets in the order of the acknowledgements.
    I7Order,
    /// Recovery within the bound.
    I9Recovery,
    /// Descriptors, tasks and queues as before; memory flat.
    I10Machine,
}

/// Everything that does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// How many there are of each kind, and the first of them.
    pub violations: BTreeMap<Invariant, (usize, Vec<String>)>,
    /// What there was.
    pub summary: Summary,
    /// What could not be judged, and why.
    pub not_judged: Vec<String>,
}

/// How much there was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Events that were made up.
    pub events: usize,
    /// Records that were sent: an event may be sent several times.
    pub sends: usize,
    /// Calls that were made.
    pub calls: usize,
    /// Calls whose answer never came.
    pub unanswered: usize,
    /// Events that were acknowledged.
    pub acknowledged: usize,
    /// Acknowledgements.
    pub acknowledgements: usize,
    /// Records that ingest refused.
    pub refused: usize,
    /// Rows that count.
    pub counted: usize,
    /// Rows that are flagged.
    pub flagged: usize,
    /// Dead letters.
    pub dead: usize,
    /// Records of events that were stored before.
    pub duplicates: usize,
    /// Records of events that are there more often than they were sent.
    pub more_than_sent: usize,
    /// Batches that Postgres remembers.
    pub batches: usize,
    /// How often a partition was taken.
    pub epochs: i64,
    /// Answers of GetStats that were computed anew.
    pub answers: usize,
}

impl Findings {
    /// Takes in that something does not hold.
    pub fn add(&mut self, invariant: Invariant, text: impl fmt::Display) {
        let (count, shown) = self.violations.entry(invariant).or_default();
        *count += 1;
        if shown.len() < SHOWN_MAX {
            shown.push(text.to_string());
        }
    }

    /// How many there are of a kind.
    pub fn count(&self, invariant: Invariant) -> usize {
        self.violations.get(&invariant).map_or(0, |(count, _)| *count)
    }

    /// Whether everything holds.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl Invariant {
    /// What it is called in reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::I1Lost => "I1 lost",
            Self::I2Doubled => "I2 doubled",
            Self::I3Unsent => "I3 unsent",
            Self::I4Statistics => "I4 statistics",
            Self::I4Verdicts => "I4 verdicts",
            Self::I6Offsets => "I6 offsets",
            Self::I7Order => "I7 order",
            Self::I9Recovery => "I9 recovery",
            Self::I10Machine => "I10 machine",
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { events, sends, calls, unanswered, acknowledged, acknowledgements, refused, .. } = &self.summary;
        let Summary { counted, flagged, dead, duplicates, batches, epochs, answers, .. } = &self.summary;
        writeln!(
            f,
            "sent: {events} events in {sends} records and {calls} calls, {unanswered} of them without an answer"
        )?;
        writeln!(f, "acknowledged: {acknowledged} events in {acknowledgements} records; refused: {refused} records")?;
        writeln!(f, "found: {counted} counted, {flagged} flagged, {dead} dead, {duplicates} duplicates")?;
        writeln!(f, "computed anew: {batches} batches under {epochs} epochs, {answers} answers of GetStats")?;
        for reason in &self.not_judged {
            writeln!(f, "not judged: {reason}")?;
        }
        for (invariant, (count, shown)) in &self.violations {
            writeln!(f, "\n{}: {count} violations", invariant.title())?;
            for text in shown {
                writeln!(f, "  {text}")?;
            }
            if *count > shown.len() {
                writeln!(f, "  and {} more", count - shown.len())?;
            }
        }
        if self.is_clean() { writeln!(f, "everything holds") } else { Ok(()) }
    }
}
