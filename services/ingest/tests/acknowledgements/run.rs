//! One seed: callers that publish at the same time, each answer held against what the log has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headwater_contracts::Contracts;
use headwater_contracts::v1::event::PageEvent;
use headwater_contracts::v1::ingest::ingest_service_server::IngestService;
use headwater_contracts::v1::ingest::record_result::Result as Answer;
use headwater_contracts::v1::ingest::{PublishRequest, PublishResponse, Record};
use headwater_domain::{ConsistencyToken, Reason};
use headwater_event_log::TopicSpec;
use headwater_ingest::{Ingest, IngestOptions};
use headwater_serving::opentelemetry::global::meter;
use parking_lot::Mutex;
use prost::Message;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::log::{FaultyLog, Hits};

const STREAM: &str = "page-events";
const CALLERS: u64 = 4;
const CALLS: u64 = 12;
const RECORDS_MAX: u64 = 8;

/// What a seed shares.
struct World {
    log: Arc<FaultyLog>,
    ingest: Ingest,
    /// Places that an answer named.
    accepted: Mutex<BTreeSet<(i32, i64)>>,
}

/// Runs a seed: the faults that were hit, or what is wrong.
pub(crate) fn simulate(seed: u64, contracts: &Arc<Contracts>) -> Result<Hits, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let log = Arc::new(FaultyLog::new(seed));
        let drain = CancellationToken::new();
        let ingest =
            Ingest::new(options(), Arc::clone(contracts), log.clone(), log.clone(), drain, &meter("simulation"));
        ingest.prepare(|_| {}).await.map_err(|error| error.to_string())?;
        let world = Arc::new(World { log, ingest, accepted: Mutex::default() });
        let callers: Vec<_> = (0..CALLERS).map(|caller| tokio::spawn(call(Arc::clone(&world), caller))).collect();
        for caller in callers {
            caller.await.unwrap()?;
        }
        Ok(world.log.hits())
    })
}

async fn call(world: Arc<World>, caller: u64) -> Result<(), String> {
    for call in 0..CALLS {
        sleep(Duration::from_millis(world.log.below(30))).await;
        let events: Vec<(PageEvent, bool)> = (0..1 + world.log.below(RECORDS_MAX))
            .map(|number| {
                let holds = world.log.below(8) > 0;
                (event((caller * CALLS + call) * RECORDS_MAX + number, holds), holds)
            })
            .collect();
        let request = PublishRequest {
            stream: STREAM.to_owned(),
            records: events.iter().map(|(event, _)| record(event)).collect(),
        };
        // A caller that does not wait for its answer.
        let patience_ms = if world.log.below(10) == 0 { world.log.below(20) } else { 60_000 };
        let answer = timeout(Duration::from_millis(patience_ms), world.ingest.publish(Request::new(request))).await;
        match answer {
            Ok(Ok(response)) => verify(&world, &events, &response.into_inner())?,
            Ok(Err(_)) => world.log.hit("call refused"),
            Err(_) => world.log.hit("caller gone"),
        }
    }
    Ok(())
}

fn verify(world: &World, events: &[(PageEvent, bool)], response: &PublishResponse) -> Result<(), String> {
    if response.results.len() != events.len() {
        return Err(format!("{} results for {} records", response.results.len(), events.len()));
    }
    let mut nexts: BTreeMap<i32, i64> = BTreeMap::new();
    for ((event, holds), result) in events.iter().zip(&response.results) {
        match result.result.as_ref().ok_or("a result says nothing")? {
            Answer::Accepted(accepted) if *holds => {
                let place = (accepted.partition, accepted.offset);
                let id = &event.event_id;
                let Some(kept) = world.log.acknowledged(place) else {
                    return Err(format!("{id} was accepted at {place:?}, which the log had not acknowledged"));
                };
                if !kept.ends_with(&event.encode_to_vec()) || accepted.id != *id {
                    return Err(format!("{id} was accepted at {place:?}, where the log has something else"));
                }
                if !world.accepted.lock().insert(place) {
                    return Err(format!("{id} was accepted at {place:?}, where another one was"));
                }
                let next = nexts.entry(place.0).or_default();
                *next = (*next).max(place.1 + 1);
            }
            Answer::Rejected(rejected) if *holds && rejected.reason == Reason::RecordTooLarge.number() => {}
            Answer::Rejected(_) if !*holds => {}
            Answer::Retry(_) if *holds => world.log.hit("told to try again"),
            other => return Err(format!("{} holds: {holds}, and was answered {other:?}", event.event_id)),
        }
    }
    // Where nothing was accepted there is no token.
    let mut token = ConsistencyToken::new(STREAM);
    token.next = nexts;
    if response.consistency_token != token.encode() {
        return Err(format!("the token is {:?}, and should be of {token:?}", response.consistency_token));
    }
    Ok(())
}

fn event(number: u64, holds: bool) -> PageEvent {
    PageEvent {
        event_id: format!("00000000-0000-4000-8000-{number:012x}"),
        timestamp: holds.then_some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        user_id: format!("user {}", number % 7),
        event_type: "page_view".to_owned(),
        page_url: "/".to_owned(),
        session_id: "session".to_owned(),
    }
}

fn record(event: &PageEvent) -> Record {
    let type_url = "type.googleapis.com/headwater.event.v1.PageEvent".to_owned();
    Record { event: Some(prost_types::Any { type_url, value: event.encode_to_vec() }) }
}

fn options() -> IngestOptions {
    IngestOptions {
        batch_records_max: 100,
        record_bytes_max: 1 << 20,
        records_in_flight_max: 10_000,
        stream_records_in_flight_max: 1000,
        topic: TopicSpec {
            name: String::new(),
            partitions: 3,
            replication: 1,
            min_insync: 1,
            retention_ms: 86_400_000,
        },
    }
}
