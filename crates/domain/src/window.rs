use thiserror::Error;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How far past `as_of` a bucket can begin: events may be ahead of their arrival, and arrivals ahead of the reader's clock.
const AHEAD_MS: i64 = 15 * MINUTE_MS;

/// Length of a bucket that counts are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// 60 s
    Minute,
    /// 3600 s
    Hour,
    /// 86,400 s, from midnight UTC; kept only where windows reach further than two days
    Day,
}

/// A span of event time that counts are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    /// Its length.
    pub tier: Tier,
    /// Its number: the time of its beginning divided by its length.
    pub index: i64,
}

impl Tier {
    /// Length in milliseconds.
    pub fn length_ms(self) -> i64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
        }
    }

    /// The tiers that are kept where windows reach `window_max_ms` back.
    pub fn kept(window_max_ms: i64) -> &'static [Self] {
        if window_max_ms >= 2 * DAY_MS {
            &[Self::Minute, Self::Hour, Self::Day]
        } else if window_max_ms >= 2 * HOUR_MS {
            &[Self::Minute, Self::Hour]
        } else {
            &[Self::Minute]
        }
    }
}

impl Bucket {
    /// The bucket of that tier that holds the moment.
    pub fn holding(tier: Tier, time_ms: i64) -> Self {
        Self { tier, index: time_ms.div_euclid(tier.length_ms()) }
    }

    /// When it begins, in milliseconds since the Unix epoch, inclusive.
    pub fn start_ms(self) -> i64 {
        self.index * self.tier.length_ms()
    }

    /// When it ends, in milliseconds since the Unix epoch, exclusive.
    pub fn end_ms(self) -> i64 {
        (self.index + 1) * self.tier.length_ms()
    }

    /// When no window can reach it any more: its end, `window_max_ms`, and an hour for clocks that differ.
    pub fn expires_ms(self, window_max_ms: i64) -> i64 {
        self.end_ms() + window_max_ms + HOUR_MS
    }
}

/// A trailing window: what happened from some time before `as_of` on. It has no end, so that events
/// whose clock runs ahead (5 minutes at most) count at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    length_ms: i64,
}

/// A window that is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WindowError {
    /// Shorter than a second, or negative.
    #[error("a window is at least 1 s")]
    TooShort,
    /// Longer than the longest.
    #[error("a window is at most {max_s} s")]
    TooLong {
        /// The longest window in seconds.
        max_s: i64,
    },
}

impl Window {
    /// A window of that many milliseconds, of which the longest is `window_max_ms`.
    ///
    /// # Errors
    /// Where it is shorter than 1 s or longer than the longest.
    pub fn new(length_ms: i64, window_max_ms: i64) -> Result<Self, WindowError> {
        if length_ms < 1000 {
            Err(WindowError::TooShort)
        } else if length_ms > window_max_ms {
            Err(WindowError::TooLong { max_s: window_max_ms / 1000 })
        } else {
            Ok(Self { length_ms })
        }
    }

    /// Where the window of a distinct begins, in milliseconds since the Unix epoch, inclusive.
    pub fn start_ms(self, as_of_ms: i64) -> i64 {
        as_of_ms - self.length_ms
    }

    /// Where the window of a top or a sum begins, inclusive: N whole minutes before the running one, N rounded up.
    pub fn minute_start_ms(self, as_of_ms: i64) -> i64 {
        let minutes = (self.length_ms + MINUTE_MS - 1) / MINUTE_MS;
        (as_of_ms.div_euclid(MINUTE_MS) - minutes) * MINUTE_MS
    }

    /// The buckets that together hold everything from `minute_start_ms` on, each moment once, oldest first.
    /// Only tiers that are kept for `window_max_ms` are used.
    pub fn buckets(self, as_of_ms: i64, window_max_ms: i64) -> Vec<Bucket> {
        let tiers = Tier::kept(window_max_ms);
        let end_ms = as_of_ms + AHEAD_MS;
        let mut buckets = Vec::new();
        let mut at_ms = self.minute_start_ms(as_of_ms);
        while at_ms <= end_ms {
            let tier = tiers
                .iter()
                .rev()
                .copied()
                .find(|tier| at_ms.rem_euclid(tier.length_ms()) == 0)
                .unwrap_or(Tier::Minute);
            let bucket = Bucket::holding(tier, at_ms);
            at_ms = bucket.end_ms();
            buckets.push(bucket);
        }
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: i64 = 3600;

    #[test]
    fn buckets_hold_every_moment_once_and_begin_at_the_start() {
        let max_ms = 24 * HOUR_S * 1000;
        for as_of_ms in [0, 1_700_000_000_123, 1_700_003_599_999, 1_700_006_400_000] {
            for length_s in [1, 59, 60, 61, 300, 3600, 86_400] {
                let window = Window::new(length_s * 1000, max_ms).expect("offered");
                let buckets = window.buckets(as_of_ms, max_ms);
                assert_eq!(buckets[0].start_ms(), window.minute_start_ms(as_of_ms));
                for pair in buckets.windows(2) {
                    assert_eq!(pair[0].end_ms(), pair[1].start_ms());
                }
                let last = buckets[buckets.len() - 1];
                assert!(last.end_ms() > as_of_ms + 5 * 60_000);
                assert!(buckets.len() <= 60 + 26, "{} buckets", buckets.len());
            }
        }
    }

    #[test]
    fn a_window_of_n_minutes_is_n_whole_ones_and_the_running_one() {
        let window = Window::new(300_000, 3_600_000).expect("offered");
        assert_eq!(window.minute_start_ms(600_000 + 59_999), 300_000);
        assert_eq!(window.start_ms(600_000 + 59_999), 359_999);
    }

    #[test]
    fn lengths_out_of_bounds_are_refused() {
        assert_eq!(Window::new(999, 60_000), Err(WindowError::TooShort));
        assert_eq!(Window::new(61_000, 60_000), Err(WindowError::TooLong { max_s: 60 }));
    }
}
