//! What the suite's streams and batches look like, and short ways to ask for figures.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use headwater_domain::{Bucket, LiveBatch, Operation, StatKind, Tier, Window};
use headwater_live::{ApplyOutcome, Figure, Figures, GenerationKey, LiveError, ReadRequest};
use uuid::Uuid;

use crate::store::{MINUTE_MS, Store, WINDOW_MAX_MS};

/// Users, in all.
pub(crate) const USERS: (usize, StatKind) = (0, StatKind::Distinct { field: 2, by: None });
/// Pages by events.
pub(crate) const PAGES: (usize, StatKind) = (1, StatKind::Top { field: 3 });
/// Sessions of each user.
pub(crate) const SESSIONS: (usize, StatKind) = (2, StatKind::Distinct { field: 4, by: Some(2) });
/// Amounts of each user.
pub(crate) const AMOUNTS: (usize, StatKind) = (3, StatKind::Sum { field: 5, by: Some(2), scale: 0 });
/// Amounts, in all.
pub(crate) const TOTAL: (usize, StatKind) = (4, StatKind::Sum { field: 5, by: None, scale: 0 });

/// A first generation of a stream that no other test has.
pub(crate) fn generation(shards: u32) -> GenerationKey {
    GenerationKey { stream: format!("stream-{}", Uuid::new_v4().simple()), generation: 1, shards }
}

/// Now. Redis forgets by the clock, so that times of tests lie around it.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A moment some seconds into the running minute, so that minutes before and after have known bounds.
pub(crate) fn now_in_minute_ms() -> i64 {
    now_ms().div_euclid(MINUTE_MS) * MINUTE_MS + 20_000
}

pub(crate) fn window(length_ms: i64) -> Option<Window> {
    Some(Window::new(length_ms, WINDOW_MAX_MS).unwrap())
}

pub(crate) fn seen(stat: (usize, StatKind), by: &str, member: &str, time_ms: i64) -> Operation {
    Operation::Seen { stat: stat.0, by: by.into(), member: member.into(), time_ms }
}

/// An amount at a time: in its buckets and in all time.
pub(crate) fn added(stat: (usize, StatKind), key: &str, time_ms: i64, amount: i64) -> Vec<Operation> {
    let tiers = [Some(Tier::Minute), Some(Tier::Hour), None];
    let add = |tier: Option<Tier>| Operation::Add {
        stat: stat.0,
        key: key.into(),
        bucket: tier.map(|tier| Bucket::holding(tier, time_ms)),
        amount,
    };
    tiers.into_iter().map(add).collect()
}

/// The batch of the records [first, next) of a partition; it is the start where first is 0.
pub(crate) fn batch(partition: i32, first: i64, next: i64, operations: Vec<Operation>) -> LiveBatch {
    LiveBatch { partition, first, next, is_start: first == 0, operations }
}

pub(crate) async fn apply(store: &Store, generation: &GenerationKey, batch: &LiveBatch) -> ApplyOutcome {
    store.live().apply(generation, batch).await.unwrap()
}

/// Applies the operations as the only batch of a generation of its own.
pub(crate) async fn applied(store: &Store, shards: u32, operations: Vec<Operation>) -> GenerationKey {
    let generation = generation(shards);
    assert_eq!(apply(store, &generation, &batch(0, 0, 10, operations)).await, ApplyOutcome::Applied);
    generation
}

pub(crate) fn request(stat: (usize, StatKind), window: Option<Window>, as_of_ms: i64) -> ReadRequest {
    ReadRequest { stat: stat.0, kind: stat.1, key: None, window, as_of_ms, skip: 0, limit: usize::MAX }
}

pub(crate) async fn read(store: &Store, generation: &GenerationKey, request: &ReadRequest) -> Figures {
    store.live().read(generation, request).await.unwrap()
}

pub(crate) async fn refused(store: &Store, generation: &GenerationKey, request: &ReadRequest) -> String {
    match store.live().read(generation, request).await {
        Err(LiveError::Refused(detail)) => detail,
        other => panic!("{other:?} instead of a refusal"),
    }
}

/// The figure of a statistic without keys, or of a key.
pub(crate) async fn figure(store: &Store, generation: &GenerationKey, request: &ReadRequest, key: &str) -> Figure {
    let request = ReadRequest { key: Some(key.into()), ..request.clone() };
    let figures = read(store, generation, &request).await;
    assert_eq!(figures.entries.len(), 1, "{figures:?}");
    assert_eq!(figures.entries[0].0, key);
    figures.entries[0].1
}

/// Everything that can be read of every statistic, to tell whether anything changed.
pub(crate) async fn everything(store: &Store, generation: &GenerationKey, as_of_ms: i64) -> Vec<Figures> {
    let mut all = Vec::new();
    for stat in [USERS, PAGES, SESSIONS, AMOUNTS, TOTAL] {
        for length_ms in [MINUTE_MS, 60 * MINUTE_MS, WINDOW_MAX_MS] {
            all.push(read(store, generation, &request(stat, window(length_ms), as_of_ms)).await);
        }
        if !matches!(stat.1, StatKind::Distinct { .. }) {
            all.push(read(store, generation, &request(stat, None, as_of_ms)).await);
        }
    }
    all
}

pub(crate) async fn offsets(store: &Store, generation: &GenerationKey) -> BTreeMap<i32, i64> {
    store.live().applied(generation).await.unwrap()
}

/// Entries as they are written in tests.
pub(crate) fn units(figures: &Figures) -> Vec<(&str, i64)> {
    let units = |(key, figure): &'_ (String, Figure)| match figure {
        Figure::Units(units) => *units,
        Figure::Overflowed => panic!("{key:?} overflowed"),
    };
    figures.entries.iter().map(|entry| (entry.0.as_str(), units(entry))).collect()
}
