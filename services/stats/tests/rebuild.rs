//! RebuildService over the embedded stores, without a processor: what is asked for stays as it was asked for.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use headwater_contracts::v1::event::Transaction;
use headwater_contracts::v1::rebuild::rebuild_service_server::RebuildService;
use headwater_contracts::v1::rebuild::{
    CancelRebuildRequest, ListRebuildsRequest, Rebuild, RebuildState, StartRebuildRequest, WatchRebuildsRequest,
};
use headwater_contracts::{Contracts, StreamContract};
use headwater_domain::{BatchCommit, LiveBatch, Reason, StoredEvent, Verdict};
use headwater_history::History;
use headwater_history::sqlite::SqliteHistory;
use headwater_live::memory::MemoryLive;
use headwater_live::{GenerationKey, LiveStatistics};
use headwater_serving::problem::reason_of;
use headwater_stats::Rebuilds;
use prost::Message;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

const PAGES: &str = "page-events";
const MONEY: &str = "transactions";
const NOON_S: i64 = 1_700_049_600;
const DAY_S: i64 = 86_400;
const WINDOW_MAX_MS: i64 = DAY_S * 1000;

struct World {
    contracts: Arc<Contracts>,
    history: Arc<SqliteHistory>,
    live: Arc<MemoryLive>,
    drain: CancellationToken,
    rebuilds: Rebuilds,
}

impl World {
    /// With the first generation of each stream, as a processor makes it.
    async fn new() -> Self {
        let world = Self::empty().await;
        for stream in world.contracts.streams() {
            world.history.generation(&stream.schema, 1, &stream.stats_fingerprint()).await.unwrap();
        }
        world
    }

    async fn empty() -> Self {
        let contracts = Arc::new(Contracts::shipped().unwrap());
        let history = Arc::new(SqliteHistory::open(None).unwrap());
        let live = Arc::new(MemoryLive::new(WINDOW_MAX_MS));
        let drain = CancellationToken::new();
        let schemas: Vec<_> = contracts.streams().map(|stream| Arc::clone(&stream.schema)).collect();
        history.prepare(&schemas).await.unwrap();
        let rebuilds = Rebuilds::new(contracts.clone(), history.clone(), live.clone(), drain.clone());
        Self { contracts, history, live, drain, rebuilds }
    }

    fn stream(&self, name: &str) -> &Arc<StreamContract> {
        self.contracts.stream(name).unwrap()
    }

    /// Stores transactions at noon and on the days before, one a day.
    async fn store(&self, days: i64) {
        let stream = self.stream(MONEY);
        let epoch = self.history.take(&stream.schema, 0, "test").await.unwrap().epoch;
        let stored = (0..days).map(|day| {
            let transaction = Transaction {
                transaction_id: format!("t{day}"),
                account_number: "a".into(),
                transaction_reference: "r".into(),
                transaction_datetime: Some(prost_types::Timestamp { seconds: NOON_S - day * DAY_S, nanos: 0 }),
                amount: 1.5,
            };
            let event = stream.check(&transaction.encode_to_vec()).unwrap();
            StoredEvent { offset: day, appended_ms: NOON_S * 1000, event, verdict: Verdict::Counted }
        });
        let batch = BatchCommit {
            partition: 0,
            epoch,
            first: 0,
            next: days,
            last_appended_ms: NOON_S * 1000,
            last_checksum: 0,
            stored: stored.collect(),
            dead: Vec::new(),
            duplicates: Vec::new(),
        };
        self.history.commit(&stream.schema, &batch).await.unwrap();
    }

    async fn start(&self, request: StartRebuildRequest) -> Result<Vec<Rebuild>, Status> {
        Ok(self.rebuilds.start_rebuild(Request::new(request)).await?.into_inner().rebuilds)
    }

    async fn list(&self, stream: &str) -> Vec<Rebuild> {
        let request = Request::new(ListRebuildsRequest { stream: stream.into() });
        self.rebuilds.list_rebuilds(request).await.unwrap().into_inner().rebuilds
    }

