use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use headwater_contracts::Contracts;
use headwater_contracts::v1::ingest::ingest_service_server::IngestService;
use headwater_contracts::v1::ingest::{
    ListStreamsRequest, ListStreamsResponse, PublishRequest, PublishResponse, PublishStreamRequest, Stream,
};
use headwater_domain::Reason;
use headwater_event_log::{EventLog, SchemaRegistry, TopicSpec};
use headwater_serving::opentelemetry::metrics::Meter;
use headwater_serving::page;
use headwater_serving::problem::Problem;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::route::{self, Route, RouteError};
use crate::stream::{self, Answers};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);
const LIST_STREAMS: &str = "ListStreams";

/// The bounds of ingest. Each is a setting of the same name.
#[derive(Clone, Debug)]
pub struct IngestOptions {
    /// Records in a batch at most.
    pub batch_records_max: usize,
    /// Bytes of an event at most.
    pub record_bytes_max: usize,
    /// Records in flight at most, over all callers; a record counts once for each KiB that it begins.
    pub records_in_flight_max: usize,
    /// The same for one PublishStream.
    pub stream_records_in_flight_max: usize,
    /// How a stream's topic is made where it is missing; the name is set for each.
    pub topic: TopicSpec,
}

/// The ingest service.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
}

/// What all calls have in common.
pub(crate) struct Shared {
    pub(crate) options: IngestOptions,
    pub(crate) contracts: Arc<Contracts>,
    pub(crate) log: Arc<dyn EventLog>,
    registry: Arc<dyn SchemaRegistry>,
    routes: RwLock<BTreeMap<String, Route>>,
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) drain: CancellationToken,
}

impl Ingest {
    /// The service over these contracts, log and registry. It takes nothing until [`Ingest::prepare`] is done.
    /// From the end of `drain` on, streams take no further batch and end when the last is answered.
    pub fn new(
        options: IngestOptions,
        contracts: Arc<Contracts>,
        log: Arc<dyn EventLog>,
        registry: Arc<dyn SchemaRegistry>,
        drain: CancellationToken,
        meter: &Meter,
    ) -> Self {
        let in_flight = Arc::new(Semaphore::new(options.records_in_flight_max.min(Semaphore::MAX_PERMITS)));
        let (routes, metrics) = (RwLock::default(), Metrics::new(meter));
        Self { shared: Arc::new(Shared { options, contracts, log, registry, routes, in_flight, metrics, drain }) }
    }

    /// Makes topics and registers schemas where they are missing; waits out outages, and tells `waiting` of each.
    ///
    /// # Errors
    /// Where waiting cannot help: a schema that breaks compatibility, a topic that is not as it must be.
    pub async fn prepare(&self, waiting: impl Fn(&RouteError)) -> Result<(), RouteError> {
        let shared = &self.shared;
        for stream in shared.contracts.streams() {
            let pauses = ExponentialBuilder::default()
                .with_min_delay(RETRY_MIN)
                .with_max_delay(RETRY_MAX)
                .with_jitter()
                .without_max_times();
            let route = (|| route::prepare(stream, &shared.options.topic, &*shared.log, &*shared.registry))
                .retry(pauses)
                .when(RouteError::is_outage)
                .notify(|error, _| {
                    warn!(%error, "waiting");
                    waiting(error);
                })
                .await?;
            let name = &stream.schema.name;
            info!(stream = name, partitions = route.partitions, schema_id = route.schema_id, "ready to publish to");
            shared.routes.write().insert(name.clone(), route);
        }
        Ok(())
    }
}

impl Shared {
    pub(crate) fn route(&self, stream: &str) -> Result<Route, Problem> {
        let route = self.routes.read().get(stream).cloned();
        route.ok_or_else(|| {
            Problem::new(
                Reason::NotReady,
                format!("the stream {stream:?} is not ready: its topic or its schema is not there yet; try again"),
            )
        })
    }
}

#[tonic::async_trait]
impl IngestService for Ingest {
    type PublishStreamStream = Answers;

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let PublishRequest { stream, records } = request.into_inner();
        let shared = &self.shared;
        let batch = shared.batch(&stream, records)?;
        let cost = shared.cost(&batch.records);
        let _permit = shared.in_flight.try_acquire_many(cost).map_err(|_| {
            Problem::new(
                Reason::Overloaded,
                "too many records are in flight (ingest.records_in_flight_max); try again after the delay",
            )
        })?;
        let published = shared.publish(batch).await;
        if let Some(outage) = published.outage {
            return Err(outage.into());
        }
        Ok(Response::new(PublishResponse { results: published.results, consistency_token: published.token }))
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        Ok(Response::new(stream::answers(Arc::clone(&self.shared), request.into_inner())))
    }

    async fn list_streams(
        &self,
        request: Request<ListStreamsRequest>,
    ) -> Result<Response<ListStreamsResponse>, Status> {
        let ListStreamsRequest { page_size, page_token } = request.into_inner();
        let after = page::after(LIST_STREAMS, &page_token)?;
        let size = page::size(page_size)?;
        let mut streams: Vec<Stream> = self
            .shared
            .contracts
            .streams()
            .filter(|stream| after.as_ref().is_none_or(|after| stream.schema.name > *after))
            .take(size + 1)
            .map(|stream| self.shared.described(stream))
            .collect();
        let more = streams.len() > size;
        streams.truncate(size);
        let next_page_token = match streams.last() {
            Some(last) if more => page::token(LIST_STREAMS, &last.name),
            _ => String::new(),
        };
        Ok(Response::new(ListStreamsResponse { streams, next_page_token }))
    }
}

impl Shared {
    fn described(&self, stream: &headwater_contracts::StreamContract) -> Stream {
        let schema = &stream.schema;
        let route = self.routes.read().get(&schema.name).cloned();
        let field = |column: usize| schema.columns[column].name.clone();
        Stream {
            name: schema.name.clone(),
            message_type: schema.message.clone(),
            id_field: field(schema.id),
            key_field: field(schema.key),
            time_field: field(schema.time),
            stats: schema.stats.iter().map(|stat| stat.name.clone()).collect(),
            rules: schema.rules.iter().map(|rule| rule.name.clone()).collect(),
            partitions: route.as_ref().map_or(0, |route| route.partitions),
            schema_id: route.as_ref().map_or(0, |route| route.schema_id),
        }
    }
}
