//! The roles that a process may have: each takes its settings apart, adds its services and starts its tasks.

mod cache;
mod ingest;
mod processor;
mod start;
mod stats;

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use headwater_contracts::Contracts;
use headwater_event_log::TopicSpec;
use headwater_serving::{Admission, Metrics, Readiness, Services, Settings};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::outside::Systems;

/// Which services a process runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roles {
    pub(crate) ingest: bool,
    pub(crate) processor: bool,
    pub(crate) stats: bool,
    pub(crate) cache: bool,
}

/// What a role is started with, and what it adds to.
pub(crate) struct Stage<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) contracts: Arc<Contracts>,
    pub(crate) metrics: &'a Metrics,
    pub(crate) readiness: &'a Readiness,
    pub(crate) drain: &'a CancellationToken,
    pub(crate) admission: &'a Admission,
    pub(crate) services: Services,
    pub(crate) pages: Router,
    pub(crate) tasks: JoinSet<anyhow::Result<()>>,
}

impl Roles {
    /// The names of all roles.
    pub(crate) const NAMES: [&'static str; 4] = ["ingest", "processor", "stats", "cache"];

    /// The roles of these names.
    pub(crate) fn named(names: &[&str]) -> Self {
        let [ingest, processor, stats, cache] = Self::NAMES.map(|name| names.contains(&name));
        Self { ingest, processor, stats, cache }
    }

    /// Every role.
    pub(crate) fn all() -> Self {
        Self::named(&Self::NAMES)
    }

    /// Whether any of them works on events.
    pub(crate) fn need_events(self) -> bool {
        self.ingest || self.processor || self.stats
    }

    /// Starts each.
    pub(crate) fn start(self, stage: &mut Stage<'_>, systems: &Systems) -> anyhow::Result<()> {
        if self.need_events() {
            let outside = systems.events.as_ref().context("a role needs the event log and the history")?;
            if self.ingest {
                ingest::start(stage, outside);
            }
            if self.stats {
                stats::start(stage, outside);
            }
            if self.processor {
                processor::start(stage, outside);
            }
        }
        if self.cache {
            let store = systems.cache.as_ref().context("a role needs the cache's store")?;
            cache::start(stage, Arc::clone(store))?;
        }
        Ok(())
    }
}

/// How topics are made, but for their name.
pub(crate) fn topic_spec(settings: &Settings) -> TopicSpec {
    TopicSpec {
        name: String::new(),
        partitions: settings.topics.partitions,
        replication: settings.topics.replication,
        min_insync: settings.topics.min_insync,
        retention_ms: settings.topics.retention_ms,
    }
}
