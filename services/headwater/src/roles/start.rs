use std::sync::atomic::{AtomicBool, Ordering};

use headwater_serving::{Condition, Readiness};

/// A condition of the start: once it was met, an outage is told by the answers of calls and not by health, or every
/// replica would leave the mesh at once.
pub(super) struct Start {
    condition: Condition,
    met: AtomicBool,
}

impl Start {
    pub(super) fn new(readiness: &Readiness, name: &str, services: &[&str]) -> Self {
        Self { condition: readiness.condition(name, services), met: AtomicBool::new(false) }
    }

    pub(super) fn is_met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    pub(super) fn tell(&self, reason: Option<String>) {
        match reason {
            None => {
                self.met.store(true, Ordering::Relaxed);
                self.condition.met();
            }
            Some(reason) if !self.is_met() => self.condition.unmet(reason),
            Some(_) => {}
        }
    }
}
