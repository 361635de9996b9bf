//! Records among good ones that could not be events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use headwater_contracts::v1::ingest::ListStreamsRequest;
use headwater_event_log::frame;
use prost::Message;

use crate::support::calls::{now_ms, timestamp};
use crate::support::stage::{Stage, Visit};

const READY_MAX: Duration = Duration::from_secs(30);
const DONE_MAX: Duration = Duration::from_secs(30);
const RECORDS: usize = 10_000;
/// One of so many is poison.
const ONE_IN: usize = 100;
const USERS: usize = 97;

/// What is wrong with a record, by its number among those that are, and the reason that it has.
fn poison(number: usize, prefix: &[u8], visit: Visit) -> (&'static str, Option<Vec<u8>>) {
    let framed = |bytes: Vec<u8>| Some([prefix, &bytes].concat());
    match number % 7 {
        0 => ("BAD_FRAME", Some(br#"{"id":"1"}"#.to_vec())),
        1 => ("BAD_FRAME", None),
        2 => ("MALFORMED", framed(vec![0xff; 40])),
        3 => ("INVALID_FIELD", framed(Visit { user: String::new(), ..visit }.encode_to_vec())),
        4 => ("TIME_AHEAD", framed(Visit { at: Some(timestamp(now_ms() + 3_600_000)), ..visit }.encode_to_vec())),
        5 => ("TIME_ANCIENT", framed(Visit { at: Some(timestamp(0)), ..visit }.encode_to_vec())),
        _ => ("UNKNOWN_SCHEMA", Some([frame::prefix(999_999, &[0]), visit.encode_to_vec()].concat())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_a_hundred_is_set_aside_and_all_others_are_stored() {
    let stage = Stage::new(&["poison"]).await;
    let headwater = stage.serve("ingest,processor,stats", &[]).await;
    headwater.ready(READY_MAX).await;
    let streams =
        headwater.ingest().await.list_streams(ListStreamsRequest::default()).await.unwrap().into_inner().streams;
    let id = streams.iter().find(|stream| stream.name == stage.stream(0)).unwrap().schema_id;
    let prefix = frame::prefix(id, &[0]);

    let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
    let mut set_aside = Vec::new();
    let records: Vec<(String, Option<Vec<u8>>)> = (0..RECORDS)
        .map(|number| {
            let user = format!("user {}", number % USERS);
            let visit = Visit::new(&user, &format!("/{}", number % 3));
            if number % ONE_IN != ONE_IN / 2 {
                return (user, Some([&prefix[..], &visit.encode_to_vec()].concat()));
            }
            let (reason, value) = poison(number / ONE_IN, &prefix, visit);
            *wanted.entry(reason.to_owned()).or_default() += 1;
            set_aside.push(number as i64);
            (user, value)
        })
        .collect();
    let began = Instant::now();
    stage.produce_in_order(0, &records).await;

    let good = RECORDS - RECORDS / ONE_IN;
    stage.counted(DONE_MAX, &headwater.stats().await, 0, good).await;
    eprintln!("{RECORDS} records, {} of them set aside: {:?}", RECORDS / ONE_IN, began.elapsed());
    stage.stored(DONE_MAX, 0, good).await;
    let by_reason = "SELECT reason, count(*) FROM headwater.dead_letters GROUP BY reason";
    assert_eq!(stage.rows(by_reason).await, wanted);
    for (reason, count) in &wanted {
        let labels = [("reason", reason.as_str()), ("stream", stage.stream(0))];
        let counted = headwater.metric("headwater_processor_dead_letters_total", &labels).await;
        assert_eq!(counted, *count as f64, "{reason}");
    }
    // Those and no others: a topic of one partition has them in the order in which they were made.
    let offsets = stage.rows("SELECT \"offset\"::text, \"offset\" FROM headwater.dead_letters").await;
    let mut offsets: Vec<i64> = offsets.into_values().collect();
    offsets.sort_unstable();
    assert_eq!(offsets, set_aside);
    let (low, high) = stage.watermarks(&format!("{}-dead-letters", stage.stream(0)), 0);
    assert!(high - low >= set_aside.len() as i64, "each is copied to the topic of dead letters, at least once");
}
