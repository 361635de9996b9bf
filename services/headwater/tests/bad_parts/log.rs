//! A log that is not the one that was read, or does not hold what was to be read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_contracts::v1::ingest::record_result::Result as Answer;
use headwater_contracts::v1::ingest::{ListStreamsRequest, PublishRequest};
use headwater_contracts::v1::stats::StatQuery;
use headwater_domain::partition_of;
use headwater_event_log::frame;
use tonic::Code;

use crate::support::calls::{self, get, publish_all, query, reason, seconds};
use crate::support::parts::Publisher;
use crate::support::process::Headwater;
use crate::support::stage::{Stage, Visit, mended, trouble};
use crate::support::within;

/// How long the platform may take until it tells what is wrong, and until it is as it was.
const TOLD_MAX: Duration = Duration::from_secs(10);
const RECOVERY_MAX: Duration = Duration::from_secs(10);
const READY_MAX: Duration = Duration::from_secs(30);

/// So many visits, each by a user of its own.
fn visits(count: usize) -> Vec<Visit> {
    (0..count).map(|n| Visit::new(&format!("user {n}"), "/")).collect()
}

/// Publishes visits until all are accepted: a topic that was just made is not known everywhere at once.
async fn publish(stage: &Stage, ingest: &Headwater, number: usize, count: usize) {
    let records = stage.records(number, &visits(count));
    within(RECOVERY_MAX, "accepted", || async {
        let request = PublishRequest { stream: stage.stream(number).into(), records: records.clone() };
        let answer = ingest.ingest().await.publish(request).await.map_err(|status| format!("{status:?}"))?.into_inner();
        let refused = answer.results.iter().find(|result| !matches!(result.result, Some(Answer::Accepted(_))));
        refused.map_or(Ok(()), |refused| Err(format!("{refused:?}")))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_does_not_hold_what_is_to_be_read_stops_its_partition_and_no_other() {
    const ANEW: usize = 0;
    const BEYOND: usize = 1;
    const REMOVED: usize = 2;
    const FINE: usize = 3;
    let stage = Stage::new(&["anew", "beyond", "removed", "fine"]).await;
    let ingest = stage.serve("ingest,stats", &[]).await;
    let mut processor = stage.serve("processor", &[]).await;
    ingest.ready(READY_MAX).await;
    processor.ready(READY_MAX).await;
    let stats = ingest.stats().await;
    for number in [ANEW, BEYOND, REMOVED, FINE] {
        publish(&stage, &ingest, number, 20).await;
        stage.counted(RECOVERY_MAX, &stats, number, 20).await;
    }
    processor.signal("TERM");
    assert!(processor.ended(RECOVERY_MAX).await.success());

    // While no processor runs: a topic is made anew and gets longer than it was, the history has more than the log of
    // another, and of a third the oldest records that nobody read are removed.
    stage.make_anew(ANEW).await;
    publish(&stage, &ingest, ANEW, 30).await;
    stage.execute("UPDATE headwater.offsets SET next_offset = next_offset + 1000 WHERE stream LIKE 'beyond-%'").await;
    publish(&stage, &ingest, REMOVED, 30).await;
    stage.remove_before(REMOVED, 32).await;
    publish(&stage, &ingest, FINE, 5).await;

    let mut processor = stage.serve("processor", &[]).await;
    processor.ready(READY_MAX).await;
    let place = |number: usize| format!("{}/0", stage.stream(number));
    for (number, reason, text) in [
        (ANEW, "TOPIC_REPLACED", "the record at offset 19 is not the one that was read"),
        (BEYOND, "OFFSET_OUTSIDE_LOG", "everything before offset 1020 is stored, and the log ends at 20"),
        (REMOVED, "RECORDS_REMOVED", "the log begins at 32: 12 records were removed before they were read"),
    ] {
        let told = trouble(&processor, TOLD_MAX, &place(number)).await;
        assert!(told.starts_with(&format!("{reason}: ")) && told.contains(text), "{told}");
        assert!(told.contains(&format!("headwater resume --stream {} --partition 0", stage.stream(number))), "{told}");
        assert!(told.ends_with(&format!("(docs/errors/{reason}.md)")), "{told}");
        let labels = [("stream", stage.stream(number)), ("partition", "0"), ("reason", reason)];
        assert_eq!(processor.metric("headwater_processor_stopped_partitions", &labels).await, 1.0);
        assert!(processor.log().lines().any(|line| line.contains("\"ERROR\"") && line.contains(reason)), "logged");
    }
    // Three stopped partitions keep nothing else from going on, and what stopped them is left as it is.
    stage.counted(RECOVERY_MAX, &stats, FINE, 25).await;
    for number in [ANEW, BEYOND, REMOVED] {
        assert_eq!(stage.count(&stage.table(number), "true").await, 20, "nothing is read on");
    }
    processor.signal("TERM");
    assert!(processor.ended(RECOVERY_MAX).await.success());

    // The way out, under a process that shows it.
    let processor = stage.serve("processor", &[]).await;
    for number in [ANEW, BEYOND, REMOVED] {
        trouble(&processor, READY_MAX, &place(number)).await;
    }
    let refused = stage.resume(FINE, &[]).await;
    assert!(!refused.0 && refused.1.contains("nothing stops the partition"), "{refused:?}");
    let refused = stage.resume(ANEW, &[]).await;
    assert!(!refused.0 && refused.1.contains("--made-anew"), "{refused:?}");
    let anew = stage.resume(ANEW, &["--made-anew"]).await;
    assert!(anew.0 && anew.1.contains("offset 0 of the log: no record is left out"), "{anew:?}");
    let beyond = stage.resume(BEYOND, &[]).await;
    assert!(beyond.0 && beyond.1.contains("offset 0 of the log: no record is left out"), "{beyond:?}");
    let removed = stage.resume(REMOVED, &[]).await;
    assert!(removed.0 && removed.1.contains("offset 32 of the log: 12 records are left out"), "{removed:?}");

    // What was stored and what is new; what is read again counts once; what was removed is missing and nothing else.
    for (number, events) in [(ANEW, 50), (BEYOND, 20), (REMOVED, 38), (FINE, 25)] {
        stage.counted(2 * RECOVERY_MAX, &stats, number, events).await;
        stage.stored(RECOVERY_MAX, number, events).await;
        mended(&processor, TOLD_MAX, &place(number)).await;
    }
    assert_eq!(stage.count("headwater.duplicates", "true").await, 20, "the log of one was read again");
    let labels = [("stream", stage.stream(ANEW))];
    assert_eq!(processor.metric("headwater_processor_stopped_partitions", &labels).await, 0.0);

    // Tokens mean the log's offsets, and are waited for at the history's.
    for (number, events) in [(ANEW, 51), (BEYOND, 21), (REMOVED, 39)] {
        let records = stage.records(number, &visits(1));
        let token = publish_all(&mut ingest.ingest().await, stage.stream(number), records).await;
        let seen = stage.views(&mut stats.clone(), number, None, &token).await.unwrap();
        assert_eq!(seen, (events, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_under_load_are_read_and_moved_keys_are_told() {
    /// Users, of which some move when there are more partitions.
    const USERS: usize = 40;
    /// The look for new partitions (10 s), the group's agreement, and the first batch.
    const NOTICED_MAX: Duration = Duration::from_secs(20);
    let stage = Arc::new(Stage::new(&["grown"]).await);
    let first = stage.serve("ingest,processor,stats", &[]).await;
    let second = stage.serve("processor", &[]).await;
    first.ready(READY_MAX).await;
    second.ready(READY_MAX).await;
    let make = {
        let stage = Arc::clone(&stage);
        move |number: usize| {
            let visit = Visit::new(&format!("user {}", number % USERS), &format!("/{}", number % 3));
            stage.records(0, &[visit]).remove(0)
        }
    };
    let publisher = Publisher::on(first.ingest().await, stage.stream(0), make);
    publisher.goes_on(RECOVERY_MAX).await;

    stage.raise_partitions(0, 4).await;
    let raised = Instant::now();
    within(NOTICED_MAX, "records of every partition are stored", || async {
        let by = format!("SELECT _partition::text, count(*) FROM {} GROUP BY 1", stage.table(0));
        let found = stage.rows(&by).await;
        if found.len() == 4 { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    eprintln!("records of every partition after {:?}", raised.elapsed());
    let (accepted, token) = publisher.end().await;
    let stats = first.stats().await;
    stage.counted(RECOVERY_MAX, &stats, 0, accepted).await;
    stage.stored(RECOVERY_MAX, 0, accepted).await;
    assert_eq!(
        stage.count("headwater.duplicates", "true").await + stage.count("headwater.dead_letters", "true").await,
        0
    );
    let users = StatQuery { window: seconds(3600), ..query(stage.stream(0), "users") };
    assert_eq!(get(&mut stats.clone(), users, &token).await.unwrap().values[0].value, USERS as i64);
    for process in [&first, &second] {
        within(NOTICED_MAX, "it is told that keys may have moved", || async {
            let told = process.log().contains("the topic has more partitions");
            if told { Ok(()) } else { Err("not told".to_owned()) }
        })
        .await;
    }

    // A producer that chooses partitions by itself: its events count, and that they lie elsewhere is counted.
    let misplaced = async || {
        let labels = [("stream", stage.stream(0))];
        let mut sum = 0.0;
        for process in [&first, &second] {
            sum += process.metric("headwater_processor_misplaced_records_total", &labels).await;
        }
        sum
    };
    let before = misplaced().await;
    let streams = first.ingest().await.list_streams(ListStreamsRequest::default()).await.unwrap().into_inner().streams;
    let id = streams.iter().find(|stream| stream.name == stage.stream(0)).unwrap().schema_id;
    for visit in visits(3) {
        let elsewhere = (partition_of(visit.user.as_bytes(), 4) + 1) % 4;
        let value = [frame::prefix(id, &[0]), prost::Message::encode_to_vec(&visit)].concat();
        stage.produce(0, Some(elsewhere), &visit.user, &value).await;
    }
    stage.counted(RECOVERY_MAX, &stats, 0, accepted + 3).await;
    assert_eq!(misplaced().await, before + 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_while_it_is_read_is_noticed() {
    const SHORT: usize = 0;
    const LONG: usize = 1;
    let stage = Stage::new(&["short", "long"]).await;
    let serving = stage.serve("ingest,processor,stats", &[]).await;
    serving.ready(READY_MAX).await;
    let stats = serving.stats().await;
    for number in [SHORT, LONG] {
        publish(&stage, &serving, number, 20).await;
        stage.counted(RECOVERY_MAX, &stats, number, 20).await;
    }
    // The new topic of one stays shorter than what was read; the other's is longer at once, so that its next offset is
    // there, and is another record's.
    for (number, records) in [(SHORT, 5), (LONG, 100_usize)] {
        stage.make_anew(number).await;
        stage.produce_at_once(number, b"not framed", records).await;
    }
    for (number, reason) in [(SHORT, "OFFSET_OUTSIDE_LOG"), (LONG, "TOPIC_REPLACED")] {
        let told = trouble(&serving, TOLD_MAX, &format!("{}/0", stage.stream(number))).await;
        assert!(told.starts_with(&format!("{reason}: ")), "{told}");
    }
    assert_eq!(stage.count("headwater.dead_letters", "true").await, 0, "nothing of the new topics is read");

    // What follows the new records is read too, and nothing before.
    for (number, records, more) in [(SHORT, 5, &[] as &[&str]), (LONG, 100, &["--made-anew"])] {
        let (done, told) = stage.resume(number, more).await;
        assert!(done, "{told}");
        publish(&stage, &serving, number, 10).await;
        stage.counted(2 * RECOVERY_MAX, &stats, number, 30).await;
        let dead = format!("stream = '{}'", stage.stream(number));
        assert_eq!(stage.count("headwater.dead_letters", &dead).await, records);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_is_told_until_it_is_there_again() {
    /// The look for topics (10 s), and the group's agreement.
    const NOTICED_MAX: Duration = Duration::from_secs(20);
    let stage = Stage::new(&["deleted"]).await;
    let serving = stage.serve("ingest,processor,stats", &[]).await;
    serving.ready(READY_MAX).await;
    let stats = serving.stats().await;
    publish(&stage, &serving, 0, 20).await;
    stage.counted(RECOVERY_MAX, &stats, 0, 20).await;
    stage.delete(0).await;
    let place = format!("{}/0", stage.stream(0));
    let told = trouble(&serving, NOTICED_MAX, &place).await;
    assert!(told.starts_with("TOPIC_MISSING: "), "{told}");
    // Its partitions are taken from everybody, and the stream's trouble stays.
    let told = trouble(&serving, NOTICED_MAX, stage.stream(0)).await;
    assert!(told.starts_with("TOPIC_MISSING: ") && told.ends_with("(docs/errors/TOPIC_MISSING.md)"), "{told}");
    let refused = calls::publish(&mut serving.ingest().await, stage.stream(0), stage.records(0, &visits(1))).await;
    assert_eq!(reason(&refused.unwrap_err()), (Code::Unavailable, "EVENT_LOG_UNAVAILABLE".into()));

    stage.create(0).await;
    within(NOTICED_MAX, "the new topic is looked at", || async {
        let told = trouble(&serving, NOTICED_MAX, &place).await;
        if told.starts_with("OFFSET_OUTSIDE_LOG: ") { Ok(()) } else { Err(told) }
    })
    .await;
    mended(&serving, NOTICED_MAX, stage.stream(0)).await;
    let (done, told) = stage.resume(0, &[]).await;
    assert!(done, "{told}");
    publish(&stage, &serving, 0, 5).await;
    stage.counted(2 * RECOVERY_MAX, &stats, 0, 25).await;
}
