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
    /// What was counted since the last `keep`, to be taken back by `undo`.
    counted: Vec<(i64, usize, String)>,
}

impl RuleCounts {
    /// The cache of a partition whose newest stored event is at `newest_us`; none where nothing is stored.
    pub fn new(newest_us: Option<i64>, spans_max: usize) -> Self {
        let known_from_us = newest_us.map_or(i64::MIN, |us| us.saturating_add(1));
        Self { counts: BTreeMap::new(), known_from_us, spans_max: spans_max.max(1), counted: Vec::new() }
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

    /// Takes back what was judged since the last `keep`: the batch was not stored as it was judged.
    pub fn undo(&mut self) {
        for span in self.counted.drain(..) {
            if let Some(count) = self.counts.get_mut(&span) {
                *count -= 1;
            }
        }
    }

    /// Takes in that what was judged is stored, and forgets the oldest spans past the bound.
    pub fn keep(&mut self) {
        self.counted.clear();
        while self.counts.len() > self.spans_max {
            if let Some(((start_us, _, _), _)) = self.counts.pop_first() {
                self.known_from_us = self.known_from_us.max(start_us.saturating_add(1));
            }
        }
    }

    fn next(&mut self, ask: SpanAsk) -> u64 {
        let span = (ask.start_us, ask.rule, ask.key);
        self.counted.push(span.clone());
        let count = self.counts.entry(span).or_insert(0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, ColumnType, Value, Where};

    fn schema() -> StreamSchema {
        let column = |number, name: &str, kind| Column { number, name: name.into(), kind };
        StreamSchema {
            name: "s".into(),
            table: "s".into(),
            message: "S".into(),
            columns: vec![
                column(1, "id", ColumnType::Text),
                column(2, "at", ColumnType::Time),
                column(3, "user", ColumnType::Text),
                column(4, "what", ColumnType::Text),
            ],
            id: 0,
            key: 2,
            time: 1,
            indexes: Vec::new(),
            stats: Vec::new(),
            rules: vec![RuleSpec {
                name: "bot".into(),
                version: 3,
                count: 2,
                per: 2,
                every_s: 1,
                filter: Some(Where { field: 3, equals: "view".into() }),
            }],
        }
    }

    fn event(user: &str, what: &str, at_us: i64) -> Event {
        let text = |text: &str| Value::Text(text.into());
        Event { values: vec![text("i"), Value::Time(at_us), text(user), text(what)], unknown: Vec::new() }
    }

    #[test]
    fn a_rule_is_said_in_words() {
        let schema = schema();
        let said = "more than 2 per user every 1 s where what = view";
        assert_eq!(schema.rules[0].definition(&schema), said);
        let of_all = RuleSpec { every_s: 60, filter: None, ..schema.rules[0].clone() };
        assert_eq!(of_all.definition(&schema), "more than 2 per user every 60 s");
    }

    #[test]
    fn what_comes_after_the_count_in_a_span_is_flagged() {
        let (schema, mut counts) = (schema(), RuleCounts::new(None, 100));
        let mut flagged =
            |user: &str, what: &str, at_us: i64| match judge(&schema, &mut counts, &event(user, what, at_us)) {
                Verdict::Counted => 0,
                Verdict::Flagged { count, version, .. } => {
                    assert_eq!(version, 3);
                    count
                }
            };
        assert_eq!(flagged("a", "view", 1_000_000), 0);
        assert_eq!(flagged("a", "click", 1_100_000), 0, "another kind does not count");
        assert_eq!(flagged("a", "view", 1_999_999), 0);
        assert_eq!(flagged("a", "view", 1_500_000), 3);
        assert_eq!(flagged("b", "view", 1_500_000), 0, "another key has its own count");
        assert_eq!(flagged("a", "view", 2_000_000), 0, "the next span begins anew");
        assert_eq!(flagged("a", "view", 1_000_001), 4);
    }

    #[test]
    fn only_spans_that_may_hold_stored_events_are_asked_for() {
        let (schema, mut counts) = (schema(), RuleCounts::new(Some(5_300_000), 2));
        let (old, same, new) =
            (event("a", "view", 4_000_000), event("a", "view", 5_900_000), event("a", "view", 6_000_000));
        let asks = counts.unknown(&schema, [&old, &same, &new, &old].into_iter());
        assert_eq!(asks.iter().map(|ask| ask.start_us).collect::<Vec<_>>(), [4_000_000, 5_000_000]);
        for ask in asks {
            counts.learn(ask, 2);
        }
        assert_eq!(judge(&schema, &mut counts, &same), Verdict::Flagged { rule: "bot".into(), version: 3, count: 3 });
        counts.undo();
        assert_eq!(judge(&schema, &mut counts, &same), Verdict::Flagged { rule: "bot".into(), version: 3, count: 3 });
        assert_eq!(judge(&schema, &mut counts, &new), Verdict::Counted);
        counts.keep();
        // The bound is two spans: the oldest is forgotten, and asked for again.
        assert_eq!(counts.unknown(&schema, [&old, &same, &new].into_iter()).len(), 1);
    }
}
