use std::collections::{BTreeMap, HashMap};

use headwater_domain::{SpanAsk, StreamSchema};

/// Stretches of time that are read for one rule at most: few enough to be quick, and enough to leave long gaps out.
const STRETCHES_MAX: usize = 8;

/// What is asked for one rule: which keys, and the stretches of time [start, end) that hold every span asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RuleAsk {
    pub(crate) rule: usize,
    pub(crate) keys: Vec<String>,
    pub(crate) stretches: Vec<(i64, i64)>,
}

/// How many events each rule, key and beginning of a span has.
pub(crate) type Figures = HashMap<(usize, i64, String), u64>;

/// The asks by rule, ready to be read by time.
pub(crate) fn by_rule(schema: &StreamSchema, asks: &[SpanAsk]) -> Vec<RuleAsk> {
    let mut rules: BTreeMap<usize, (Vec<String>, Vec<i64>)> = BTreeMap::new();
    for ask in asks.iter().filter(|ask| ask.rule < schema.rules.len()) {
        let (keys, starts) = rules.entry(ask.rule).or_default();
        keys.push(ask.key.clone());
        starts.push(ask.start_us);
    }
    let merge = |(rule, (mut keys, starts)): (usize, (Vec<String>, Vec<i64>))| {
        keys.sort_unstable();
        keys.dedup();
        RuleAsk { rule, keys, stretches: stretches(starts, span_us(schema, rule)) }
    };
    rules.into_iter().map(merge).collect()
}

/// Length of a rule's span in microseconds.
pub(crate) fn span_us(schema: &StreamSchema, rule: usize) -> i64 {
    i64::from(schema.rules[rule].every_s.max(1)) * 1_000_000
}

/// The answers in the order of the asks.
pub(crate) fn in_order(asks: &[SpanAsk], figures: &Figures) -> Vec<u64> {
    let figure = |ask: &SpanAsk| figures.get(&(ask.rule, ask.start_us, ask.key.clone())).copied().unwrap_or(0);
    asks.iter().map(figure).collect()
}

/// At most `STRETCHES_MAX` stretches over spans of that length, split at the longest gaps.
fn stretches(mut starts: Vec<i64>, length_us: i64) -> Vec<(i64, i64)> {
    starts.sort_unstable();
    starts.dedup();
    let mut gaps: Vec<i64> = starts.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > length_us).collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    let split_from = gaps.get(STRETCHES_MAX - 1).map_or(length_us, |gap| *gap);
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for start in starts {
        let end = start.saturating_add(length_us);
        match merged.last_mut() {
            Some(last) if start - (last.1 - length_us) <= split_from => last.1 = end,
            _ => merged.push((start, end)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_hold_every_span_and_leave_the_longest_gaps_out() {
        assert_eq!(stretches(vec![], 10), []);
        assert_eq!(stretches(vec![20, 0, 10, 10], 10), [(0, 30)]);
        assert_eq!(stretches(vec![0, 1000, 1010], 10), [(0, 10), (1000, 1020)]);
        let starts: Vec<i64> = (0..1000).map(|n: i64| n * n * 10).collect();
        let found = stretches(starts.clone(), 10);
        assert!(found.len() <= STRETCHES_MAX && found.len() > 1, "{found:?}");
        for start in starts {
            assert!(found.iter().any(|(from, to)| *from <= start && start + 10 <= *to), "{start} in {found:?}");
        }
        assert!(found.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
