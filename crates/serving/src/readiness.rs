use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use tokio::sync::watch;

/// What must hold before the process serves: named conditions that the roles set. Clones share them.
///
/// Health of each service, health of "" and `/readyz` all follow from it, and all say no while draining.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: watch::Sender<State>,
}

/// A condition's handle, for the role that knows whether it holds.
#[derive(Clone, Debug)]
pub struct Condition {
    name: String,
    readiness: Readiness,
}

/// Whether the process serves, and why not: what `/readyz` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    /// Whether everything holds and nothing drains.
    pub ready: bool,
    /// Whether the process is ending.
    pub draining: bool,
    /// The conditions, by name.
    pub conditions: Vec<ConditionState>,
    /// What is wrong and does not keep the process from serving, by name.
    pub troubles: Vec<Trouble>,
    /// What is good to know of what the process works on, by name.
    pub notes: BTreeMap<String, String>,
}

/// Something that is wrong now, and that people should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What it is about, for example "page-events/3".
    pub name: String,
    /// What is wrong, and what to do where somebody has to.
    pub reason: String,
    /// How long it has been so, in seconds.
    pub since_s: u64,
}

/// A condition as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionState {
    /// Its name, for example "ingest: event log".
    pub name: String,
    /// Whether it holds.
    pub ready: bool,
    /// Why it does not hold; empty where it does.
    pub reason: String,
    /// How long it has been so, in seconds.
    pub since_s: u64,
    /// The services that it is for; empty: all.
    pub services: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    conditions: BTreeMap<String, Held>,
    /// By name: the reason, and since when.
    troubles: BTreeMap<String, (String, Instant)>,
    /// By name: what it is good to know.
    notes: BTreeMap<String, String>,
    draining: bool,
}

#[derive(Debug)]
struct Held {
    services: Vec<String>,
    /// Why it does not hold; none where it does.
    reason: Option<String>,
    since: Instant,
}

impl Readiness {
    /// Readiness without a condition: ready until one is added.
    pub fn new() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }

    /// Adds a condition, which does not hold yet. `services` are the full names of the gRPC services that need it;
    /// none: all do. The same name again is the same condition.
    pub fn condition(&self, name: &str, services: &[&str]) -> Condition {
        self.state.send_modify(|state| {
            let services = services.iter().map(ToString::to_string).collect();
            let reason = Some("starting".to_owned());
            state.conditions.entry(name.to_owned()).or_insert(Held { services, reason, since: Instant::now() });
        });
        Condition { name: name.to_owned(), readiness: self.clone() }
    }

    /// Whether everything holds and nothing drains.
    pub fn is_ready(&self) -> bool {
        self.state.borrow().serves("")
    }

    /// Every condition, for people and probes.
    pub fn report(&self) -> ReadinessReport {
        let state = self.state.borrow();
        let conditions = state
            .conditions
            .iter()
            .map(|(name, held)| ConditionState {
                name: name.clone(),
                ready: held.reason.is_none(),
                reason: held.reason.clone().unwrap_or_default(),
                since_s: held.since.elapsed().as_secs(),
                services: held.services.clone(),
            })
            .collect();
        let trouble = |(name, (reason, since)): (&String, &(String, Instant))| Trouble {
            name: name.clone(),
            reason: reason.clone(),
            since_s: since.elapsed().as_secs(),
        };
        let troubles = state.troubles.iter().map(trouble).collect();
        let notes = state.notes.clone();
        ReadinessReport { ready: state.serves(""), draining: state.draining, conditions, troubles, notes }
    }

    /// Shows a trouble of that name, or that it is over (none). Unlike a condition it is no ground to stop serving.
    pub fn trouble(&self, name: &str, reason: Option<String>) {
        self.state.send_if_modified(|state| {
            match reason {
                Some(reason) => {
                    let since = state.troubles.get(name).map_or_else(Instant::now, |(_, since)| *since);
                    state.troubles.insert(name.to_owned(), (reason, since));
                }
                None => {
                    state.troubles.remove(name);
                }
            }
            // Nobody who follows health has to look again.
            false
        });
    }

    /// Shows something that is good to know of what the process works on, under a name.
    pub fn note(&self, name: &str, text: impl Into<String>) {
        self.state.send_if_modified(|state| {
            state.notes.insert(name.to_owned(), text.into());
            false
        });
    }

    /// Waits until everything holds; never returns while draining.
    pub async fn ready(&self) {
        let mut changes = self.state.subscribe();
        // The sender is held by this very value, so the channel cannot close.
        let _ = changes.wait_for(|state| state.serves("")).await;
    }

    /// Says no from now on, for good.
    pub(crate) fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }

    /// Whether a service, or "" for the process, serves now; with a receiver that is told of changes.
    pub(crate) fn watch(&self, service: &str) -> Watched {
        Watched { service: service.to_owned(), changes: self.state.subscribe() }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Condition {
    /// It holds.
    pub fn met(&self) {
        self.set(None);
    }

    /// It does not hold, and why.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        self.readiness.state.send_if_modified(|state| {
            let Some(held) = state.conditions.get_mut(&self.name).filter(|held| held.reason != reason) else {
                return false;
            };
            let turned = held.reason.is_none() != reason.is_none();
            match &reason {
                None => tracing::info!(condition = self.name, "ready"),
                Some(reason) if turned => tracing::warn!(condition = self.name, reason, "not ready"),
                Some(reason) => tracing::info!(condition = self.name, reason, "still not ready"),
            }
            if turned {
                held.since = Instant::now();
            }
            held.reason = reason;
            true
        });
    }
}