    async fn cancel(&self, stream: &str, generation: i64) -> Result<Rebuild, Status> {
        let request = Request::new(CancelRebuildRequest { stream: stream.into(), generation });
        Ok(self.rebuilds.cancel_rebuild(request).await?.into_inner().rebuild.unwrap())
    }

    fn key(&self, generation: i64) -> GenerationKey {
        GenerationKey { stream: MONEY.into(), generation, shards: 1 }
    }
}

fn asked(request_id: &str, streams: &[&str]) -> StartRebuildRequest {
    let streams = streams.iter().map(|&name| name.to_owned()).collect();
    StartRebuildRequest { request_id: request_id.into(), streams, ..StartRebuildRequest::default() }
}

fn names(rebuilds: &[Rebuild]) -> Vec<(&str, i64)> {
    rebuilds.iter().map(|rebuild| (rebuild.stream.as_str(), rebuild.generation)).collect()
}

fn moment(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

#[tokio::test]
async fn starting_twice_is_starting_once() {
    let world = World::new().await;
    let first = world.start(asked("nightly", &[])).await.unwrap();
    assert_eq!(names(&first), [(PAGES, 2), (MONEY, 2)]);
    assert!(first.iter().all(|of| of.state() == RebuildState::Building && of.request_id == "nightly"));
    assert_eq!(world.start(asked("nightly", &[])).await.unwrap(), first);
    assert_eq!(world.list("").await, first);
    assert_eq!(names(&world.list(MONEY).await), [(MONEY, 2)]);
    let own = World::new().await.start(asked("", &[MONEY, MONEY])).await.unwrap();
    assert_eq!(names(&own), [(MONEY, 2)]);
    assert!(!own[0].request_id.is_empty());
}

#[tokio::test]
async fn another_rebuild_waits_for_its_turn_and_begins_nothing() {
    let world = World::new().await;
    world.start(asked("a", &[PAGES])).await.unwrap();
    let refused = world.start(asked("b", &[])).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::FailedPrecondition, Some(Reason::RebuildRunning)));
    let metadata = refused.get_details_error_info().unwrap().metadata;
    assert_eq!((metadata["stream"].as_str(), metadata["generation"].as_str()), (PAGES, "2"));
    assert_eq!(world.list(MONEY).await, [], "nothing was begun of the other stream");
}

#[tokio::test]
async fn a_range_chooses_the_streams_with_events_in_it() {
    let world = World::new().await;
    world.store(3).await;
    let ranged = |id: &str, start_time, end_time| StartRebuildRequest { start_time, end_time, ..asked(id, &[]) };
    let none = world.start(ranged("1", moment(NOON_S + 1), None)).await.unwrap();
    assert_eq!(none, []);
    let none = world.start(ranged("2", None, moment(NOON_S - 2 * DAY_S))).await.unwrap();
    assert_eq!(none, []);
    let one = world.start(ranged("3", moment(NOON_S - DAY_S), moment(NOON_S - DAY_S + 1))).await.unwrap();
    assert_eq!(names(&one), [(MONEY, 2)]);
    assert_eq!((one[0].records_done, one[0].records, one[0].remaining), (0, 3, None));
}

#[tokio::test]
async fn what_is_asked_wrong_names_its_field() {
    let world = World::new().await;
    let swapped = StartRebuildRequest { start_time: moment(2), end_time: moment(1), ..asked("a", &[]) };
    let nanos = Some(prost_types::Timestamp { seconds: 1, nanos: -1 });
    let no_moment = StartRebuildRequest { start_time: nanos, ..asked("a", &[]) };
    for (request, field) in [
        (asked(&"x".repeat(129), &[]), "request_id"),
        (asked("a\nb", &[]), "request_id"),
        (swapped, "end_time"),
        (no_moment, "start_time"),
    ] {
        let refused = world.start(request).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused)), (Code::InvalidArgument, Some(Reason::InvalidRequest)));
        assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    let refused = world.start(asked("a", &["page-event"])).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::NotFound, Some(Reason::UnknownStream)));
    assert_eq!(world.list("").await, []);
    let refused = World::empty().await.start(asked("a", &[])).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::Unavailable, Some(Reason::NotReady)));
}

