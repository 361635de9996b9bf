use std::time::Duration;

use tokio::time::Instant;

/// When each event of a steady rate is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    start: Instant,
    rate: f64,
}

impl Pacer {
    /// `rate`: events in a second, above 0.
    pub(crate) fn new(start: Instant, rate: f64) -> Self {
        Self { start, rate }
    }

    /// How many events are due by now: event `i` is due `i / rate` seconds after the start.
    pub(crate) fn due(&self, now: Instant) -> u64 {
        match now.checked_duration_since(self.start) {
            Some(elapsed) => (elapsed.as_secs_f64() * self.rate) as u64 + 1,
            None => 0,
        }
    }

    /// When event `index` is due.
    pub(crate) fn at(&self, index: u64) -> Instant {
        self.start + Duration::from_secs_f64(index as f64 / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_at_their_moments() {
        let start = Instant::now() + Duration::from_secs(1);
        let pacer = Pacer::new(start, 10.0);
        assert_eq!(pacer.due(start - Duration::from_millis(1)), 0);
        assert_eq!(pacer.due(start), 1);
        assert_eq!(pacer.due(start + Duration::from_millis(99)), 1);
        assert_eq!(pacer.due(start + Duration::from_millis(101)), 2);
        assert_eq!(pacer.at(20), start + Duration::from_secs(2));
        assert_eq!(pacer.due(start + Duration::from_secs(3600)), 36_001);
    }
}
