use std::sync::Arc;

use headwater_contracts::v1::rebuild::rebuild_service_server::{RebuildServiceServer, SERVICE_NAME as REBUILD};
use headwater_contracts::v1::stats::stats_service_server::{SERVICE_NAME as STATS, StatsServiceServer};
use headwater_processor::Outside;
use headwater_serving::{Settings, limited};
use headwater_stats::{Rebuilds, Stats, StatsOptions};

use super::Stage;
use super::start::Start;

/// StatsService and RebuildService.
pub(super) fn start(stage: &mut Stage<'_>, outside: &Outside) {
    let stats = Stats::new(
        options(stage.settings),
        Arc::clone(&stage.contracts),
        Arc::clone(&outside.history),
        Arc::clone(&outside.live),
        Some(Arc::clone(&outside.log)),
        stage.drain.clone(),
    );
    stage.services.add(limited!(StatsServiceServer::new(stats.clone()), stage.settings.rpc));
    let rebuilds = Rebuilds::new(
        Arc::clone(&stage.contracts),
        Arc::clone(&outside.history),
        Arc::clone(&outside.live),
        stage.drain.clone(),
    );
    stage.services.add(limited!(RebuildServiceServer::new(rebuilds), stage.settings.rpc));
    let started = ["stats: history", "stats: live statistics"]
        .map(|name| (name, Start::new(stage.readiness, name, &[STATS, REBUILD])));
    let drain = stage.drain.clone();
    stage.tasks.spawn(async move {
        let told = |name: &str, reason: Option<String>| {
            if let Some((_, start)) = started.iter().find(|(known, _)| *known == name) {
                start.tell(reason);
            }
        };
        tokio::select! {
            () = drain.cancelled() => {}
            () = stats.run(told) => {}
        }
        Ok(())
    });
}

fn options(settings: &Settings) -> StatsOptions {
    StatsOptions {
        window_max_ms: settings.stats.window_max_s * 1000,
        subscriptions_max: settings.stats.subscriptions_max,
    }
}
