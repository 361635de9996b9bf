//! What there is to say in the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::plan::Plan;
use super::run::Options;
use crate::check::{Findings, Invariant};
use crate::measures::Measure;

/// A report, as Markdown.
pub(super) struct Report<'a> {
    seed: u64,
    plan: Plan,
    took: Duration,
    findings: &'a Findings,
    kinds: BTreeMap<String, Kind>,
}

#[derive(Default)]
struct Kind {
    times: usize,
    longest_ms: Option<u64>,
    median_ms: Option<u64>,
    all_ms: Vec<u64>,
}

impl<'a> Report<'a> {
    pub(super) fn of(options: &Options, findings: &'a Findings, measures: &[Measure], took: Duration) -> Self {
        let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
        for measure in measures {
            match measure {
                Measure::Fault { kind, .. } => kinds.entry(kind.clone()).or_default().times += 1,
                Measure::Recovery { kind, took_ms, .. } => {
                    kinds.entry(kind.clone()).or_default().all_ms.push(took_ms.unwrap_or(u64::MAX));
                }
                Measure::Process(_) | Measure::Hint { .. } => {}
            }
        }
        for kind in kinds.values_mut() {
            kind.all_ms.sort_unstable();
            kind.longest_ms = kind.all_ms.last().copied();
            kind.median_ms = kind.all_ms.get(kind.all_ms.len() / 2).copied();
        }
        Self { seed: options.seed, plan: options.plan, took, findings, kinds }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, plan, findings, kinds, .. } = self;
        let faults: usize = kinds.values().map(|kind| kind.times).sum();
        let verdict = if findings.is_clean() { "everything holds" } else { "NOT everything holds" };
        writeln!(f, "# Faults: {verdict}\n")?;
        writeln!(f, "{faults} faults in {} s. Plan `{plan}`, seed {seed}. Once more:", self.took.as_secs())?;
        writeln!(f, "\n    make faults FAULTS_ARGS='--plan {plan} --seed {seed}'\n")?;
        writeln!(f, "| fault | times | recovery, median | longest |\n|---|---|---|---|")?;
        let ms = |ms: Option<u64>| match ms {
            Some(u64::MAX) => "never".to_owned(),
            Some(ms) => format!("{ms} ms"),
            None => "-".to_owned(),
        };
        for (name, kind) in kinds {
            writeln!(f, "| {name} | {} | {} | {} |", kind.times, ms(kind.median_ms), ms(kind.longest_ms))?;
        }
        let s = &findings.summary;
        writeln!(f, "\n| events | |\n|---|---|")?;
        writeln!(f, "| sent | {} events, {} records, {} calls |", s.events, s.sends, s.calls)?;
        writeln!(f, "| calls without an answer | {} |", s.unanswered)?;
        writeln!(f, "| acknowledged | {} events, {} records |", s.acknowledged, s.acknowledgements)?;
        writeln!(f, "| refused by ingest | {} |", s.refused)?;
        writeln!(f, "| stored and counted | {} |", s.counted)?;
        writeln!(f, "| stored and flagged | {} |", s.flagged)?;
        writeln!(f, "| dead letters | {} |", s.dead)?;
        writeln!(f, "| duplicates | {} |", s.duplicates)?;
        writeln!(f, "| of them made by ingest's own producer | {} |", s.more_than_sent)?;
        writeln!(f, "| batches, epochs | {}, {} |", s.batches, s.epochs)?;
        writeln!(f, "| **lost** | {} |", findings.count(Invariant::I1Lost))?;
        writeln!(f, "| **doubled** | {} |", findings.count(Invariant::I2Doubled))?;
        writeln!(f, "| **unsent** | {} |", findings.count(Invariant::I3Unsent))?;
        writeln!(f, "| wrong figures in {} answers | {} |", s.answers, findings.count(Invariant::I4Statistics))?;
        for reason in &findings.not_judged {
            writeln!(f, "\nNot judged: {reason}.")?;
        }
        for (invariant, (count, shown)) in &findings.violations {
            writeln!(f, "\n## {}: {count}\n", invariant.title())?;
            for text in shown {
                writeln!(f, "- {text}")?;
            }
        }
        Ok(())
    }
}
