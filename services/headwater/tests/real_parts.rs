//! `headwater serve` on real Kafka, Schema Registry, Redis and Postgres, which come late, die, lose everything, and hold
//! what others wrote. Every test starts servers of its own: streams have the names of topics, which cannot be shared.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_contracts::v1::error::Reason;
use headwater_contracts::v1::event::PageEvent;
use headwater_contracts::v1::ingest::ListStreamsRequest;
use headwater_contracts::v1::stats::explained_record::Outcome;
use headwater_contracts::v1::stats::{ExplainedDeadLetter, StatQuery};
use headwater_event_log::frame;
use prost::Message;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use support::calls::{
    PAGES, TRANSACTIONS, all_of, click, explained, get, history, now_ms, pages, publish, publish_all, query, reason,
    retry_delay, seconds, timestamp, transaction,
};
use support::parts::{Ports, Publisher, USERS};
use support::process::{Headwater, Stats};
use support::within;
use tokio::task::block_in_place;
use tonic::{Code, Status};

/// How long the platform may take until it is as it was, once a server is back or a partner is dead.
const RECOVERY_MAX: Duration = Duration::from_secs(10);
const READY_MAX: Duration = Duration::from_secs(30);

async fn serve(ports: &Ports, roles: &str) -> Headwater {
    let arguments = ports.serve(roles);
    Headwater::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// What all pages add up to, where the figures are whole; all time or of a window.
async fn views(stats: &mut Stats, window: Option<i64>, token: &str) -> Result<i64, Status> {
    let asked = StatQuery { window: window.and_then(seconds), limit: 1000, ..query(PAGES, "top_pages") };
    let result = get(stats, asked, token).await?;
    if !result.complete {
        return Err(Status::unavailable("incomplete"));
    }
    Ok(result.values.iter().map(|value| value.value).sum())
}

/// Waits until at least so many events count: a token stands for its own batch, and others may lie on other partitions.
async fn counted(limit: Duration, what: &str, stats: &Stats, events: usize, token: &str) {
    within(limit, what, || {
        let mut stats = stats.clone();
        async move {
            let views = views(&mut stats, None, token).await.map_err(|status| format!("{status:?}"))?;
            if views >= events as i64 { Ok(()) } else { Err(format!("{views} of {events}")) }
        }
    })
    .await;
}

/// From the return of a server on: events are taken again, counted, and stored, all within what recovery may take.
async fn recovers(what: &str, returned: Instant, publisher: &Publisher, stats: &Stats) {
    let left = || RECOVERY_MAX.saturating_sub(returned.elapsed());
    let (accepted, token) = publisher.goes_on(left()).await;
    let accepting = returned.elapsed();
    counted(left(), what, stats, accepted, &token).await;
    history(&mut stats.clone(), all_of(PAGES)).await.expect("the history answers");
    eprintln!("{what}: accepted again after {accepting:?}, whole after {:?}", returned.elapsed());
}

/// Every event that was accepted counts once: in Redis, in Postgres, in windows.
async fn counted_once(stats: &mut Stats, postgres: &str, events: usize, token: &str) {
    counted(RECOVERY_MAX, "everything is counted", stats, events, token).await;
    let events = events as i64;
    assert_eq!(views(stats, None, token).await.unwrap(), events);
    assert_eq!(views(stats, Some(3600), token).await.unwrap(), events);
    for window in [None, seconds(3600)] {
        let asked = StatQuery { window, ..query(PAGES, "active_users") };
        assert_eq!(get(stats, asked, token).await.unwrap().values[0].value, USERS as i64);
    }
    assert_eq!(rows(postgres, "SELECT '' , count(*) FROM headwater.page_events").await, [(String::new(), events)]);
}

/// Rows of a text and a number.
async fn rows(postgres: &str, sql: &str) -> Vec<(String, i64)> {
    let (client, connection) = tokio_postgres::connect(postgres, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let rows = client.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    drop(client);
    connection.await.unwrap().unwrap();
    rows
}

/// A call failed because a server is away: the code, the reason, and when to try again.
fn assert_away(status: &Status, wanted: &str) {
    assert_eq!(reason(status), (Code::Unavailable, wanted.into()), "{status:?}");
    assert!(retry_delay(status).is_some_and(|delay| delay > Duration::ZERO), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_and_the_others_may_come_late_and_kafka_and_the_registry_may_go() {
    let ports = Ports::free();
    let headwater = serve(&ports, "ingest,processor,stats").await;
    let channel = headwater.channel().await;
    assert_eq!(headwater.health(channel.clone(), "").await.unwrap(), "NOT_SERVING");
    assert_eq!(headwater.health(channel.clone(), "headwater.ingest.v1.IngestService").await.unwrap(), "NOT_SERVING");
    assert_eq!(headwater.get("/livez").await.unwrap().0, 200);
    let (status, page) = headwater.get("/readyz").await.unwrap();
    assert!(status == 503 && page.contains("ingest: topics and schemas"), "{page}");
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let status = publish(&mut ingest, PAGES, pages(&[click("anna", "/")])).await.unwrap_err();
    assert_away(&status, "NOT_READY");
    for status in [
        get(&mut stats, query(PAGES, "top_pages"), "").await.unwrap_err(),
        history(&mut stats, all_of(PAGES)).await.unwrap_err(),
    ] {
        assert_away(&status, "HISTORY_UNAVAILABLE");
    }

    let mut parts = block_in_place(|| ports.start());
    headwater.ready(RECOVERY_MAX).await;
    assert_eq!(headwater.health(channel.clone(), "").await.unwrap(), "SERVING");
    let publisher = Publisher::start(headwater.ingest().await);
    recovers("all came", Instant::now(), &publisher, &stats).await;
    assert_eq!(publisher.take_reasons(), BTreeSet::new());

    // What is accepted at the very end may lie in Kafka alone, and is read once that is back.
    let (accepted, token) = publisher.so_far();
    counted(RECOVERY_MAX, "what was accepted is readable", &stats, accepted, &token).await;
    block_in_place(|| parts.kafka.kill()).unwrap();
    let status = publish(&mut ingest, PAGES, pages(&[click("lost", "/0")])).await.unwrap_err();
    assert_away(&status, "EVENT_LOG_UNAVAILABLE");
    counted(RECOVERY_MAX, "what was readable is so without Kafka", &stats, accepted, &token).await;
    assert_eq!(headwater.health(channel.clone(), "").await.unwrap(), "SERVING", "health tells of the process");
    block_in_place(|| parts.kafka.restart()).unwrap();
    recovers("Kafka is back", Instant::now(), &publisher, &stats).await;
    assert_eq!(publisher.take_reasons(), BTreeSet::from(["EVENT_LOG_UNAVAILABLE".to_owned()]));

    // Nobody needs the registry once the ids are known.
    block_in_place(|| parts.registry.kill()).unwrap();
    recovers("the registry is away", Instant::now(), &publisher, &stats).await;
    // A record with an id that nobody asked for yet cannot be judged: its partition waits, and nothing is lost.
    let unknown = [frame::prefix(777_777, &[0]), click("foreign", "/").encode_to_vec()].concat();
    produce(&ports.brokers(), vec![(Some("foreign"), Some(unknown))]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    block_in_place(|| parts.registry.restart()).unwrap();
    recovers("the registry is back", Instant::now(), &publisher, &stats).await;
    assert_eq!(publisher.take_reasons(), BTreeSet::new());

    let (accepted, token) = publisher.end().await;
    // The event that was published while Kafka was away may have been kept: its answer said that it is not known.
    let lost =
        rows(&ports.postgres_url(), "SELECT '', count(*) FROM headwater.page_events WHERE user_id = 'lost'").await;
    if lost[0].1 == 0 {
        counted_once(&mut stats, &ports.postgres_url(), accepted, &token).await;
    } else {
        counted(RECOVERY_MAX, "everything is counted", &stats, accepted + 1, &token).await;
        assert_eq!(views(&mut stats, None, &token).await.unwrap(), accepted as i64 + 1);
    }
    let dead = "SELECT reason, count(*) FROM headwater.dead_letters GROUP BY reason";
    assert_eq!(rows(&ports.postgres_url(), dead).await, [("UNKNOWN_SCHEMA".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_and_postgres_may_go_and_what_kafka_holds_of_others_is_sorted_out() {
    let ports = Ports::free();
    let mut parts = block_in_place(|| ports.start());
    let headwater = serve(&ports, "ingest,processor,stats").await;
    headwater.ready(READY_MAX).await;
    let mut stats = headwater.stats().await;
    let publisher = Publisher::start(headwater.ingest().await);
    recovers("the start", Instant::now(), &publisher, &stats).await;

    block_in_place(|| parts.redis.kill()).unwrap();
    let status = get(&mut stats, query(PAGES, "top_pages"), "").await.unwrap_err();
    assert_away(&status, "LIVE_UNAVAILABLE");
    let (accepted, _) = publisher.goes_on(RECOVERY_MAX).await;
    within(RECOVERY_MAX, "the history goes on without Redis", || async {
        let stored = rows(&ports.postgres_url(), "SELECT '', count(*) FROM headwater.page_events").await[0].1;
        if stored >= accepted as i64 { Ok(()) } else { Err(format!("{stored} of {accepted}")) }
    })
    .await;
    block_in_place(|| parts.redis.restart()).unwrap();
    recovers("Redis is back", Instant::now(), &publisher, &stats).await;

    block_in_place(|| parts.postgres.kill()).unwrap();
    let status = history(&mut stats, all_of(PAGES)).await.unwrap_err();
    assert_away(&status, "HISTORY_UNAVAILABLE");
    publisher.goes_on(RECOVERY_MAX).await;
    views(&mut stats, None, "").await.expect("live statistics answer without the history");
    block_in_place(|| parts.postgres.restart()).unwrap();
    recovers("Postgres is back", Instant::now(), &publisher, &stats).await;
    assert_eq!(publisher.take_reasons(), BTreeSet::new(), "publishing needs neither");

    // Under load first, then with a total that is known.
    parts.redis.ask("FLUSHALL").unwrap();
    recovers("Redis was emptied", Instant::now(), &publisher, &stats).await;
    let (accepted, token) = publisher.end().await;
    counted_once(&mut stats, &ports.postgres_url(), accepted, &token).await;
    parts.redis.ask("FLUSHALL").unwrap();
    let emptied = Instant::now();
    let mut was_incomplete = 0;
    loop {
        let asked = StatQuery { limit: 1000, ..query(PAGES, "top_pages") };
        let result = get(&mut stats, asked, "").await.unwrap();
        let figure: i64 = result.values.iter().map(|value| value.value).sum();
        if result.complete {
            assert_eq!(figure, accepted as i64, "a figure that is wrong is said to be");
            if was_incomplete > 0 || emptied.elapsed() > Duration::from_secs(5) {
                break;
            }
        } else {
            was_incomplete += 1;
        }
        assert!(emptied.elapsed() < RECOVERY_MAX, "{figure} of {accepted}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    eprintln!("emptied: {was_incomplete} answers were incomplete, right after {:?}", emptied.elapsed());
    counted_once(&mut stats, &ports.postgres_url(), accepted, &token).await;

    garbage_is_set_aside(&headwater, &ports).await;
}

/// What a foreign producer may leave in the topic becomes dead letters, and what is good around it is stored.
async fn garbage_is_set_aside(headwater: &Headwater, ports: &Ports) {
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let streams = ingest.list_streams(ListStreamsRequest::default()).await.unwrap().into_inner().streams;
    let id = |name: &str| streams.iter().find(|stream| stream.name == name).unwrap().schema_id;
    let framed = |stream: &str, message: Vec<u8>| [frame::prefix(id(stream), &[0]), message].concat();
    let before = views(&mut stats, None, "").await.unwrap();
    let good = |n: i64| pages(&[click(&format!("good {n}"), "/good")]);
    publish_all(&mut ingest, PAGES, good(1)).await;
    let no_user = PageEvent { user_id: String::new(), ..click("x", "/") };
    let ahead = PageEvent { timestamp: Some(timestamp(now_ms() + 3_600_000)), ..click("x", "/") };
    let records = vec![
        ("BAD_FRAME", Some(br#"{"event_id":"1"}"#.to_vec())),
        ("BAD_FRAME", Some(vec![0, 0, 0])),
        ("BAD_FRAME", Some(vec![])),
        ("BAD_FRAME", None),
        ("UNKNOWN_SCHEMA", Some([frame::prefix(999_999, &[0]), click("x", "/").encode_to_vec()].concat())),
        ("WRONG_SCHEMA", Some(framed(TRANSACTIONS, transaction("a", 1).encode_to_vec()))),
        ("MALFORMED", Some(framed(PAGES, vec![0xff; 40]))),
        ("INVALID_FIELD", Some(framed(PAGES, no_user.encode_to_vec()))),
        ("TIME_AHEAD", Some(framed(PAGES, ahead.encode_to_vec()))),
    ];
    let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
    for (reason, _) in &records {
        *wanted.entry(reason).or_default() += 1;
    }
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let foreign = records.iter().zip(keys).map(|((_, value), key)| (Some(key), value.clone())).collect();
    produce(&ports.brokers(), foreign).await;
    // One without a key, and one that a foreign producer made well.
    let well_made = click("well", "/good");
    let well = framed(PAGES, well_made.encode_to_vec());
    produce(&ports.brokers(), vec![(None, Some(well.clone())), (Some("well"), Some(well))]).await;
    let token = publish_all(&mut ingest, PAGES, (2..20).flat_map(good).collect()).await;
    within(RECOVERY_MAX, "everything is sorted out", || {
        let (mut stats, token) = (stats.clone(), token.clone());
        async move {
            let views = views(&mut stats, None, &token).await.map_err(|status| format!("{status:?}"))?;
            // 19 that were published, and the foreign one, which was there twice.
            if views == before + 20 { Ok(()) } else { Err(format!("{views} and not {before} + 20")) }
        }
    })
    .await;
    let by_reason = "SELECT reason, count(*) FROM headwater.dead_letters WHERE stream = 'page-events' GROUP BY reason";
    within(RECOVERY_MAX, "dead letters are in the history", || async {
        let found = rows(&ports.postgres_url(), by_reason).await;
        let found: BTreeMap<&str, i64> = found.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        if found == wanted { Ok(()) } else { Err(format!("{found:?} and not {wanted:?}")) }
    })
    .await;
    for (reason, count) in wanted {
        let labels = [("reason", reason), ("stream", PAGES)];
        assert_eq!(headwater.metric("headwater_processor_dead_letters_total", &labels).await, count as f64, "{reason}");
    }
    let copies = block_in_place(|| {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", ports.brokers()).set("group.id", "copies").create().unwrap();
        let within = Duration::from_secs(5);
        (0..4).map(|at| consumer.fetch_watermarks("page-events-dead-letters", at, within).unwrap().1).sum::<i64>()
    });
    assert_eq!(copies, records.len() as i64, "each is copied to the topic of dead letters");

    // And whoever made them is told by their ids.
    let outcomes = async |id: &str| -> Vec<Outcome> {
        let found = explained(&mut stats.clone(), PAGES, id, &token).await;
        assert!(found.iter().all(|record| record.committed_at.is_some()), "{found:?}");
        found.into_iter().filter_map(|record| record.outcome).collect()
    };
    for (id, wanted, field) in
        [(&no_user.event_id, Reason::InvalidField, "user_id"), (&ahead.event_id, Reason::TimeAhead, "timestamp")]
    {
        let found = outcomes(id).await;
        let is_told = |letter: &ExplainedDeadLetter| letter.reason() == wanted && letter.field == field;
        assert!(matches!(&found[..], [Outcome::Dead(letter)] if is_told(letter)), "{found:?}");
    }
    let found = outcomes(&well_made.event_id).await;
    assert!(matches!(&found[..], [Outcome::Stored(_), Outcome::Duplicate(_)]), "{found:?}");
}

/// Appends records to the topic of page events as any producer could.
async fn produce(brokers: &str, records: Vec<(Option<&str>, Option<Vec<u8>>)>) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", "10000")
        .create()
        .unwrap();
    for (key, value) in records {
        let value = value.map(Bytes::from);
        let mut record: FutureRecord<'_, str, [u8]> = FutureRecord::to(PAGES);
        record.key = key;
        record.payload = value.as_deref();
        producer.send(record, Duration::from_secs(5)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_in_processes_of_their_own_share_the_work_and_kafka_gives_it_to_the_one_that_lives() {
    let ports = Ports::free();
    let _parts = block_in_place(|| ports.start());
    let ingest = serve(&ports, "ingest").await;
    let stats_role = serve(&ports, "stats").await;
    let first = serve(&ports, "processor").await;
    for role in [&ingest, &stats_role, &first] {
        role.ready(READY_MAX).await;
    }
    let mut stats = stats_role.stats().await;
    let status = publish(&mut stats_role.ingest().await, PAGES, pages(&[click("anna", "/")])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "a role serves what it is");
    let publisher = Publisher::start(ingest.ingest().await);
    recovers("one processor", Instant::now(), &publisher, &stats).await;

    let mut second = serve(&ports, "processor").await;
    second.ready(READY_MAX).await;
    let stored = async |headwater: &Headwater| {
        headwater.metric("headwater_processor_records_total", &[("stream", PAGES), ("outcome", "stored")]).await
    };
    within(RECOVERY_MAX, "the second takes its share", || async {
        if stored(&second).await > 0.0 { Ok(()) } else { Err("it stored nothing".to_owned()) }
    })
    .await;
    let before = stored(&first).await;
    publisher.goes_on(RECOVERY_MAX).await;
    within(RECOVERY_MAX, "the first keeps its share", || async {
        if stored(&first).await > before { Ok(()) } else { Err("it stores nothing more".to_owned()) }
    })
    .await;
    recovers("two processors", Instant::now(), &publisher, &stats).await;

    first.kill();
    recovers("one was killed", Instant::now(), &publisher, &stats).await;
    assert_eq!(publisher.take_reasons(), BTreeSet::new(), "publishing needs no processor");

    // One that ends in good order gives its partitions away at once, well before Kafka would miss it (6 s).
    let third = serve(&ports, "processor").await;
    third.ready(READY_MAX).await;
    within(RECOVERY_MAX, "the third takes its share", || async {
        if stored(&third).await > 0.0 { Ok(()) } else { Err("it stored nothing".to_owned()) }
    })
    .await;
    second.signal("TERM");
    assert_eq!(second.ended(RECOVERY_MAX).await.code(), Some(0));
    let ended = Instant::now();
    recovers("one ended", ended, &publisher, &stats).await;
    assert!(ended.elapsed() < Duration::from_secs(4), "taken over only after {:?}", ended.elapsed());

    let (accepted, token) = publisher.end().await;
    counted_once(&mut stats, &ports.postgres_url(), accepted, &token).await;
    assert_eq!(rows(&ports.postgres_url(), "SELECT '', count(*) FROM headwater.dead_letters").await[0].1, 0);
}