#[tokio::test]
async fn events_that_are_gone_are_not_left_out_in_silence() {
    let world = World::new().await;
    world.store(5).await;
    let schema = &world.stream(MONEY).schema;
    world.history.prune(schema, i64::MAX, Some((NOON_S - 2 * DAY_S) * 1_000_000)).await.unwrap();
    let refused = world.start(asked("a", &[MONEY])).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::FailedPrecondition, Some(Reason::EventsDropped)));
    assert!(refused.message().contains("2023-11-13T00:00:00Z"), "{}", refused.message());
    let request = StartRebuildRequest { without_dropped: true, ..asked("a", &[MONEY]) };
    assert_eq!(names(&world.start(request).await.unwrap()), [(MONEY, 2)]);
    assert_eq!(names(&world.start(asked("b", &[PAGES])).await.unwrap()), [(PAGES, 2)], "nothing of it was dropped");
}

#[tokio::test]
async fn a_rebuild_is_cancelled_once() {
    let world = World::new().await;
    for (generation, what) in [(0, "none is built"), (1, "it is read"), (7, "there is no such")] {
        let refused = world.cancel(MONEY, generation).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused)), (Code::NotFound, Some(Reason::UnknownRebuild)), "{what}");
    }
    world.start(asked("a", &[MONEY])).await.unwrap();
    assert_eq!(world.cancel(MONEY, 0).await.unwrap().state(), RebuildState::Cancelled);
    assert_eq!(reason_of(&world.cancel(MONEY, 2).await.unwrap_err()), Some(Reason::UnknownRebuild));
    assert_eq!(world.list(MONEY).await[0].state(), RebuildState::Cancelled);
    assert_eq!(names(&world.start(asked("b", &[MONEY])).await.unwrap()), [(MONEY, 3)], "its number is not used again");
}

#[tokio::test]
async fn a_watch_tells_how_far_it_is_until_it_is_done() {
    let world = World::new().await;
    world.store(4).await;
    world.start(asked("a", &[MONEY])).await.unwrap();
    let request = Request::new(WatchRebuildsRequest { request_id: "a".into() });
    let mut answers = world.rebuilds.watch_rebuilds(request).await.unwrap().into_inner();
    let mut next = async || {
        let answer = tokio::time::timeout(Duration::from_secs(5), answers.next()).await.unwrap();
        answer.map(|answer| answer.unwrap().rebuilds)
    };
    let begun = next().await.unwrap();
    assert_eq!((begun[0].records_done, begun[0].records), (0, 4));
    let batch = LiveBatch { partition: 0, first: 0, next: 3, is_start: true, operations: Vec::new() };
    world.live.apply(&world.key(2), &batch).await.unwrap();
    let further = next().await.unwrap();
    assert_eq!((further[0].records_done, further[0].state()), (3, RebuildState::Building));
    assert!(world.history.switch_generation(&world.stream(MONEY).schema, 2).await.unwrap());
    let done = loop {
        let answer = next().await.unwrap();
        if answer[0].state() != RebuildState::Building {
            break answer;
        }
    };
    assert_eq!(done[0].state(), RebuildState::Done);
    assert_eq!(next().await, None, "the last answer was the last");

    let request = Request::new(WatchRebuildsRequest::default());
    let mut nothing = world.rebuilds.watch_rebuilds(request).await.unwrap().into_inner();
    assert_eq!(nothing.next().await.unwrap().unwrap().rebuilds, []);
    assert!(nothing.next().await.is_none());
}

#[tokio::test]
async fn a_watch_ends_with_the_service() {
    let world = World::new().await;
    world.start(asked("a", &[MONEY])).await.unwrap();
    let request = Request::new(WatchRebuildsRequest::default());
    let mut answers = world.rebuilds.watch_rebuilds(request).await.unwrap().into_inner();
    assert_eq!(answers.next().await.unwrap().unwrap().rebuilds.len(), 1);
    world.drain.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), answers.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(reason_of(&ended), Some(Reason::NotReady));
}
