//! The checker itself is checked: it is content with a small run in which everything holds, and finds each violation that
//! is planted there.
#![allow(clippy::unwrap_used, reason = "tests")]

mod run;

use headwater_faults::check::Invariant::{
    self, I1Lost, I2Doubled, I3Unsent, I4Statistics, I4Verdicts, I6Offsets, I7Order, I9Recovery, I10Machine,
};
use headwater_faults::check::{Findings, check};
use headwater_faults::event::{Body, Stream};
use headwater_faults::evidence::Dead;
use headwater_faults::journal::{Journal, Line, Outcome};
use headwater_faults::measures::{Measure, Moment};
use run::{Run, hint, process, recovery};

fn findings(run: Run) -> Findings {
    check(&Journal::of(run.journal).unwrap(), &run.evidence, &run.measures)
}

/// What is found when something is changed; `wanted` must be among it, and nothing but it and what follows from it.
fn finds(wanted: Invariant, also: &[Invariant], change: impl FnOnce(&mut Run)) {
    let mut run = Run::whole();
    change(&mut run);
    let found = findings(run);
    assert!(found.count(wanted) > 0, "{wanted:?} was planted:\n{found}");
    for invariant in found.violations.keys() {
        assert!(*invariant == wanted || also.contains(invariant), "{invariant:?} was not planted:\n{found}");
    }
}

#[test]
fn a_run_in_which_everything_holds_has_no_findings() {
    let found = findings(Run::whole());
    assert!(found.is_clean(), "{found}");
    let summary = &found.summary;
    assert_eq!((summary.counted, summary.flagged, summary.dead, summary.duplicates), (12, 2, 1, 1));
    assert_eq!((summary.acknowledged, summary.refused, summary.unanswered), (15, 1, 1));
    assert!(found.to_string().ends_with("everything holds\n"), "{found}");
}

#[test]
fn lost_events_are_found() {
    // A hole in a batch, and figures that are too low, follow from it.
    finds(I1Lost, &[I4Statistics, I4Verdicts, I6Offsets], |run| drop(run.evidence.stored.remove(3)));
    finds(I1Lost, &[I6Offsets], |run| run.evidence.dead.clear());
    finds(I1Lost, &[I6Offsets], |run| run.evidence.duplicates.clear());
    finds(I1Lost, &[], |run| run.evidence.duplicates[0].of = (0, 5));
    finds(I1Lost, &[I3Unsent, I4Statistics, I4Verdicts], |run| {
        run.evidence.stored[3].id = run.evidence.stored[4].id.clone()
    });
    finds(I1Lost, &[], |run| run.acknowledge_anew(16, Outcome::At(0, 700)));
}

#[test]
fn doubled_events_are_found() {
    finds(I2Doubled, &[I4Statistics, I4Verdicts, I6Offsets], |run| {
        let mut again = run.evidence.stored[3].clone();
        again.offset = 700;
        run.evidence.stored.push(again);
    });
    finds(I2Doubled, &[I3Unsent], |run| {
        let row = &run.evidence.stored[3];
        let identity = Some((row.id.clone(), row.time_us));
        let reason = "MALFORMED".to_owned();
        let (stream, partition, offset) = (row.stream, row.partition, row.offset);
        run.evidence.dead.push(Dead { stream, partition, offset, reason, identity });
    });
}

#[test]
fn what_nobody_sent_is_found() {
    finds(I3Unsent, &[I1Lost, I4Statistics, I4Verdicts], |run| run.evidence.stored[3].id = "from nowhere".to_owned());
    finds(I3Unsent, &[I1Lost, I4Statistics, I4Verdicts], |run| run.evidence.stored[3].time_us += 1);
    finds(I3Unsent, &[], |run| {
        let Body::Page { page, .. } = &mut run.evidence.stored[3].body else { panic!("a page event") };
        page.push('x');
    });
    finds(I3Unsent, &[], |run| run.evidence.dead[0].reason = "MALFORMED".to_owned());
    finds(I3Unsent, &[I2Doubled, I6Offsets], |run| {
        let identity = Some(run.refused.clone());
        let letter = Dead { offset: 700, identity, ..run.evidence.dead[0].clone() };
        run.evidence.dead.push(letter);
    });
}

#[test]
fn wrong_figures_are_found() {
    for answer in 0..Run::whole().evidence.answers.len() {
        finds(I4Statistics, &[], |run| {
            let figure = run.evidence.answers[answer].values.values_mut().next().unwrap();
            *figure += 1;
        });
        finds(I4Statistics, &[], |run| {
            run.evidence.answers[answer].values.insert("nobody".to_owned(), 1);
        });
        finds(I4Statistics, &[], |run| run.evidence.answers[answer].values.clear());
        finds(I4Statistics, &[], |run| run.evidence.answers[answer].complete = false);
    }
    finds(I4Statistics, &[], |run| {
        let answer = run.evidence.answers.iter_mut().find(|answer| answer.window_s.is_some()).unwrap();
        answer.window_start_ms = answer.window_start_ms.map(|start| start - 60_000);
    });
}

