//! Streams and events to test with.

use std::sync::Arc;

use headwater_domain::{
    BatchCommit, Column, ColumnType, DeadLetter, Event, Reason, RuleSpec, StoredEvent, StreamSchema, Value, Verdict,
    Where,
};

/// 2025-11-21 12:00:00 UTC, in microseconds.
pub(crate) const NOON_US: i64 = 1_763_726_400_000_000;
pub(crate) const SECOND_US: i64 = 1_000_000;
pub(crate) const DAY_US: i64 = 86_400 * SECOND_US;

pub(crate) const ID: usize = 0;
pub(crate) const AT: usize = 1;
pub(crate) const USER: usize = 2;
pub(crate) const KIND: usize = 3;

/// A stream with a field of every kind. Rule 0 counts views of a user by the second, rule 1 everything by seven.
pub(crate) fn clicks() -> StreamSchema {
    use ColumnType::{Bool, Bytes, F64, I64, Json, Text, Time, U64};
    let fields = [
        ("event_id", Text),
        ("at", Time),
        ("user", Text),
        ("Kind", Text),
        ("paid", Bool),
        ("clicks", I64),
        ("big", U64),
        ("amount", F64),
        ("raw", Bytes),
        ("seen", Time),
        ("tags", Json),
    ];
    let column = |(index, (name, kind)): (usize, (&str, ColumnType))| Column {
        name: name.to_owned(),
        number: u32::try_from(index).unwrap() + 1,
        kind,
    };
    let rule = |name: &str, every_s, filter| RuleSpec {
        name: name.to_owned(),
        version: 1,
        count: 2,
        per: USER,
        every_s,
        filter,
    };
    let views = Where { field: KIND, equals: "view".to_owned() };
    StreamSchema {
        name: "test-clicks".to_owned(),
        table: "test_clicks".to_owned(),
        message: "test.v1.Click".to_owned(),
        columns: fields.into_iter().enumerate().map(column).collect(),
        id: ID,
        key: USER,
        time: AT,
        indexes: vec![],
        stats: vec![],
        rules: vec![rule("views", 1, Some(views)), rule("all", 7, None)],
    }
}

/// The stream as `prepare` takes it.
pub(crate) fn shared(schema: &StreamSchema) -> [Arc<StreamSchema>; 1] {
    [Arc::new(schema.clone())]
}

/// An event of `clicks`, the rest of whose fields are not set.
pub(crate) fn event(id: &str, at_us: i64, user: &str, kind: &str) -> Event {
    let mut values = vec![Value::Null; clicks().columns.len()];
    values[ID] = Value::Text(id.to_owned());
    values[AT] = Value::Time(at_us);
    values[USER] = Value::Text(user.to_owned());
    values[KIND] = Value::Text(kind.to_owned());
    Event { values, unknown: vec![] }
}

/// An event that counts, at an offset.
pub(crate) fn counted(offset: i64, event: Event) -> StoredEvent {
    StoredEvent { offset, appended_ms: NOON_US / 1000 + offset, event, verdict: Verdict::Counted }
}

/// An event that a rule flagged.
pub(crate) fn flagged(offset: i64, event: Event) -> StoredEvent {
    let verdict = Verdict::Flagged { rule: "views".to_owned(), version: 3, count: 11 };
    StoredEvent { verdict, ..counted(offset, event) }
}

/// Views of user "u", one a second from `NOON_US` plus the offset in seconds, with ids that the partition and offset tell.
pub(crate) fn views(partition: i32, offsets: std::ops::Range<i64>) -> Vec<StoredEvent> {
    offsets.map(|at| counted(at, event(&format!("e{partition}-{at}"), NOON_US + at * SECOND_US, "u", "view"))).collect()
}

/// A batch of events with offsets from `first` up to `next`.
pub(crate) fn batch(partition: i32, epoch: i64, first: i64, next: i64, stored: Vec<StoredEvent>) -> BatchCommit {
    BatchCommit {
        partition,
        epoch,
        first,
        next,
        last_appended_ms: NOON_US / 1000 + next,
        last_checksum: u32::MAX - u32::try_from(next).unwrap(),
        stored,
        dead: vec![],
        duplicates: vec![],
    }
}

/// A dead letter with those bytes.
pub(crate) fn letter(offset: i64, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> DeadLetter {
    DeadLetter {
        offset,
        appended_ms: NOON_US / 1000,
        reason: Reason::InvalidField,
        id: None,
        field: "user".to_owned(),
        detail: "must not be empty".to_owned(),
        key,
        value,
    }
}
