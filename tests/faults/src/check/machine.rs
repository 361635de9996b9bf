//! I9 and I10: recovery within its bound, and processes that end as they began.

use std::collections::BTreeMap;

use super::{Findings, Invariant};
use crate::measures::{Measure, Moment, Sample};

/// Memory is judged over the last third of the run, where that is at least so long: before, caches fill.
pub const RSS_JUDGED_MS_MIN: i64 = 180_000;
/// How much memory may change over that time, in percent.
const RSS_CHANGE_MAX_PERCENT: f64 = 10.0;
/// Descriptors of a role, over all its processes, that may be more than at the beginning: connections to brokers and to
/// Postgres are made when they are needed, and kept.
const DESCRIPTORS_MORE_MAX: f64 = 1.25;
const DESCRIPTORS_SLACK: f64 = 12.0;
/// The same of tasks.
const TASKS_MORE_MAX: f64 = 1.25;
const TASKS_SLACK: f64 = 8.0;

pub(super) fn check(measures: &[Measure], findings: &mut Findings) {
    let mut samples = Vec::new();
    for measure in measures {
        match measure {
            Measure::Recovery { number, kind, since, took_ms, bound_ms, why } => match took_ms {
                None => {
                    let text = format!("fault {number}, {kind}: never, since {since}: {why}");
                    findings.add(Invariant::I9Recovery, text);
                }
                Some(took_ms) if took_ms > bound_ms => {
                    let text = format!("fault {number}, {kind}: {took_ms} ms since {since}; at most {bound_ms} ms");
                    findings.add(Invariant::I9Recovery, text);
                }
                Some(_) => {}
            },
            Measure::Process(sample) => samples.push(sample),
            Measure::Fault { .. } | Measure::Hint { .. } => {}
        }
    }
    back_to_base(&samples, findings);
    flat(&samples, findings);
}

/// What the processes of a role have together, before and after.
fn back_to_base(samples: &[&Sample], findings: &mut Findings) {
    let mut roles: BTreeMap<&str, [Vec<&Sample>; 2]> = BTreeMap::new();
    for sample in samples {
        let [before, after] = roles.entry(&sample.role).or_default();
        match sample.moment {
            Moment::Before => before.push(sample),
            Moment::After => after.push(sample),
            Moment::Under => {}
        }
    }
    for (role, [before, after]) in roles {
        if before.is_empty() || after.is_empty() {
            findings.not_judged.push(format!("descriptors of {role}: not measured before and after"));
            continue;
        }
        if before.len() != after.len() {
            let text = format!("{role}: {} processes before, {} after", before.len(), after.len());
            findings.add(Invariant::I10Machine, text);
        }
        let sum = |of: &[&Sample], value: fn(&Sample) -> Option<u64>| {
            of.iter().map(|sample| value(sample).map(|value| value as f64)).sum::<Option<f64>>()
        };
        let mut more = |what: &str, value: fn(&Sample) -> Option<u64>, factor: f64, slack: f64| match (
            sum(&before, value),
            sum(&after, value),
        ) {
            (Some(before), Some(after)) if after > before * factor + slack => {
                findings.add(Invariant::I10Machine, format!("{role}: {after} {what}, and {before} before"));
            }
            (Some(_), Some(_)) => {}
            _ => findings.not_judged.push(format!("{what} of {role}: it does not tell")),
        };
        more("descriptors", |sample| Some(sample.descriptors), DESCRIPTORS_MORE_MAX, DESCRIPTORS_SLACK);
        more("tasks", |sample| sample.tasks, TASKS_MORE_MAX, TASKS_SLACK);
        more("waiting", |sample| sample.queued, 1.0, 0.0);
    }
}

/// Memory of each process that lived through the last third of the run.
fn flat(samples: &[&Sample], findings: &mut Findings) {
    let under: Vec<&Sample> = samples.iter().filter(|sample| sample.moment == Moment::Under).copied().collect();
    let times = || under.iter().map(|sample| sample.at_ms);
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        findings.not_judged.push("memory: not measured".to_owned());
        return;
    };
    let third = (last - first) / 3;
    if third < RSS_JUDGED_MS_MIN {
        findings.not_judged.push(format!("memory: a third of the run is {} s", third / 1000));
        return;
    }
    let mut processes: BTreeMap<(&str, u32), Vec<&Sample>> = BTreeMap::new();
    for sample in &under {
        processes.entry((&sample.name, sample.pid)).or_default().push(sample);
    }
    let part = third / 6;
    let mut judged = 0;
    for ((name, pid), of) in processes {
        let of_time = |from: i64| {
            let mut rss: Vec<u64> =
                of.iter().filter(|sample| (from..from + part).contains(&sample.at_ms)).map(|one| one.rss_kib).collect();
            rss.sort_unstable();
            rss.get(rss.len() / 2).copied()
        };
        let (Some(begin), Some(end)) = (of_time(last - third), of_time(last + 1 - part)) else { continue };
        judged += 1;
        let change = (end as f64 - begin as f64) / begin as f64 * 100.0;
        if change > RSS_CHANGE_MAX_PERCENT {
            let text = format!("{name} ({pid}): {begin} KiB and {end} KiB at the end, {change:+.1} % in {third} ms");
            findings.add(Invariant::I10Machine, text);
        }
    }
    if judged == 0 {
        findings.not_judged.push("memory: no process lived through the last third".to_owned());
    }
}
