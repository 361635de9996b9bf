use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use headwater_domain::partition_of;
use headwater_event_log::{EventLogError, NewRecord, Watermarks};
use headwater_testkit::unique;

use crate::fixture::{Fixture, RECORD_BYTES_MAX, read, record, spec, text};

pub(crate) async fn a_topic_is_made_once(fixture: Fixture) {
    let name = fixture.topic(3).await;
    assert_eq!(fixture.log.ensure_topic(&spec(&name, 3)).await, Ok(3));
    assert_eq!(fixture.log.ensure_topic(&spec(&name, 5)).await, Ok(3), "one that is there stays as it is");
    fixture.append(&name, vec![record("a", "1")]).await;
    assert_eq!(fixture.log.ensure_topic(&spec(&name, 3)).await, Ok(3));
    let high = fixture.log.watermarks(&name, partition_of(b"a", 3)).await.unwrap().high;
    assert_eq!(high, 1, "and keeps what it has");
    for wrong in ["", "no spaces", "no/slash"] {
        let refused = fixture.log.ensure_topic(&spec(wrong, 1)).await;
        assert!(matches!(refused, Err(EventLogError::Refused(_))), "{wrong:?}: {refused:?}");
    }
}

pub(crate) async fn each_record_has_its_result(fixture: Fixture) {
    let topic = fixture.topic(4).await;
    assert_eq!(fixture.log.append(&topic, Vec::new()).await, []);
    let mut next = HashMap::new();
    for round in 0..3 {
        let keys: Vec<String> = (0..100).map(|n| format!("user-{}", n * 7 + round)).collect();
        let records = keys.iter().map(|key| record(key, format!("{round}"))).collect();
        let positions = fixture.append(&topic, records).await;
        assert_eq!(positions.len(), keys.len());
        for (key, position) in keys.iter().zip(positions) {
            assert_eq!(position.partition, partition_of(key.as_bytes(), 4), "{key}");
            let next = next.entry(position.partition).or_insert(0);
            assert_eq!(position.offset, *next, "in the order of the call, without a gap");
            *next += 1;
        }
    }
}

pub(crate) async fn keys_keep_their_order(fixture: Fixture) {
    let topic = fixture.topic(1).await;
    for batch in 0..20 {
        let records = (0..50).map(|n| record(&format!("k{}", n % 5), format!("{}", batch * 50 + n))).collect();
        fixture.append(&topic, records).await;
    }
    let (_member, mut reader) = fixture.reader(&topic, 0).await;
    let mut last: HashMap<Bytes, i64> = HashMap::new();
    for record in read(reader.as_mut(), 1000).await {
        let number: i64 = text(&record).parse().unwrap();
        let before = last.insert(record.key.unwrap(), number);
        assert!(before < Some(number), "{before:?} before {number}");
    }
    assert_eq!(last.len(), 5);
}

pub(crate) async fn a_record_that_is_too_large_is_refused_alone(fixture: Fixture) {
    let topic = fixture.topic(1).await;
    let large = vec![b'x'; RECORD_BYTES_MAX + 1];
    let records = vec![record("a", "before"), record("abc", large), record("a", "after")];
    let results = fixture.log.append(&topic, records).await;
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert_eq!(results[1], Err(EventLogError::RecordTooLarge { bytes: RECORD_BYTES_MAX + 1 + 3 }));
    let kept = fixture.append(&topic, vec![record("a", vec![b'y'; RECORD_BYTES_MAX * 9 / 10])]).await;
    assert_eq!(kept[0].offset, 2);
}

pub(crate) async fn a_topic_must_exist(fixture: Fixture) {
    let missing = unique("missing");
    let results = fixture.log.append(&missing, vec![record("a", "1"), record("b", "2")]).await;
    assert_eq!(results, vec![Err(EventLogError::UnknownTopic(missing.clone())); 2]);
    assert_eq!(fixture.log.watermarks(&missing, 0).await, Err(EventLogError::UnknownTopic(missing.clone())));
    assert_eq!(fixture.log.partitions(&missing).await, Err(EventLogError::UnknownTopic(missing.clone())));
    assert_eq!(fixture.log.ensure_topic(&spec(&missing, 1)).await, Ok(1), "and may be made later");
    fixture.append(&missing, vec![record("a", "1")]).await;
}

pub(crate) async fn watermarks_tell_what_there_is(fixture: Fixture) {
    let topic = fixture.topic(2).await;
    assert_eq!(fixture.log.partitions(&topic).await, Ok(2));
    for partition in 0..2 {
        assert_eq!(fixture.log.watermarks(&topic, partition).await, Ok(Watermarks { low: 0, high: 0 }));
    }
    for partition in [2, -1] {
        let unknown = fixture.log.watermarks(&topic, partition).await;
        assert_eq!(unknown, Err(EventLogError::UnknownTopic(topic.clone())), "{partition}");
    }
    fixture.append(&topic, (0..7).map(|_| record("one", "1")).collect()).await;
    let partition = partition_of(b"one", 2);
    assert_eq!(fixture.log.watermarks(&topic, partition).await, Ok(Watermarks { low: 0, high: 7 }));
    assert_eq!(fixture.log.watermarks(&topic, 1 - partition).await, Ok(Watermarks { low: 0, high: 0 }));
}

pub(crate) async fn records_come_back_as_they_were(fixture: Fixture) {
    let topic = fixture.topic(1).await;
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let before_ms = now_ms();
    let headers = vec![("trace".to_owned(), Bytes::from_static(b"1"))];
    fixture
        .append(
            &topic,
            vec![
                NewRecord { key: "k".into(), value: Bytes::from_static(&[0, 255, 0]), headers },
                record("", "no key"),
                record("empty", ""),
            ],
        )
        .await;
    let (_member, mut reader) = fixture.reader(&topic, 0).await;
    let records = read(reader.as_mut(), 3).await;
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 2]);
    let keys: Vec<Option<&[u8]>> = records.iter().map(|record| record.key.as_deref()).collect();
    assert_eq!(keys, [Some(&b"k"[..]), None, Some(&b"empty"[..])]);
    let values: Vec<Option<&[u8]>> = records.iter().map(|record| record.value.as_deref()).collect();
    assert_eq!(values, [Some(&[0, 255, 0][..]), Some(&b"no key"[..]), Some(&b""[..])]);
    for record in &records {
        assert!((before_ms - 1..=now_ms()).contains(&record.appended_ms), "{}", record.appended_ms);
    }
}

pub(crate) async fn a_log_that_is_there_says_so(fixture: Fixture) {
    assert_eq!(fixture.log.check().await, Ok(()));
    let topic = fixture.topic(1).await;
    let log = fixture.log.clone();
    let appending = {
        let topic = topic.clone();
        tokio::spawn(async move { log.append(&topic, (0..100).map(|_| record("a", "1")).collect()).await })
    };
    while fixture.log.watermarks(&topic, 0).await.unwrap().high == 0 && !appending.is_finished() {
        tokio::task::yield_now().await;
    }
    fixture.log.flush(Duration::from_secs(5)).await;
    assert_eq!(fixture.log.watermarks(&topic, 0).await.unwrap().high, 100);
    assert!(appending.await.unwrap().iter().all(Result::is_ok));
}