#[test]
fn wrong_verdicts_are_found() {
    finds(I4Verdicts, &[], |run| {
        let flag = run.evidence.stored[10].flag.take();
        run.evidence.stored[9].flag = flag;
    });
    finds(I4Verdicts, &[], |run| run.evidence.stored[11].flag.as_mut().unwrap().count = 13);
    finds(I4Verdicts, &[], |run| run.evidence.stored[11].flag.as_mut().unwrap().version = 2);
    finds(I4Verdicts, &[], |run| run.evidence.stored[12].flag = run.evidence.stored[11].flag.clone());
}

#[test]
fn wrong_ranges_and_offsets_are_found() {
    finds(I6Offsets, &[], |run| run.evidence.ranges[1].first -= 1);
    finds(I6Offsets, &[], |run| run.evidence.ranges[1].first += 1);
    finds(I6Offsets, &[], |run| run.evidence.ranges[1].epoch = 0);
    finds(I6Offsets, &[], |run| run.evidence.ranges[0].records += 1);
    finds(I6Offsets, &[], |run| {
        run.evidence.ranges.remove(0);
    });
    finds(I6Offsets, &[], |run| run.evidence.positions[0].epoch = 1);
    finds(I6Offsets, &[], |run| run.evidence.positions[0].next = Some(17));
    finds(I6Offsets, &[], |run| run.evidence.ends[0].committed = Some(17));
    finds(I6Offsets, &[], |run| run.evidence.ends[0].high = 17);
    finds(I6Offsets, &[], |run| run.measures.push(hint(9, 8)));
    finds(I6Offsets, &[], |run| {
        let second = run.evidence.ranges[1].clone();
        run.evidence.ranges.push(second);
    });
}

#[test]
fn a_wrong_order_is_found() {
    // Two events of one key, acknowledged in the order in which they do not lie.
    finds(I7Order, &[I1Lost], |run| run.swap_acknowledgements(2, 3));
    finds(I7Order, &[I1Lost], |run| run.acknowledge_anew(4, Outcome::At(1, 4)));
}

#[test]
fn slow_recovery_and_growing_processes_are_found() {
    finds(I9Recovery, &[], |run| run.measures.push(recovery(Some(10_001))));
    finds(I9Recovery, &[], |run| run.measures.push(recovery(None)));
    let after = |run: &mut Run, change: fn(&mut headwater_faults::measures::Sample)| {
        for measure in &mut run.measures {
            if let Measure::Process(sample) = measure
                && sample.moment == Moment::After
            {
                change(sample);
            }
        }
    };
    finds(I10Machine, &[], |run| after(run, |sample| sample.descriptors *= 3));
    finds(I10Machine, &[], |run| after(run, |sample| sample.tasks = Some(200)));
    finds(I10Machine, &[], |run| after(run, |sample| sample.queued = Some(1)));
    finds(I10Machine, &[], |run| {
        run.measures.retain(|measure| !matches!(measure, Measure::Process(sample) if sample.moment == Moment::After && sample.name == "stats-2"))
    });
    finds(I10Machine, &[], |run| {
        // A percent every 10 s, for 15 minutes.
        run.measures
            .extend((0..900).map(|second| process(second * 1000, Moment::Under, 100_000 + 100 * second as u64)));
    });
    let mut flat = Run::whole();
    flat.measures.extend((0..900).map(|second| process(second * 1000, Moment::Under, 100_000 + second as u64)));
    assert!(findings(flat).is_clean());
}

#[test]
fn a_journal_that_does_not_fit_together_is_none() {
    let send = |call, events: &[u64]| Line::Send { call, at_ms: 0, to: "ingest-1".to_owned(), events: events.to_vec() };
    assert!(Journal::of(vec![send(1, &[0])]).is_err(), "it was sent before it was written down");
    assert!(Journal::of(vec![Line::Answer { call: 1, at_ms: 0, outcomes: vec![] }]).is_err(), "an answer to nothing");
    assert!(Journal::of(vec![send(1, &[]), send(1, &[])]).is_err(), "one call, made twice");
    assert_eq!(Journal::of(vec![send(1, &[])]).unwrap().unanswered, 1);
    assert_eq!(Stream::of("page-events"), Some(Stream::PageEvents));
}
