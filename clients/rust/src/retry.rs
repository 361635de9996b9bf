use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// How often and how patiently a call is tried again. Every field is a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; 1 is no retry.
    pub attempts_max: u32,
    /// Wait before the second attempt, doubled for each further one, with jitter.
    pub backoff_min: Duration,
    /// Longest wait of our own. The server may ask for a longer one, up to the call's deadline.
    pub backoff_max: Duration,
}

impl Default for RetryPolicy {
    /// 5 attempts, 100 ms to 5 s.
    fn default() -> Self {
        Self { attempts_max: 5, backoff_min: Duration::from_millis(100), backoff_max: Duration::from_secs(5) }
    }
}

impl RetryPolicy {
    /// One attempt.
    pub fn none() -> Self {
        Self { attempts_max: 1, ..Self::default() }
    }

    /// The waits between attempts: one fewer than attempts.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff {
            waits: ExponentialBuilder::default()
                .with_min_delay(self.backoff_min)
                .with_max_delay(self.backoff_max)
                .with_max_times(self.attempts_max.saturating_sub(1) as usize)
                .with_jitter()
                .build(),
        }
    }
}

/// The waits that are left.
#[derive(Debug)]
pub(crate) struct Backoff {
    waits: backon::ExponentialBackoff,
}

impl Backoff {
    /// The next wait, at least what the server asked for. None: the attempts are used up.
    pub(crate) fn next_wait(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.waits.next().map(|wait| wait.max(asked.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_as_many_as_allowed_and_as_long_as_asked() {
        let policy = RetryPolicy { attempts_max: 3, ..RetryPolicy::default() };
        let mut backoff = policy.backoff();
        let first = backoff.next_wait(None).expect("two retries are left");
        assert!(first >= policy.backoff_min && first <= 2 * policy.backoff_max, "{first:?}");
        assert_eq!(backoff.next_wait(Some(Duration::from_secs(30))), Some(Duration::from_secs(30)));
        assert_eq!(backoff.next_wait(None), None);
        assert_eq!(RetryPolicy::none().backoff().next_wait(None), None);
    }
}
