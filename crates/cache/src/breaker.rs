//! Spares a store that is away, and the callers the wait for it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Opens after so many failures in a row: calls fail at once then, but for one after each pause, which tries.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures_max: u32,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
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
        let mut state = self.state.lock();
        if state.failures > 0 || state.closed_off_until.is_some() {
            *state = State::default();
        }
    }

    /// The store did not answer a call.
    pub(crate) fn failed(&self) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= self.failures_max {
            state.closed_off_until = Some(Instant::now() + self.pause);
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
}