impl State {
    fn serves(&self, service: &str) -> bool {
        let concerns = |held: &Held| {
            service.is_empty() || held.services.is_empty() || held.services.iter().any(|name| name == service)
        };
        !self.draining && self.conditions.values().all(|held| held.reason.is_none() || !concerns(held))
    }
}

/// A service's health, followed.
pub(crate) struct Watched {
    service: String,
    changes: watch::Receiver<State>,
}

impl Watched {
    /// Whether it serves now.
    pub(crate) fn serves(&mut self) -> bool {
        self.changes.borrow_and_update().serves(&self.service)
    }

    /// Whether the process is ending.
    pub(crate) fn is_draining(&self) -> bool {
        self.changes.borrow().draining
    }

    /// Waits for a change of anything.
    pub(crate) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // Nobody is left who could change it.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_serves_when_its_conditions_hold() {
        let readiness = Readiness::new();
        let log = readiness.condition("ingest: event log", &["a.Ingest"]);
        let all = readiness.condition("listening", &[]);
        let mut ingest = readiness.watch("a.Ingest");
        let mut stats = readiness.watch("a.Stats");
        assert!(!ingest.serves() && !stats.serves() && !readiness.is_ready());
        all.met();
        assert!(!ingest.serves() && stats.serves() && !readiness.is_ready());
        log.met();
        assert!(ingest.serves() && readiness.is_ready());
        log.unmet("the broker is away");
        let report = readiness.report();
        assert!(!report.ready && !report.draining);
        assert_eq!(report.conditions[0].name, "ingest: event log");
        assert_eq!(report.conditions[0].reason, "the broker is away");
        assert!(report.conditions[1].ready);
        log.met();
        readiness.drain();
        assert!(!ingest.serves() && !stats.serves() && readiness.report().draining);
    }

    #[test]
    fn a_trouble_is_shown_and_keeps_nobody_from_serving() {
        let readiness = Readiness::new();
        readiness.trouble("page-events/3", Some("stopped".into()));
        assert!(readiness.is_ready());
        let report = readiness.report();
        assert!(report.ready);
        assert_eq!(
            (report.troubles[0].name.as_str(), report.troubles[0].reason.as_str()),
            ("page-events/3", "stopped")
        );
        readiness.trouble("page-events/3", None);
        assert_eq!(readiness.report().troubles, []);
        readiness.note("cache: durability", "nothing is lost");
        assert_eq!(readiness.report().notes["cache: durability"], "nothing is lost");
    }

    #[tokio::test]
    async fn ready_waits() {
        let readiness = Readiness::new();
        let condition = readiness.condition("x", &[]);
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        condition.met();
        waiting.await.expect("ready");
    }
}
