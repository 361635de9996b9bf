//! Spares a store that is away, and the callers the wait for it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Opens after so many failures in a row and no answer for the length of a pause: calls fail at once then, but for one after
/// each pause, which tries. A store of which only a part is away answers all the time, and keeps it closed.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures_max: u32,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    answered_at: Option<Instant>,
    /// Until when calls fail at once; one after that tries, and moves this on.
    closed_off_until: Option<Instant>,
}

impl Breaker {
    pub(crate) fn new(failures_max: u32, pause: Duration) -> Self {
        Self { failures_max: failures_max.max(1), pause, state: Mutex::default() }
    }

    /// Whether a call may go to the store; otherwise for how long none may.
    pub(crate) fn admit(&self) -> Result<(), Duration> {
        let mut state = self.state.lock();
        let Some(until) = state.closed_off_until else { return Ok(()) };
        let now = Instant::now();
        if now < until {
            return Err(until - now);
        }
        state.closed_off_until = Some(now + self.pause);
        Ok(())
    }

    /// The store answered a call.
    pub(crate) fn answered(&self) {
        *self.state.lock() = State { answered_at: Some(Instant::now()), ..State::default() };
    }

    /// The store did not answer a call.
    pub(crate) fn failed(&self) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        let is_silent = state.answered_at.is_none_or(|at| now - at >= self.pause);
        if state.failures >= self.failures_max && is_silent {
            state.closed_off_until = Some(now + self.pause);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().closed_off_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_lets_one_try_after_each_pause() {
        let breaker = Breaker::new(3, Duration::from_millis(100));
        breaker.failed();
        breaker.failed();
        breaker.answered();
        tokio::time::advance(Duration::from_millis(100)).await;
        breaker.failed();
        breaker.failed();
        assert!(breaker.admit().is_ok(), "not three in a row");
        breaker.failed();
        assert_eq!(breaker.admit(), Err(Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(breaker.admit().is_ok(), "one tries");
        assert!(breaker.admit().is_err(), "only one");
        breaker.answered();
        assert!(breaker.admit().is_ok() && !breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_closed_while_a_part_of_the_store_answers() {
        let breaker = Breaker::new(3, Duration::from_millis(100));
        for _ in 0..50 {
            breaker.answered();
            for _ in 0..10 {
                breaker.failed();
                tokio::time::advance(Duration::from_millis(5)).await;
                assert!(breaker.admit().is_ok());
            }
        }
        tokio::time::advance(Duration::from_millis(100)).await;
        breaker.failed();
        breaker.failed();
        breaker.failed();
        assert!(breaker.is_open());
    }
}
