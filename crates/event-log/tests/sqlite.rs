//! What is SQLite's own: keeping, forgetting, and who may have the file.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use headwater_event_log::sqlite::{Durability, SqliteLog, SqliteLogOptions};
use headwater_event_log::{
    EventLog, EventLogError, GroupMember, LogRecord, MemberEvent, NewRecord, PartitionReader, TopicPartition,
    TopicSpec, Watermarks,
};

const FOREVER: Duration = Duration::from_secs(10);

fn spec(retention_ms: i64) -> TopicSpec {
    TopicSpec { name: "t".into(), partitions: 1, replication: 1, min_insync: 1, retention_ms }
}

fn records(count: usize) -> Vec<NewRecord> {
    (0..count).map(|n| NewRecord { key: "k".into(), value: n.to_string().into(), headers: Vec::new() }).collect()
}

/// A reader of the partition, which ends with its member.
async fn reader(log: &SqliteLog, at: i64) -> (Box<dyn GroupMember>, Box<dyn PartitionReader>) {
    let mut member = log.join("g", &["t".to_owned()]).await.unwrap();
    let partition = TopicPartition { topic: "t".into(), partition: 0 };
    assert_eq!(member.next_event().await, Ok(MemberEvent::Assigned(vec![partition.clone()])));
    let reader = member.start(vec![(partition, at)]).await.unwrap().remove(0);
    (member, reader)
}

async fn all(log: &SqliteLog, from: i64) -> Vec<LogRecord> {
    let high = log.watermarks("t", 0).await.unwrap().high;
    let (_member, mut reader) = reader(log, from).await;
    let mut records = Vec::new();
    while (records.len() as i64) < high - from {
        records.extend(reader.read(1000, usize::MAX, Duration::ZERO).await.unwrap());
    }
    records
}

#[tokio::test]
async fn a_log_is_kept_over_a_restart() {
    for durability in [Durability::Machine, Durability::Process] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.sqlite3");
        let options = || SqliteLogOptions { durability, ..SqliteLogOptions::default() };
        let log = SqliteLog::open(Some(&path), options()).unwrap();
        log.ensure_topic(&spec(-1)).await.unwrap();
        log.append("t", records(100)).await;
        let before = all(&log, 0).await;
        assert_eq!(before.len(), 100);
        drop(log);
        let log = reopened(&path, options()).await;
        assert_eq!(log.watermarks("t", 0).await, Ok(Watermarks { low: 0, high: 100 }));
        assert_eq!(log.append("t", records(1)).await[0].as_ref().unwrap().offset, 100);
        assert_eq!(all(&log, 0).await[..100], before);
    }
}

