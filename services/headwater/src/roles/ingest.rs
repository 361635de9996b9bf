use std::sync::Arc;

use anyhow::Context;
use headwater_contracts::v1::ingest::ingest_service_server::{IngestServiceServer, SERVICE_NAME as INGEST};
use headwater_ingest::{Ingest, IngestOptions};
use headwater_processor::Outside;
use headwater_serving::{Settings, limited};

use super::{Stage, topic_spec};

/// IngestService, and the topics and schemas that it needs.
pub(super) fn start(stage: &mut Stage<'_>, outside: &Outside) {
    let ingest = Ingest::new(
        options(stage.settings),
        Arc::clone(&stage.contracts),
        Arc::clone(&outside.log),
        Arc::clone(&outside.registry),
        stage.drain.clone(),
        &stage.metrics.meter("headwater.ingest"),
    );
    stage.services.add(limited!(IngestServiceServer::new(ingest.clone()), stage.settings.rpc));
    let condition = stage.readiness.condition("ingest: topics and schemas", &[INGEST]);
    let drain = stage.drain.clone();
    stage.tasks.spawn(async move {
        tokio::select! {
            () = drain.cancelled() => {}
            prepared = ingest.prepare(|error| condition.unmet(error.to_string())) => {
                prepared.context("ingest cannot start")?;
                condition.met();
            }
        }
        Ok(())
    });
}

fn options(settings: &Settings) -> IngestOptions {
    let ingest = &settings.ingest;
    IngestOptions {
        batch_records_max: ingest.batch_records_max,
        record_bytes_max: ingest.record_bytes_max,
        records_in_flight_max: ingest.records_in_flight_max,
        stream_records_in_flight_max: ingest.stream_records_in_flight_max,
        topic: topic_spec(settings),
    }
}
