//! What a new contract makes of a stream's table.

use headwater_domain::{Column, ColumnType, StreamSchema, Value};
use headwater_history::{HistoryError, HistoryQuery};

use crate::events::{AT, ID, KIND, NOON_US, USER, batch, clicks, counted, event, shared, views};
use crate::world::World;

fn column(name: &str, number: u32, kind: ColumnType) -> Column {
    Column { name: name.to_owned(), number, kind }
}

/// Values of the first columns of every stored event.
async fn first_values(world: &World, schema: &StreamSchema, column: usize) -> Vec<Value> {
    let query = HistoryQuery { start_us: i64::MIN, limit: 100, ..HistoryQuery::default() };
    let rows = world.again().query(schema, &query).await.unwrap().rows;
    rows.into_iter().map(|row| row.row.event.values[column].clone()).collect()
}

pub(crate) async fn preparing_again_and_at_once_changes_nothing(world: &World) {
    let mut other = clicks();
    (other.name, other.table) = ("test-others".to_owned(), "test_others".to_owned());
    let streams = [shared(&clicks()), shared(&other)].concat();
    let mut at_once = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (history, streams) = (world.again(), streams.clone());
        at_once.spawn(async move { history.prepare(&streams).await });
    }
    assert_eq!(at_once.join_all().await, vec![Ok(()); 6]);
    world.ready(&clicks()).await;
    world.committed(&clicks(), &batch(0, 1, 0, 3, views(0, 0..3))).await;
    world.again().prepare(&streams).await.unwrap();
    assert_eq!(world.number("SELECT count(*) FROM test_clicks").await, 3);
    assert_eq!(world.columns("test_clicks").await.len(), clicks().columns.len());
    // The owner goes on as if nothing had been.
    world.committed(&clicks(), &batch(0, 1, 3, 4, views(0, 3..4))).await;
}

pub(crate) async fn a_new_field_adds_a_column(world: &World) {
    let old = clicks();
    world.ready(&old).await;
    world.committed(&old, &batch(0, 1, 0, 1, views(0, 0..1))).await;
    let mut new = clicks();
    // By number it stands between the others.
    new.columns.push(column("referrer", 40, ColumnType::Text));
    new.columns.push(column("score", 41, ColumnType::U64));
    let newer = world.again();
    newer.prepare(&shared(&new)).await.unwrap();
    newer.take(&new, 1, "newer").await.unwrap();
    let mut row = counted(0, event("n", NOON_US + 9_000_000, "u", "view"));
    row.event.values.extend([Value::Text("/".to_owned()), Value::U64(u64::MAX)]);
    assert!(newer.commit(&new, &batch(1, 1, 0, 1, vec![row])).await.is_ok());
    assert_eq!(first_values(world, &new, 11).await, [Value::Null, Value::Text("/".to_owned())]);
    assert_eq!(first_values(world, &new, 12).await, [Value::Null, Value::U64(u64::MAX)]);
    // Who knows only the old contract goes on, also after it prepares again.
    world.committed(&old, &batch(0, 1, 1, 2, views(0, 1..2))).await;
    world.history.prepare(&shared(&old)).await.unwrap();
    world.committed(&old, &batch(0, 1, 2, 3, views(0, 2..3))).await;
    assert_eq!(first_values(world, &new, 11).await.iter().filter(|value| **value == Value::Null).count(), 3);
    assert_eq!(world.columns("test_clicks").await.len(), 13);
}

pub(crate) async fn a_renamed_field_keeps_its_column(world: &World) {
    let old = clicks();
    world.ready(&old).await;
    world.committed(&old, &batch(0, 1, 0, 1, vec![counted(0, event("a", NOON_US, "who", "what"))])).await;
    let mut new = clicks();
    new.columns[ID].name = "click_id".to_owned();
    new.columns[AT].name = "happened_at".to_owned();
    new.columns[USER].name = "Kind".to_owned();
    new.columns[KIND].name = "user".to_owned();
    let newer = world.again();
    newer.prepare(&shared(&new)).await.unwrap();
    assert_eq!(first_values(world, &new, USER).await, [Value::Text("who".to_owned())]);
    assert_eq!(first_values(world, &new, KIND).await, [Value::Text("what".to_owned())]);
    newer.take(&new, 0, "newer").await.unwrap();
    let late = counted(1, event("b", NOON_US + 1, "who", "what"));
    assert!(newer.commit(&new, &batch(0, 2, 1, 2, vec![late])).await.is_ok());
    assert_eq!(first_values(world, &new, ID).await, ["a", "b"].map(|id| Value::Text(id.to_owned())));
    let names = world.columns("test_clicks").await;
    assert!(names.contains(&"happened_at".to_owned()) && !names.contains(&"at".to_owned()), "{names:?}");
}

