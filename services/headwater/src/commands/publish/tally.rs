use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use headwater_client::Ack;
use headwater_client::v1::error::Reason;
use headwater_client::v1::ingest::record_result::Result as Outcome;
use headwater_client::v1::ingest::{RecordResult, Rejected};
use headwater_domain::ConsistencyToken;
use indicatif::ProgressBar;
use serde_json::json;

use super::convert::LineDefect;
use super::read::BatchLines;
use crate::commands::console::Console;
use crate::commands::quantities::grouped;

/// Refused lines that are told of one by one.
const TOLD_MAX: u64 = 100;

/// Counts what became of each line, and says why of those that were refused.
pub(super) struct Tally {
    file: String,
    stream: String,
    all_errors: bool,
    bar: ProgressBar,
    started: Instant,
    batches: BTreeMap<u64, BatchLines>,
    pub(super) refused: u64,
    /// Lines whose record was tried as often as allowed, in vain.
    pub(super) unacknowledged: u64,
    lines: u64,
    accepted: u64,
    retried: u64,
    token: ConsistencyToken,
}

impl Tally {
    pub(super) fn new(file: String, stream: String, all_errors: bool, bar: ProgressBar) -> Self {
        Self {
            token: ConsistencyToken::new(&stream),
            file,
            stream,
            all_errors,
            bar,
            started: Instant::now(),
            batches: BTreeMap::new(),
            refused: 0,
            unacknowledged: 0,
            lines: 0,
            accepted: 0,
            retried: 0,
        }
    }

    /// Batches that have no answer yet.
    pub(super) fn waiting(&self) -> usize {
        self.batches.len()
    }

    pub(super) fn knows(&self, sequence: u64) -> bool {
        self.batches.contains_key(&sequence)
    }

    /// A batch was sent; without a number it had no records.
    pub(super) fn sent(&mut self, sequence: Option<u64>, lines: BatchLines, console: &mut Console) -> io::Result<()> {
        self.lines += (lines.of_records.len() + lines.defects.len()) as u64;
        match sequence {
            Some(sequence) => {
                self.batches.insert(sequence, lines);
                Ok(())
            }
            None => self.refuse(lines.defects, lines.bytes, console),
        }
    }

    pub(super) fn answered(&mut self, ack: Ack, console: &mut Console) -> io::Result<()> {
        let Some(batch) = self.batches.remove(&ack.sequence) else { return Ok(()) };
        self.retried += ack.resent as u64;
        let mut defects = batch.defects;
        for (line, result) in batch.of_records.into_iter().zip(ack.results) {
            match result.result {
                Some(Outcome::Accepted(at)) => {
                    self.accepted += 1;
                    self.token.add(at.partition, at.offset);
                }
                Some(Outcome::Rejected(rejected)) => defects.push((line, defect_of(rejected))),
                _ => {
                    self.unacknowledged += 1;
                    self.tell_unacknowledged(line, &result, console)?;
                }
            }
        }
        defects.sort_by_key(|(line, _)| *line);
        self.refuse(defects, batch.bytes, console)
    }

    fn refuse(&mut self, defects: Vec<(u64, LineDefect)>, bytes: u64, console: &mut Console) -> io::Result<()> {
        let mut text = String::new();
        for (line, defect) in defects {
            self.refused += 1;
            if self.all_errors || self.refused <= TOLD_MAX {
                let LineDefect { reason, field, description } = defect;
                let colon = if field.is_empty() { "" } else { ": " };
                text.push_str(&format!("{}:{line}: {reason} {field}{colon}{description}\n", self.file));
            }
        }
        self.bar.suspend(|| console.err.write_all(text.as_bytes()))?;
        self.bar.set_position(bytes.max(self.bar.position()));
        self.bar.set_message(format!("{} accepted, {} refused", grouped(self.accepted), grouped(self.refused)));
        Ok(())
    }

    fn tell_unacknowledged(&mut self, line: u64, result: &RecordResult, console: &mut Console) -> io::Result<()> {
        if !self.all_errors && self.unacknowledged > TOLD_MAX {
            return Ok(());
        }
        let (reason, detail) = match &result.result {
            Some(Outcome::Retry(retry)) => (reason_name(retry.reason()), retry.detail.as_str()),
            _ => ("INTERNAL", "the platform gave no result"),
        };
        let text = format!("{}:{line}: {reason} not acknowledged: {detail}\n", self.file);
        self.bar.suspend(|| console.err.write_all(text.as_bytes()))
    }

    /// Prints what was left out, and the summary.
    pub(super) fn finish(&self, interrupted: bool, as_json: bool, console: &mut Console) -> io::Result<()> {
        self.bar.finish_and_clear();
        for (count, what) in [(self.refused, "refused"), (self.unacknowledged, "not acknowledged")] {
            if !self.all_errors && count > TOLD_MAX {
                let more = grouped(count - TOLD_MAX);
                writeln!(console.err, "{}: {more} more lines {what} (--all-errors says why of each)", self.file)?;
            }
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let unanswered: usize = self.batches.values().map(|batch| batch.of_records.len()).sum();
        let open = self.unacknowledged + unanswered as u64;
        let rate = if seconds > 0.0 { self.lines as f64 / seconds } else { 0.0 };
        if as_json {
            let summary = json!({
                "file": self.file, "stream": self.stream, "lines": self.lines, "accepted": self.accepted,
                "refused": self.refused, "unacknowledged": open, "retried": self.retried, "seconds": seconds,
                "lines_per_s": rate, "interrupted": interrupted, "consistency_token": self.token.encode(),
            });
            return writeln!(console.out, "{summary}");
        }
        let ended = if interrupted { ", interrupted" } else { "" };
        writeln!(console.out, "{} to {}{ended}", self.file, self.stream)?;
        let counts =
            [("lines", self.lines), ("accepted", self.accepted), ("refused", self.refused), ("retried", self.retried)];
        for (name, count) in counts.into_iter().chain((open > 0).then_some(("unacknowledged", open))) {
            writeln!(console.out, "  {name:<14}{:>14}", grouped(count))?;
        }
        writeln!(console.out, "  {seconds:.2} s, {} lines/s", grouped(rate as u64))?;
        let token = self.token.encode();
        if !token.is_empty() {
            writeln!(console.out, "  to read what was counted with it: headwater stats get … --at-least {token}")?;
        }
        Ok(())
    }
}

fn defect_of(rejected: Rejected) -> LineDefect {
    let reason = reason_name(rejected.reason());
    match rejected.violations.into_iter().next() {
        Some(violation) => LineDefect::new(reason, &violation.field, violation.description),
        None => LineDefect::new(reason, "", rejected.detail),
    }
}

fn reason_name(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("REASON_")
}
