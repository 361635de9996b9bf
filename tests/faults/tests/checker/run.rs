//! A small run in which everything holds.

use std::collections::BTreeMap;

use headwater_faults::check::window_start_ms;
use headwater_faults::event::{Body, Event, Fate, Stream};
use headwater_faults::evidence::{Answer, Dead, Duplicate, End, Evidence, Flag, Position, Range, Stored};
use headwater_faults::journal::{Line, Outcome};
use headwater_faults::measures::{Measure, Moment, Sample};

/// 2026-11-21T12:00:00Z
const NOON_US: i64 = 1_795_262_400_000_000;

pub(crate) struct Run {
    pub(crate) journal: Vec<Line>,
    pub(crate) evidence: Evidence,
    pub(crate) measures: Vec<Measure>,
    /// Id and time of an event that was refused.
    pub(crate) refused: (String, i64),
}

impl Run {
    /// Events 0 to 11 are page views of one user in one second, at offsets 0 to 11 of partition 0; 12 and 13 are
    /// transactions of one account, at offsets 0 and 1; 14 is ahead of its time, at offset 12; 15 was refused; 0 was sent
    /// once more and is a duplicate, at offset 13. A call without an answer had sent event 3 before.
    pub(crate) fn whole() -> Self {
        let events = events();
        let refused = (events[15].id.clone(), events[15].time_us);
        let mut journal: Vec<Line> = events.iter().cloned().map(Line::Event).collect();
        let mut evidence = Evidence::default();
        journal.push(send(100, &[3]));
        journal.push(Line::Unanswered { call: 100, at_ms: 1, why: "the ingest was killed".to_owned() });
        for event in &events[..14] {
            let (partition, offset) = if event.n < 12 { (0, event.n as i64) } else { (0, event.n as i64 - 12) };
            journal.extend(answered(event.n, event.n, Outcome::At(partition, offset)));
            let flag = (10..12).contains(&event.n).then(|| Flag {
                rule: "bot".to_owned(),
                version: 1,
                count: event.n as i64 + 1,
            });
            evidence.stored.push(stored(event, partition, offset, flag));
        }
        journal.extend(answered(14, 14, Outcome::At(0, 12)));
        journal.extend(answered(15, 15, Outcome::Refused("REASON_INVALID_FIELD".to_owned())));
        journal.extend(answered(16, 0, Outcome::At(0, 13)));
        evidence.dead.push(Dead {
            stream: Stream::PageEvents,
            partition: 0,
            offset: 12,
            reason: "TIME_AHEAD".to_owned(),
            identity: Some((events[14].id.clone(), events[14].time_us)),
        });
        evidence.duplicates.push(Duplicate {
            stream: Stream::PageEvents,
            partition: 0,
            offset: 13,
            id: events[0].id.clone(),
            time_us: events[0].time_us,
            of: (0, 0),
        });
        let range = |stream, first, next, epoch| Range {
            stream,
            partition: 0,
            first,
            next,
            epoch,
            records: (next - first) as i32,
        };
        let (pages, money) = (Stream::PageEvents, Stream::Transactions);
        evidence.ranges = vec![range(pages, 0, 8, 1), range(pages, 8, 14, 2), range(money, 0, 2, 1)];
        let position = |stream, epoch, next| Position { stream, partition: 0, epoch, next: Some(next) };
        evidence.positions = vec![position(pages, 2, 14), position(money, 1, 2)];
        let end = |stream, committed, high| End { stream, partition: 0, committed, high };
        evidence.ends = vec![end(pages, Some(13), 14), end(money, None, 2)];
        evidence.answers = answers();
        let measures = vec![
            hint(8, 8),
            recovery(Some(9_999)),
            process(0, Moment::Before, 100_000),
            Measure::Process(Sample { name: "stats-2".to_owned(), pid: 8, ..sample(0, Moment::Before, 100_000) }),
            process(1000, Moment::After, 200_000),
            Measure::Process(Sample { name: "stats-2".to_owned(), pid: 8, ..sample(1000, Moment::After, 200_000) }),
        ];
        Self { journal, evidence, measures, refused }
    }

    /// Answers a call otherwise than it was answered.
    pub(crate) fn acknowledge_anew(&mut self, wanted: u64, outcome: Outcome) {
        for line in &mut self.journal {
            if let Line::Answer { call, outcomes, .. } = line
                && *call == wanted
            {
                *outcomes = vec![outcome.clone()];
            }
        }
    }