pub(crate) async fn a_field_that_is_gone_keeps_its_column(world: &World) {
    let old = clicks();
    world.ready(&old).await;
    world.committed(&old, &batch(0, 1, 0, 1, vec![counted(0, event("a", NOON_US, "u", "kept"))])).await;
    let mut without = clicks();
    without.columns.remove(KIND);
    without.rules.clear();
    // Another field takes the name.
    without.columns.push(column("Kind", 50, ColumnType::I64));
    world.history.prepare(&shared(&without)).await.unwrap();
    let names = world.columns("test_clicks").await;
    assert!(names.contains(&"_4_Kind".to_owned()) && names.contains(&"Kind".to_owned()), "{names:?}");
    let mut back = clicks();
    back.columns.push(column("number", 50, ColumnType::I64));
    world.history.prepare(&shared(&back)).await.unwrap();
    assert_eq!(first_values(world, &back, KIND).await, [Value::Text("kept".to_owned())]);
    assert_eq!(world.columns("test_clicks").await.len(), 12);
}

pub(crate) async fn another_meaning_is_refused_once_there_is_data(world: &World) {
    let mut old = clicks();
    old.columns.push(column("other_id", 20, ColumnType::Text));
    old.columns.push(column("other_at", 21, ColumnType::Time));
    let changed = |what: &dyn Fn(&mut StreamSchema)| {
        let mut new = old.clone();
        what(&mut new);
        new
    };
    let contracts = [
        (changed(&|s| s.columns[5].kind = ColumnType::F64), "clicks", "kind f64"),
        (changed(&|s| s.id = 11), "other_id", "the id"),
        (changed(&|s| s.time = 12), "other_at", "the time"),
        (changed(&|s| s.key = KIND), "Kind", "the key"),
        (changed(&|s| s.columns[AT].number = 90), "at", "the time"),
    ];
    // Without data each is simply made anew.
    for (contract, field, _) in &contracts {
        world.history.prepare(&shared(contract)).await.unwrap_or_else(|error| panic!("{field}: {error}"));
    }
    world.history.prepare(&shared(&old)).await.unwrap();
    world.history.take(&old, 0, "test").await.unwrap();
    let mut row = counted(0, event("a", NOON_US, "u", "view"));
    row.event.values.extend([Value::Null, Value::Null]);
    world.committed(&old, &batch(0, 1, 0, 1, vec![row])).await;
    for (contract, field, why) in &contracts {
        let error = world.again().prepare(&shared(contract)).await.unwrap_err();
        let HistoryError::Contract(text) = &error else { panic!("{field}: {error:?}") };
        for part in ["test-clicks", &format!("field {field}"), why] {
            assert!(text.contains(part), "'{text}' lacks '{part}'");
        }
    }
    world.history.prepare(&shared(&old)).await.unwrap();
    assert_eq!(first_values(world, &old, ID).await, [Value::Text("a".to_owned())]);
    // A stream whose table is another's.
    let mut twin = clicks();
    twin.name = "test-twin".to_owned();
    let error = world.history.prepare(&shared(&twin)).await.unwrap_err();
    assert!(matches!(&error, HistoryError::Contract(text) if text.contains("test-clicks")), "{error}");
}

pub(crate) async fn names_that_cannot_be_are_refused(world: &World) {
    for name in ["_offset", "ctid", "EVENT_ID", &"n".repeat(64)] {
        let mut schema = clicks();
        schema.columns.push(column(name, 30, ColumnType::Text));
        let error = world.history.prepare(&shared(&schema)).await.unwrap_err();
        assert!(matches!(&error, HistoryError::Contract(text) if text.contains(name)), "{error}");
    }
    let mut own = clicks();
    (own.name, own.table) = ("dead-letters".to_owned(), "dead_letters".to_owned());
    assert!(matches!(world.history.prepare(&shared(&own)).await, Err(HistoryError::Contract(_))));
    // The longest names there can be, and words that SQL uses itself.
    let mut long = clicks();
    (long.name, long.table) = ("t".repeat(63), "t".repeat(63));
    long.columns.push(column(&"n".repeat(63), 30, ColumnType::Text));
    for (number, word) in (31..).zip(["select", "offset", "partition", "user_", "order", "rowid", "key", "time"]) {
        long.columns.push(column(word, number, ColumnType::Bool));
    }
    long.indexes = vec![USER, 11];
    world.ready(&long).await;
    let mut row = counted(0, event("a", NOON_US, "u", "view"));
    row.event.values.resize(long.columns.len(), Value::Null);
    row.event.values[14] = Value::Bool(true);
    world.committed(&long, &batch(0, 1, 0, 1, vec![row.clone()])).await;
    assert_eq!(world.history.batches(&long, 0, None, 1).await.unwrap()[0].stored, [row]);
}

pub(crate) async fn indexes_come_and_go(world: &World) {
    let mut schema = clicks();
    world.ready(&schema).await;
    world.committed(&schema, &batch(0, 1, 0, 1, views(0, 0..1))).await;
    for (indexes, names) in [
        (vec![USER, 5], vec!["test_clicks$by_3", "test_clicks$by_6"]),
        (vec![5, 4], vec!["test_clicks$by_5", "test_clicks$by_6"]),
        (vec![], vec![]),
    ] {
        schema.indexes = indexes;
        world.history.prepare(&shared(&schema)).await.unwrap();
        assert_eq!(world.asked_indexes("test_clicks").await, names);
    }
}
