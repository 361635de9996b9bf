//! Whether what L1 has may still be vouched for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_planted::{Bug, is};
use tokio::time::Instant;

/// What is known of the store's changes.
///
/// A value of L1 is of an epoch, and a hit only in it: a new one begins whenever changes may have been missed. Within an
/// epoch everything that changed before the moment of `heard` has been noticed, so that a value of L1 is at most as old as
/// that moment. A hit needs one no longer ago than the bound.
#[derive(Debug)]
pub(crate) struct Coherence {
    base: Instant,
    staleness_max: Duration,
    epoch: AtomicU64,
    /// Microseconds after `base`, and one; 0 while nothing was heard in this epoch.
    heard_us: AtomicU64,
}

impl Coherence {
    pub(crate) fn new(staleness_max: Duration) -> Self {
        Self { base: Instant::now(), staleness_max, epoch: AtomicU64::new(1), heard_us: AtomicU64::new(0) }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Changes may have been missed.
    pub(crate) fn begin_epoch(&self) {
        self.heard_us.store(0, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Everything that changed before this moment has been noticed.
    pub(crate) fn heard(&self, at: Instant) {
        let us = at.saturating_duration_since(self.base).as_micros();
        self.heard_us.fetch_max(u64::try_from(us).unwrap_or(u64::MAX - 1) + 1, Ordering::AcqRel);
    }

    /// The last moment before which everything has been noticed.
    pub(crate) fn heard_at(&self) -> Option<Instant> {
        match self.heard_us.load(Ordering::Acquire) {
            0 => None,
            us => Some(self.base + Duration::from_micros(us - 1)),
        }
    }

    /// Whether a value that was read in this epoch is what the store has, or had within the bound.
    pub(crate) fn vouches(&self, epoch: u64, now: Instant) -> bool {
        let is_within = |heard: Instant| now.saturating_duration_since(heard) < self.staleness_max;
        let is_recent = self.heard_at().is_some_and(|heard| is_within(heard) || is(Bug::VouchedUnheard));
        // The epoch last: one that began meanwhile counts.
        is_recent && epoch == self.epoch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_value_is_vouched_for_within_its_epoch_and_the_bound() {
        let coherence = Coherence::new(Duration::from_millis(250));
        let epoch = coherence.epoch();
        assert!(!coherence.vouches(epoch, Instant::now()), "nothing was heard yet");
        coherence.heard(Instant::now());
        assert!(coherence.vouches(epoch, Instant::now()));
        tokio::time::advance(Duration::from_millis(249)).await;
        assert!(coherence.vouches(epoch, Instant::now()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!coherence.vouches(epoch, Instant::now()), "the bound is passed");
        coherence.heard(Instant::now());
        coherence.begin_epoch();
        coherence.heard(Instant::now());
        assert!(!coherence.vouches(epoch, Instant::now()), "another epoch began");
        assert!(coherence.vouches(coherence.epoch(), Instant::now()));
    }
}
