//! What must hold of what was sent and what became of it. No I/O: journal, evidence and measures come in, findings go out.

mod figures;
mod findings;
mod machine;
mod order;
mod placement;
mod ranges;
mod verdicts;

use std::collections::HashSet;

pub use figures::{asks, window_start_ms};
pub use findings::{Findings, Invariant, SHOWN_MAX, Summary};
pub use machine::RSS_JUDGED_MS_MIN;

use crate::evidence::Evidence;
use crate::journal::Journal;
use crate::measures::Measure;

/// Holds everything against everything.
pub fn check(journal: &Journal, evidence: &Evidence, measures: &[Measure]) -> Findings {
    let mut findings = Findings::default();
    placement::check(journal, evidence, &mut findings);
    let flagged = verdicts::check(journal, evidence, &mut findings);
    figures::check(journal, evidence, &flagged, &mut findings);
    ranges::check(evidence, measures, &mut findings);
    order::check(journal, &mut findings);
    machine::check(measures, &mut findings);
    findings.summary = Summary { more_than_sent: findings.summary.more_than_sent, ..summary(journal, evidence) };
    findings
}

fn summary(journal: &Journal, evidence: &Evidence) -> Summary {
    let acknowledged: HashSet<u64> = journal.acks.iter().map(|ack| ack.n).collect();
    let flagged = evidence.stored.iter().filter(|row| row.flag.is_some()).count();
    Summary {
        events: journal.events.len(),
        sends: journal.sends.iter().map(|sends| *sends as usize).sum(),
        calls: journal.calls,
        unanswered: journal.unanswered,
        acknowledged: acknowledged.len(),
        acknowledgements: journal.acks.len(),
        refused: journal.refusals.len(),
        counted: evidence.stored.len() - flagged,
        flagged,
        dead: evidence.dead.len(),
        duplicates: evidence.duplicates.len(),
        more_than_sent: 0,
        batches: evidence.ranges.len(),
        epochs: evidence.positions.iter().map(|position| position.epoch).sum(),
        answers: evidence.answers.len(),
    }
}
