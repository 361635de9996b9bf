use std::collections::BTreeMap;

use crate::{Event, RuleSpec, StreamSchema, Verdict};

/// Beginning of the span that a moment lies in, in microseconds since the Unix epoch.
pub fn span_start_us(time_us: i64, every_s: u32) -> i64 {
    let length_us = i64::from(every_s.max(1)) * 1_000_000;
    time_us.div_euclid(length_us) * length_us
}

/// Which count is wanted of the history: how many events of a key, that a rule looks at, are stored in a span.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanAsk {
    /// Index of the rule.
    pub rule: usize,
    /// The key that is counted by.
    pub key: String,
    /// Beginning of the span, in microseconds since the Unix epoch.
    pub start_us: i64,
}

/// How many events each key had in each span, for one partition: a cache of what the history holds.
///
/// What begins after the newest stored event needs no look-up, and of what was looked up or counted since, the newest
/// `spans_max` spans are kept. A count is right only while every stored event of the partition passes through `judge`.
#[derive(Clone, Debug)]
pub struct RuleCounts {
    counts: BTreeMap<(i64, usize, String), u64>,
    /// Spans that begin at or after this, and are not in `counts`, have no event.
    known_from_us: i64,
    spans_max: usize,
}

impl RuleCounts {
    /// The cache of a partition whose newest stored event is at `newest_us`; none where nothing is stored.
    pub fn new(newest_us: Option<i64>, spans_max: usize) -> Self {
        let known_from_us = newest_us.map_or(i64::MIN, |us| us.saturating_add(1));
        Self { counts: BTreeMap::new(), known_from_us, spans_max: spans_max.max(1) }
    }

    /// The counts that have to be looked up before these events can be judged, each once.
    pub fn unknown<'a>(&self, schema: &StreamSchema, events: impl Iterator<Item = &'a Event>) -> Vec<SpanAsk> {
        let mut asks = std::collections::BTreeSet::new();
        for event in events {
            for (index, rule) in applying(schema, event) {
                let ask = ask_of(schema, index, rule, event);
                if ask.start_us < self.known_from_us
                    && !self.counts.contains_key(&(ask.start_us, index, ask.key.clone()))
                {
                    asks.insert(ask);
                }
            }
        }
        asks.into_iter().collect()
    }

    /// Takes in what the history answered.
    pub fn learn(&mut self, ask: SpanAsk, count: u64) {
        self.counts.insert((ask.start_us, ask.rule, ask.key), count);
    }

    /// Forgets the oldest spans past the bound. Call between batches.
    pub fn trim(&mut self) {
        while self.counts.len() > self.spans_max {
            if let Some(((start_us, _, _), _)) = self.counts.pop_first() {
                self.known_from_us = self.known_from_us.max(start_us.saturating_add(1));
            }
        }
    }

    fn next(&mut self, ask: SpanAsk) -> u64 {
        let count = self.counts.entry((ask.start_us, ask.rule, ask.key)).or_insert(0);
        *count += 1;
        *count
    }
}

/// Judges an event that is stored next, in order of offsets, and counts it.
/// Everything that `unknown` asked for must have been learned. The first rule that flags it gives the verdict.
pub fn judge(schema: &StreamSchema, counts: &mut RuleCounts, event: &Event) -> Verdict {
    let mut verdict = Verdict::Counted;
    for (index, rule) in applying(schema, event) {
        let count = counts.next(ask_of(schema, index, rule, event));
        if count > rule.count && verdict == Verdict::Counted {
            verdict = Verdict::Flagged { rule: rule.name.clone(), version: rule.version, count };
        }
    }
    verdict
}

fn applying<'a>(schema: &'a StreamSchema, event: &'a Event) -> impl Iterator<Item = (usize, &'a RuleSpec)> {
    let matches = move |(_, rule): &(usize, &RuleSpec)| rule.filter.as_ref().is_none_or(|filter| filter.matches(event));
    schema.rules.iter().enumerate().filter(matches)
}

fn ask_of(schema: &StreamSchema, index: usize, rule: &RuleSpec, event: &Event) -> SpanAsk {
    SpanAsk {
        rule: index,
        key: event.values[rule.per].key_text().into_owned(),
        start_us: span_start_us(schema.time_us_of(event), rule.every_s),
    }
}