/// The file is free once the thread of the log before has ended.
async fn reopened(path: &Path, options: SqliteLogOptions) -> SqliteLog {
    let began = Instant::now();
    loop {
        match SqliteLog::open(Some(path), options.clone()) {
            Ok(log) => return log,
            Err(error) => assert!(began.elapsed() < FOREVER, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_file_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.sqlite3");
    let log = SqliteLog::open(Some(&path), SqliteLogOptions::default()).unwrap();
    let second = SqliteLog::open(Some(&path), SqliteLogOptions::default()).err();
    assert!(matches!(&second, Some(EventLogError::Refused(text)) if text.contains("log.sqlite3")), "{second:?}");
    assert_eq!(log.check().await, Ok(()));
    std::fs::write(dir.path().join("other"), vec![b'x'; 10_000]).unwrap();
    let other = SqliteLog::open(Some(&dir.path().join("other")), SqliteLogOptions::default()).err();
    assert!(matches!(other, Some(EventLogError::Refused(_))), "{other:?}");
}

#[tokio::test]
async fn what_is_too_old_or_too_much_is_forgotten() {
    let now_ms = Arc::new(AtomicI64::new(1_000_000));
    let clock = {
        let now_ms = now_ms.clone();
        Arc::new(move || now_ms.load(Ordering::Relaxed))
    };
    let options = SqliteLogOptions {
        retention_records_max: 150,
        retention_interval: Duration::from_millis(1),
        clock,
        ..SqliteLogOptions::default()
    };
    let log = SqliteLog::open(None, options).unwrap();
    log.ensure_topic(&spec(1_000)).await.unwrap();
    log.append("t", records(100)).await;
    let (member, mut late) = reader(&log, 0).await;
    let low = async |expected: Watermarks| {
        let began = Instant::now();
        while log.watermarks("t", 0).await.unwrap() != expected {
            now_ms.fetch_add(1, Ordering::Relaxed);
            log.check().await.unwrap();
            assert!(began.elapsed() < FOREVER, "{:?}", log.watermarks("t", 0).await);
        }
    };
    low(Watermarks { low: 0, high: 100 }).await;
    log.append("t", records(100)).await;
    low(Watermarks { low: 50, high: 200 }).await;
    let behind = late.read(10, usize::MAX, Duration::ZERO).await;
    let expected = EventLogError::OffsetOutOfRange { topic: "t".into(), partition: 0, offset: 0, low: 50, high: 200 };
    assert_eq!(behind, Err(expected), "a reader that is too slow is told");
    member.leave().await;
    now_ms.fetch_add(10_000, Ordering::Relaxed);
    log.append("t", records(5)).await;
    low(Watermarks { low: 200, high: 205 }).await;
    assert_eq!(all(&log, 200).await.len(), 5);
    now_ms.fetch_add(10_000, Ordering::Relaxed);
    low(Watermarks { low: 205, high: 205 }).await;
    assert_eq!(log.append("t", records(1)).await[0].as_ref().unwrap().offset, 205, "offsets go on");
}

#[tokio::test]
async fn much_that_is_too_old_is_forgotten_bit_by_bit() {
    let now_ms = Arc::new(AtomicI64::new(1_000_000));
    let clock = {
        let now_ms = now_ms.clone();
        Arc::new(move || now_ms.load(Ordering::Relaxed))
    };
    let options = SqliteLogOptions { clock, ..SqliteLogOptions::default() };
    let log = SqliteLog::open(None, options).unwrap();
    log.ensure_topic(&spec(1_000)).await.unwrap();
    for _ in 0..3 {
        log.append("t", records(12_000)).await;
    }
    now_ms.fetch_add(5_000, Ordering::Relaxed);
    let mut lows = Vec::new();
    for _ in 0..5 {
        // Each check is followed by one care for 10,000 records at most. The answer comes before the care, so that
        // the first low may show the care of one check or of both.
        log.check().await.unwrap();
        log.check().await.unwrap();
        lows.push(log.watermarks("t", 0).await.unwrap().low);
    }
    assert!(lows.is_sorted() && lows[0] <= 20_000 && lows[4] == 36_000, "{lows:?}");
}

#[tokio::test]
async fn times_do_not_step_back() {
    let now_ms = Arc::new(AtomicI64::new(5_000));
    let clock = {
        let now_ms = now_ms.clone();
        Arc::new(move || now_ms.load(Ordering::Relaxed))
    };
    let log = SqliteLog::open(None, SqliteLogOptions { clock, ..SqliteLogOptions::default() }).unwrap();
    log.ensure_topic(&spec(-1)).await.unwrap();
    for ms in [5_000, 4_000, 5_001] {
        now_ms.store(ms, Ordering::Relaxed);
        log.append("t", records(1)).await;
    }
    let times: Vec<i64> = all(&log, 0).await.iter().map(|record| record.appended_ms).collect();
    assert_eq!(times, [5_000, 5_000, 5_001]);
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let log = SqliteLog::open(None, SqliteLogOptions { queue_records_max: 10, ..SqliteLogOptions::default() }).unwrap();
    log.ensure_topic(&spec(-1)).await.unwrap();
    assert_eq!(log.append("t", records(11)).await, vec![Err(EventLogError::QueueFull); 11]);
    for _ in 0..3 {
        assert!(log.append("t", records(10)).await.iter().all(Result::is_ok), "room is given back");
    }
    assert_eq!(log.watermarks("t", 0).await.unwrap().high, 30);
}
