use std::collections::BTreeMap;
use std::fmt;

use super::told::ms;
use super::{Limits, Seen};
use crate::history::Run;

/// Violations of one rule that are shown.
pub const SHOWN_MAX: usize = 10;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// What the store answered, reads and writes, has one order in which each happens between question and answer, until
    /// the first failover.
    OneOrder,
    /// What a replica's memory answers was the key's value within the bound before. After a failover this is asked of the
    /// store's answers too, and always of those that callers who waited for a load shared.
    Staleness,
    /// A client that reads through the replica that it wrote through sees what it wrote, or something later.
    OwnWrites,
    /// What was deleted does not come back, and what was loaded before a write does not come after it: from the store never,
    /// from a replica's memory not beyond the bound.
    Resurrection,
    /// What is read was written.
    Unwritten,
}

/// What a history is worth.
#[derive(Clone, Debug)]
pub struct Findings {
    /// What there was.
    pub seen: Seen,
    /// How many violations there are of each rule, and the first of them.
    pub violations: BTreeMap<Rule, (usize, Vec<String>)>,
    /// Keys for which no order was found and none excluded within the steps allowed.
    pub undecided: Vec<String>,
    /// The greatest age of an answer of a replica's memory, in microseconds since its value was surely no more the key's:
    /// when it was asked for, and when it was there.
    pub oldest_us: (u64, u64),
    pub(super) judged: BTreeMap<&'static str, usize>,
    pub(super) not_judged: BTreeMap<&'static str, usize>,
    pub(super) bound_us: u64,
    made: Run,
    slack_us: u64,
}

impl Findings {
    pub(super) fn new(run: &Run, limits: &Limits) -> Self {
        Self {
            seen: Seen::default(),
            violations: BTreeMap::new(),
            undecided: Vec::new(),
            oldest_us: (0, 0),
            judged: BTreeMap::new(),
            not_judged: BTreeMap::new(),
            bound_us: run.staleness_max_ms * 1000 + limits.slack_us,
            made: run.clone(),
            slack_us: limits.slack_us,
        }
    }

    pub(super) fn add(&mut self, rule: Rule, text: impl FnOnce() -> String) {
        let (count, shown) = self.violations.entry(rule).or_default();
        *count += 1;
        if shown.len() < SHOWN_MAX {
            shown.push(text());
        }
    }

    /// How many violations there are of a rule.
    pub fn count(&self, rule: Rule) -> usize {
        self.violations.get(&rule).map_or(0, |(count, _)| *count)
    }

    /// Whether everything holds, and everything was decided.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { seed, plan, staleness_max_ms } = &self.made;
        writeln!(f, "history of seed {seed}, plan {plan}")?;
        write!(f, "{}", self.seen)?;
        for (what, count) in &self.judged {
            writeln!(f, "judged: {count} {what}")?;
        }
        for (what, count) in &self.not_judged {
            writeln!(f, "not judged: {count} {what}")?;
        }
        let (asked, there) = (ms(self.oldest_us.0), ms(self.oldest_us.1));
        writeln!(
            f,
            "oldest answer of a replica's memory: {asked} ms when it was asked for ({there} when it was there); bound \
             {staleness_max_ms} ms, slack {} ms",
            ms(self.slack_us)
        )?;
        for text in &self.undecided {
            writeln!(f, "\nUNDECIDED {text}")?;
        }
        for (rule, (count, shown)) in &self.violations {
            writeln!(f, "\n{rule:?}: {count} violations")?;
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
