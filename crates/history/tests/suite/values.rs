//! What goes in comes out.

use headwater_domain::{Event, StoredEvent, Value, Verdict};
use headwater_history::HistoryQuery;

use crate::events::{AT, DAY_US, NOON_US, SECOND_US, batch, clicks, counted, event, flagged};
use crate::world::World;

/// Everything about an event that is not its values, and its values so that NaN equals itself, the sign of zero
/// counts and JSON is compared by what it says.
fn comparable(row: &StoredEvent) -> (i64, i64, &Verdict, &[u8], Vec<String>) {
    let value = |value: &Value| match value {
        Value::F64(x) if x.is_nan() => "NaN".to_owned(),
        Value::F64(x) => format!("{x:?} {:x}", x.to_bits()),
        Value::Json(text) => serde_json::from_str::<serde_json::Value>(text).unwrap().to_string(),
        other => format!("{other:?}"),
    };
    let Event { values, unknown } = &row.event;
    (row.offset, row.appended_ms, &row.verdict, unknown, values.iter().map(value).collect())
}

pub(crate) async fn every_kind_of_value_comes_back(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let long = "wave \u{1F30A} ' \" \\ \n \u{1} ".repeat(20_000);
    let columns: [(usize, Vec<Value>); 8] = [
        (
            3,
            ["", " ", "view", "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10ffff}", &long]
                .map(|t| Value::Text(t.to_owned()))
                .into(),
        ),
        (4, vec![Value::Bool(true), Value::Bool(false)]),
        (5, [0, 1, -1, i64::MAX, i64::MIN].map(Value::I64).into()),
        (6, [0, 1, 9_999, 10_000, 123_456_789_012, u64::MAX - 1, u64::MAX].map(Value::U64).into()),
        (
            7,
            [0.0, -0.0, 0.1, -1.5e300, 5e-324, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.0]
                .map(Value::F64)
                .into(),
        ),
        (8, vec![Value::Bytes(vec![]), Value::Bytes(vec![0]), Value::Bytes((0..=255).collect())]),
        (9, [0, -1, -62_135_596_800_000_000, 253_402_300_799_999_999, NOON_US + 1].map(Value::Time).into()),
        (
            10,
            ["null", "[]", "{}", "\"\"", "100", "2.5", r#"{"b":[1,2.5,"x\\u0000 \"\u00e9"],"a":{"b":null}}"#]
                .map(|t| Value::Json(t.to_owned()))
                .into(),
        ),
    ];
    let mut stored = vec![counted(0, event("none", NOON_US, "", ""))];
    for (column, values) in columns {
        for value in values {
            let offset = i64::try_from(stored.len()).unwrap();
            let mut row = counted(offset, event(&format!("{offset:03}"), NOON_US + offset, "u", "k"));
            row.event.values[column] = value;
            row.appended_ms = 1_763_726_400_123 + offset;
            stored.push(row);
        }
    }
    let next = i64::try_from(stored.len()).unwrap();
    world.committed(&schema, &batch(0, 1, 0, next, stored.clone())).await;

    let replayed = world.history.batches(&schema, 0, None, 1).await.unwrap().remove(0).stored;
    assert_eq!(replayed.len(), stored.len());
    for (read, sent) in replayed.iter().zip(&stored) {
        assert_eq!(comparable(read), comparable(sent));
    }
    let query = HistoryQuery { start_us: NOON_US, limit: 1000, ..HistoryQuery::default() };
    let queried = world.history.query(&schema, &query).await.unwrap().rows;
    let queried: Vec<_> = queried.iter().map(|row| comparable(&row.row)).collect();
    assert_eq!(queried, stored.iter().map(comparable).collect::<Vec<_>>());
}

pub(crate) async fn days_of_any_year_are_stored(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let mut times = vec![
        -62_135_596_800_000_000,
        -1,
        0,
        946_684_799_999_999,
        946_684_800_000_000,
        NOON_US + DAY_US,
        NOON_US - NOON_US % DAY_US - 1,
        253_402_300_799_999_999,
    ];
    times.extend((0..60).map(|n| NOON_US - n * 151 * DAY_US));
    times.extend((0..40).map(|n| NOON_US - n * 5 * DAY_US - 1));
    let row = |(offset, at): (usize, &i64)| {
        let offset = i64::try_from(offset).unwrap();
        counted(offset, event(&format!("d{offset}"), *at, "u", "view"))
    };
    let stored: Vec<StoredEvent> = times.iter().enumerate().map(row).collect();
    let next = i64::try_from(stored.len()).unwrap();
    world.committed(&schema, &batch(0, 1, 0, next, stored.clone())).await;
    assert_eq!(world.history.batches(&schema, 0, None, 1).await.unwrap()[0].stored, stored);
    let query = HistoryQuery { start_us: i64::MIN, limit: 1000, ..HistoryQuery::default() };
    let found = world.history.query(&schema, &query).await.unwrap().rows;
    times.sort_unstable();
    let found: Vec<i64> = found.iter().map(|row| schema.time_us_of(&row.row.event)).collect();
    assert_eq!(found, times);
}

pub(crate) async fn verdicts_and_unknown_fields_come_back(world: &World) {
    let schema = clicks();
    world.ready(&schema).await;
    let mut stored = vec![
        counted(0, event("a", NOON_US, "u", "view")),
        flagged(1, event("b", NOON_US + SECOND_US, "u", "view")),
        counted(2, event("c", NOON_US + 2 * SECOND_US, "u", "view")),
    ];
    stored[0].event.unknown = vec![0, 255, 7, 0];
    stored[1].event.unknown = vec![1; 70_000];
    stored[2].verdict = Verdict::Flagged { rule: "all".to_owned(), version: 1, count: 1 << 40 };
    world.committed(&schema, &batch(0, 1, 0, 3, stored.clone())).await;
    assert_eq!(world.history.batches(&schema, 0, None, 1).await.unwrap()[0].stored, stored);
    assert_eq!(schema.time_us_of(&stored[0].event), NOON_US);
    assert_eq!(stored[0].event.values[AT], Value::Time(NOON_US));
}