    /// Exchanges where two events were acknowledged.
    pub(crate) fn swap_acknowledgements(&mut self, one: u64, other: u64) {
        self.acknowledge_anew(one, Outcome::At(0, other as i64));
        self.acknowledge_anew(other, Outcome::At(0, one as i64));
    }
}

fn events() -> Vec<Event> {
    let id = |n: u64| format!("00000000-0000-7000-8000-{n:012}");
    let page = |n: u64| Body::Page {
        user: "anna".to_owned(),
        what: "page_view".to_owned(),
        page: format!("/{}", n % 2),
        session: format!("visit {}", n % 3),
    };
    let mut events: Vec<Event> = (0..12)
        .map(|n| {
            let time_us = NOON_US + n as i64;
            Event { n, stream: Stream::PageEvents, id: id(n), time_us, fate: Fate::Stored, body: page(n) }
        })
        .collect();
    for (n, hundredths) in [(12, 1250), (13, -50)] {
        let body = Body::Money { account: "a1".to_owned(), hundredths };
        // The second one two hours before the first.
        let time_us = NOON_US - (n as i64 - 12) * 7_200_000_000;
        events.push(Event { n, stream: Stream::Transactions, id: id(n), time_us, fate: Fate::Stored, body });
    }
    for (n, time_us, fate) in [(14, NOON_US + 600_000_000, Fate::Dead), (15, NOON_US, Fate::Refused)] {
        events.push(Event { n, stream: Stream::PageEvents, id: id(n), time_us, fate, body: page(n) });
    }
    events
}

/// Ten page views count; the two transactions lie in different windows.
fn answers() -> Vec<Answer> {
    let as_of_ms = NOON_US / 1000 + 30_000;
    let answer = |stream, stat: &str, window_s: Option<i64>, values: &[(&str, i64)]| Answer {
        stream,
        stat: stat.to_owned(),
        window_s,
        as_of_ms,
        window_start_ms: window_s.map(|window_s| window_start_ms(stat, as_of_ms, window_s)),
        complete: true,
        values: values.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect::<BTreeMap<_, _>>(),
    };
    let (pages, money) = (Stream::PageEvents, Stream::Transactions);
    vec![
        answer(pages, "active_users", None, &[("", 1)]),
        answer(pages, "active_users", Some(60), &[("", 1)]),
        answer(pages, "top_pages", None, &[("/0", 5), ("/1", 5)]),
        answer(pages, "top_pages", Some(60), &[("/0", 5), ("/1", 5)]),
        answer(pages, "sessions", Some(300), &[("anna", 3)]),
        answer(money, "account_total", None, &[("a1", 1200)]),
        answer(money, "account_total", Some(3600), &[("a1", 1250)]),
    ]
}

fn stored(event: &Event, partition: i32, offset: i64, flag: Option<Flag>) -> Stored {
    let Event { stream, id, time_us, body, .. } = event.clone();
    Stored { stream, id, time_us, body, partition, offset, flag }
}

fn send(call: u64, events: &[u64]) -> Line {
    Line::Send { call, at_ms: 0, to: "ingest-1".to_owned(), events: events.to_vec() }
}

fn answered(call: u64, n: u64, outcome: Outcome) -> [Line; 2] {
    [send(call, &[n]), Line::Answer { call, at_ms: 0, outcomes: vec![outcome] }]
}

pub(crate) fn hint(committed: i64, next: i64) -> Measure {
    Measure::Hint { at_ms: 0, stream: Stream::PageEvents, partition: 0, committed, next }
}

pub(crate) fn recovery(took_ms: Option<u64>) -> Measure {
    Measure::Recovery {
        number: 1,
        kind: "processor-killed".to_owned(),
        since: "the kill".to_owned(),
        took_ms,
        bound_ms: 10_000,
        why: String::new(),
    }
}

fn sample(at_ms: i64, moment: Moment, rss_kib: u64) -> Sample {
    Sample {
        at_ms,
        moment,
        name: "stats-1".to_owned(),
        role: "stats".to_owned(),
        pid: 7,
        rss_kib,
        descriptors: 40,
        tasks: Some(20),
        queued: Some(0),
    }
}

pub(crate) fn process(at_ms: i64, moment: Moment, rss_kib: u64) -> Measure {
    Measure::Process(sample(at_ms, moment, rss_kib))
}
