use std::time::{Duration, Instant};

use headwater_domain::partition_of;
use headwater_event_log::EventLogError;
use headwater_testkit::unique;
use tokio::time::{sleep, timeout};

use crate::fixture::{Fixture, PATIENCE, read, record, text};

pub(crate) async fn begins_at_the_offset(fixture: Fixture) {
    let topic = fixture.topic(1).await;
    fixture.append(&topic, (0..10).map(|n| record("k", n.to_string())).collect()).await;
    for at in [0, 4, 9] {
        let (_member, mut reader) = fixture.reader(&topic, at).await;
        let records = read(reader.as_mut(), 10 - at as usize).await;
        assert_eq!((records[0].offset, text(&records[0])), (at, at.to_string()));
        assert_eq!(records.last().unwrap().offset, 9);
    }
}

pub(crate) async fn an_offset_outside_the_log_is_told(fixture: Fixture) {
    let topic = fixture.topic(1).await;
    fixture.append(&topic, (0..10).map(|n| record("k", n.to_string())).collect()).await;
    for offset in [11, 1_000_000, -1] {
        let (_member, mut reader) = fixture.reader(&topic, offset).await;
        let outside = EventLogError::OffsetOutOfRange { topic: topic.clone(), partition: 0, offset, low: 0, high: 10 };
        for _ in 0..2 {
            let read = timeout(PATIENCE, reader.read(10, usize::MAX, Duration::ZERO)).await.unwrap();
            assert_eq!(read, Err(outside.clone()));
        }
    }
}

pub(crate) async fn waits_at_the_end(fixture: Fixture) {
    let topic = fixture.topic(1).await;
    fixture.append(&topic, vec![record("k", "0"), record("k", "1")]).await;
    let (_member, mut reader) = fixture.reader(&topic, 2).await;
    let early = timeout(Duration::from_millis(500), reader.read(10, usize::MAX, Duration::ZERO)).await;
    assert!(early.is_err(), "there is nothing yet: {early:?}");
    let (records, _) = tokio::join!(read(reader.as_mut(), 1), async {
        sleep(Duration::from_millis(100)).await;
        fixture.append(&topic, vec![record("k", "2")]).await
    });
    assert_eq!(text(&records[0]), "2");
}

pub(crate) async fn returns_no_more_than_asked(fixture: Fixture) {
    let topic = fixture.topic(1).await;
    fixture.append(&topic, (0..40).map(|_| record("k", vec![b'x'; 1000])).collect()).await;
    let (_member, mut reader) = fixture.reader(&topic, 0).await;
    let linger = Duration::from_secs(1);
    for (records_max, bytes_max, expected) in [(3, usize::MAX, 3), (1, usize::MAX, 1), (30, 4500, 5), (0, 0, 1)] {
        let began = Instant::now();
        let records = timeout(PATIENCE, reader.read(records_max, bytes_max, linger)).await.unwrap().unwrap();
        assert_eq!(records.len(), expected, "of {records_max} and {bytes_max} bytes");
        assert!(records_max == 30 || began.elapsed() < linger + PATIENCE / 4, "what is full does not linger");
    }
    let cancelled = timeout(Duration::from_millis(300), reader.read(1000, usize::MAX, PATIENCE)).await;
    assert!(cancelled.is_err(), "there are not so many");
    let records = timeout(PATIENCE, reader.read(4, usize::MAX, Duration::ZERO)).await.unwrap().unwrap();
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [10, 11, 12, 13]);
    let rest = read(reader.as_mut(), 26).await;
    assert_eq!((rest[0].offset, rest[0].value.as_ref().unwrap().len()), (14, 1000), "and nothing is left out");
}

pub(crate) async fn lingers_for_more(fixture: Fixture) {
    let topic = fixture.topic(1).await;
    fixture.append(&topic, vec![record("k", "0")]).await;
    let (_member, mut reader) = fixture.reader(&topic, 0).await;
    let (records, _) = tokio::join!(reader.read(10, usize::MAX, Duration::from_secs(3)), async {
        sleep(Duration::from_millis(700)).await;
        fixture.append(&topic, vec![record("k", "1")]).await
    });
    assert_eq!(records.unwrap().len(), 2);
    fixture.append(&topic, vec![record("k", "2")]).await;
    let began = Instant::now();
    let records = reader.read(10, usize::MAX, Duration::from_millis(300)).await.unwrap();
    assert_eq!(records.len(), 1, "and not for ever");
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
}

pub(crate) async fn a_cancelled_read_loses_nothing(fixture: Fixture) {
    const COUNT: i64 = 3000;
    let topic = fixture.topic(1).await;
    let (_member, mut reader) = fixture.reader(&topic, 0).await;
    let appending = async {
        for n in 0..COUNT / 10 {
            let records = (0..10).map(|m| record("k", (n * 10 + m).to_string())).collect();
            fixture.append(&topic, records).await;
        }
    };
    let reading = async {
        let (mut offsets, mut cancelled) = (Vec::new(), 0);
        let began = Instant::now();
        while offsets.len() < COUNT as usize {
            assert!(began.elapsed() < PATIENCE * 3, "{} of {COUNT} after {cancelled} cancelled reads", offsets.len());
            let read = reader.read(7, usize::MAX, Duration::from_millis(2));
            let waited = async {
                // The first time, when nothing is there yet, it is cancelled as soon as it has to wait.
                if cancelled % 20 > 0 {
                    sleep(Duration::from_micros(200 * (cancelled % 20))).await;
                }
            };
            tokio::select! {
                biased;
                records = read => offsets.extend(records.unwrap().iter().map(|record| record.offset)),
                () = waited => cancelled += 1,
            }
            // Others get their turn, however often it is cancelled.
            tokio::task::yield_now().await;
        }
        assert!(cancelled > 0, "the test cancels");
        offsets
    };
    let (offsets, ()) = tokio::join!(reading, appending);
    assert_eq!(offsets, (0..COUNT).collect::<Vec<_>>());
}

pub(crate) async fn a_partition_that_is_not_read_stops_no_other(fixture: Fixture) {
    // More than is read ahead, of either.
    const COUNT: usize = 500;
    let topic = fixture.topic(2).await;
    let key = |partition| (0..).map(|n: i32| format!("k{n}")).find(|k| partition_of(k.as_bytes(), 2) == partition);
    for partition in [0, 1] {
        let key = key(partition).unwrap();
        for _ in 0..COUNT / 10 {
            fixture.append(&topic, (0..10).map(|_| record(&key, vec![b'x'; 90_000])).collect()).await;
        }
    }
    let mut reading = fixture.reading(&unique("group"), &[topic], 2).await;
    let (first, mut read_one) = reading.readers.pop_last().unwrap();
    let records = read(read_one.as_mut(), COUNT).await;
    assert_eq!(records.len(), COUNT, "of partition {}", first.partition);
    let (_, mut read_other) = reading.readers.pop_last().unwrap();
    assert_eq!(read(read_other.as_mut(), COUNT).await.len(), COUNT, "and it is all there later");
}
