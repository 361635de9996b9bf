//! I4: of the page views of a user in a second the first ten count, by offset, and the others are flagged.

use std::collections::{BTreeMap, HashSet};

use super::{Findings, Invariant};
use crate::event::Body;
use crate::evidence::{Evidence, Flag, Stored};
use crate::journal::Journal;

/// Page views of a user in a second that count.
const COUNTED_MAX: i64 = 10;

/// Compares every verdict, and returns the rows that have to be flagged: partition and offset.
pub(super) fn check(journal: &Journal, evidence: &Evidence, findings: &mut Findings) -> HashSet<(i32, i64)> {
    let sent = journal.by_identity();
    let mut spans: BTreeMap<(&str, i64), Vec<&Stored>> = BTreeMap::new();
    for row in &evidence.stored {
        // Who did what is taken from what was sent, not from what is there.
        let event = sent.get(&(row.stream, row.id.as_str(), row.time_us));
        if let Some(Body::Page { user, what, .. }) = event.map(|event| &event.body)
            && what == "page_view"
        {
            spans.entry((user, row.time_us.div_euclid(1_000_000))).or_default().push(row);
        } else if row.flag.is_some() {
            findings.add(Invariant::I4Verdicts, format!("{} is no page view, and is flagged", named(row)));
        }
    }
    let mut flagged = HashSet::new();
    for ((user, second), mut rows) in spans {
        rows.sort_by_key(|row| (row.partition, row.offset));
        for (count, row) in (1..).zip(rows) {
            let wanted = (count > COUNTED_MAX).then(|| Flag { rule: "bot".to_owned(), version: 1, count });
            if wanted.is_some() {
                flagged.insert((row.partition, row.offset));
            }
            if row.flag != wanted {
                let text = format!(
                    "{} is page view {count} of {user} in second {second}: {:?} instead of {wanted:?}",
                    named(row),
                    row.flag
                );
                findings.add(Invariant::I4Verdicts, text);
            }
        }
    }
    flagged
}

fn named(row: &Stored) -> String {
    format!("{}/{}@{}", row.stream.name(), row.partition, row.offset)
}
