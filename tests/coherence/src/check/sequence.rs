use super::key::Value;

/// Somewhere between two times the key surely had a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) operation: usize,
    pub(super) value: Value,
    pub(super) from_us: u64,
    pub(super) to_us: u64,
}

/// Moments, by when they began.
#[derive(Default)]
pub(super) struct Sequence {
    moments: Vec<Moment>,
    /// For each moment: the one that ended first of it and all that began later, and the first of those with another value.
    first_ended: Vec<(usize, Option<usize>)>,
}

impl Sequence {
    /// Of moments that are in order.
    pub(super) fn new(moments: Vec<Moment>) -> Self {
        let mut first_ended: Vec<(usize, Option<usize>)> = Vec::with_capacity(moments.len());
        for (at, moment) in moments.iter().enumerate().rev() {
            let Some(&(best, other)) = first_ended.last() else {
                first_ended.push((at, None));
                continue;
            };
            let is_best = moment.to_us < moments[best].to_us;
            let is_other = other.is_none_or(|other| moment.to_us < moments[other].to_us);
            first_ended.push(match moment.value == moments[best].value {
                true if is_best => (at, other),
                true => (best, other),
                false if is_best => (at, Some(best)),
                false if is_other => (best, Some(at)),
                false => (best, other),
            });
        }
        first_ended.reverse();
        Self { moments, first_ended }
    }

    /// The first to have surely ended of those that have another value and began after one time, and not before another.
    pub(super) fn replaced(&self, value: Value, after_us: u64, since_us: u64) -> Option<Moment> {
        let first = self.moments.partition_point(|moment| moment.from_us <= after_us || moment.from_us < since_us);
        let &(best, other) = self.first_ended.get(first)?;
        let at = if self.moments[best].value == value { other? } else { best };
        Some(self.moments[at])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Moment> {
        self.moments.iter()
    }
}
