//! What must hold of a history. No I/O: lines come in, findings go out.

mod findings;
mod key;
mod promises;
mod register;
mod search;
mod seen;
mod sequence;
mod told;

use std::collections::BTreeMap;

use anyhow::{Result, bail};

pub use findings::{Findings, Rule, SHOWN_MAX};
pub use seen::Seen;

use crate::history::{EventKind, Line, Operation};
use key::{Epochs, Key};

/// How strictly a history is judged, and how much work that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Added to the bound of staleness for whatever the clients' own clock does not tell apart, in microseconds. Ages are
    /// counted from when an answer was asked for, and the slack is 0 unless somebody asks for it.
    pub slack_us: u64,
    /// Steps at most of the search for an order, for each key; what needs more is not decided.
    pub steps_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { slack_us: 0, steps_max: 2_000_000 }
    }
}

/// Holds a history against everything that must hold of it.
///
/// # Errors
/// Where it is no history that can be judged: without its first line, or with a value that was written twice.
pub fn check(lines: &[Line], limits: &Limits) -> Result<Findings> {
    let Some(Line::Run(run)) = lines.first() else { bail!("the first line does not say how the history was made") };
    let mut findings = Findings::new(run, limits);
    let mut keys: BTreeMap<(&str, &str), Vec<&Operation>> = BTreeMap::new();
    let mut failovers = Vec::new();
    for line in &lines[1..] {
        match line {
            Line::Run(_) => bail!("the history says twice how it was made"),
            Line::Operation(operation) => {
                if operation.returned_at_us < operation.invoked_at_us {
                    bail!("an answer came before it was asked for: {}", told::told(operation));
                }
                findings.seen.operation(operation);
                keys.entry((&operation.namespace, &operation.key)).or_default().push(operation);
            }
            Line::Event(event) => {
                findings.seen.event(event);
                if event.kind == EventKind::Failover {
                    failovers.push((event.began_at_us, event.ended_at_us));
                }
            }
        }
    }
    findings.seen.keys = keys.len();
    let epochs = Epochs::new(failovers);
    for ((namespace, name), operations) in keys {
        let key = Key::new(format!("{namespace}/{name}"), operations, &epochs)?;
        promises::check(&key, &mut findings);
        search::check(&key, limits, &mut findings);
    }
    Ok(findings)
}
