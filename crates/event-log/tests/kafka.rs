//! What is Kafka's own: settings of topics, outages, and what other clients see.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_event_log::kafka::{KafkaLog, KafkaOptions};
use headwater_event_log::{
    EventLog, EventLogError, GroupMember, MemberEvent, NewRecord, PartitionReader, TopicPartition, TopicSpec,
};
use headwater_testkit::{KAFKA, Kafka, Options, require, unique};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// How soon after the broker's return everything must work again.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// Tells a process of this test's own which topic and group to join.
const OTHER: &str = "HEADWATER_TEST_OTHER_MEMBER";

fn spec(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec { name: name.to_owned(), partitions, replication: 1, min_insync: 1, retention_ms: 7_200_000 }
}

fn records(count: usize) -> Vec<NewRecord> {
    (0..count).map(|n| NewRecord { key: "k".into(), value: n.to_string().into(), headers: Vec::new() }).collect()
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", require(KAFKA)).create().unwrap()
}

#[tokio::test]
async fn a_topic_is_made_as_it_must_be() {
    let log = KafkaLog::connect(KafkaOptions::new(require(KAFKA))).unwrap();
    let topic = unique("settings");
    log.ensure_topic(&spec(&topic, 3)).await.unwrap();
    let resources = admin().describe_configs([&ResourceSpecifier::Topic(&topic)], &AdminOptions::new()).await.unwrap();
    let config = resources.into_iter().next().unwrap().unwrap();
    for (name, value) in [
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "7200000"),
        ("min.insync.replicas", "1"),
        ("cleanup.policy", "delete"),
    ] {
        assert_eq!(config.get(name).unwrap().value.as_deref(), Some(value), "{name}");
    }
    let refused = log.ensure_topic(&TopicSpec { replication: 3, ..spec(&unique("replicas"), 1) }).await;
    assert!(matches!(&refused, Err(EventLogError::Refused(text)) if text.contains("3 replicas")), "{refused:?}");
}

#[tokio::test]
async fn a_topic_with_other_timestamps_is_refused_with_the_command() {
    let topic = unique("times");
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("message.timestamp.type", "CreateTime");
    admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
    let log = KafkaLog::connect(KafkaOptions::new(require(KAFKA))).unwrap();
    let refused = log.ensure_topic(&spec(&topic, 1)).await;
    let Err(EventLogError::Unsuitable(text)) = refused else { panic!("{refused:?}") };
    for part in ["CreateTime", "kafka-configs", &topic, "--add-config message.timestamp.type=LogAppendTime"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test]
async fn a_hint_is_what_people_see_of_the_group() {
    let log = KafkaLog::connect(KafkaOptions::new(require(KAFKA))).unwrap();
    let (topic, group) = (unique("hints"), unique("group"));
    log.ensure_topic(&spec(&topic, 1)).await.unwrap();
    assert!(log.append(&topic, records(5)).await.iter().all(Result::is_ok));
    let mut member = log.join(&group, std::slice::from_ref(&topic)).await.unwrap();
    let partition = TopicPartition { topic: topic.clone(), partition: 0 };
    assert_eq!(member.next_event().await, Ok(MemberEvent::Assigned(vec![partition.clone()])));
    let readers = member.start(vec![(partition.clone(), 0)]).await.unwrap();
    member.hint(&partition, 3);
    member.hint(&partition, 5);
    let committed = || {
        let (topic, group) = (topic.clone(), format!("{group}.{topic}"));
        spawn_blocking(move || {
            let consumer: BaseConsumer =
                ClientConfig::new().set("bootstrap.servers", require(KAFKA)).set("group.id", group).create().unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition(&topic, 0);
            let committed = consumer.committed_offsets(list, Duration::from_secs(5)).unwrap();
            committed.elements()[0].offset()
        })
    };
    let began = Instant::now();
    while committed().await.unwrap() != Offset::Offset(5) {
        assert!(began.elapsed() < RECOVERY_MAX, "the hint does not arrive");
        sleep(Duration::from_millis(200)).await;
    }
    drop(readers);
    member.hint(&partition, 4);
    member.leave().await;
    assert_eq!(committed().await.unwrap(), Offset::Offset(4), "the last one is told on leaving");
}

#[tokio::test]
async fn without_a_broker_everything_is_unavailable() {
    let options = KafkaOptions {
        delivery_timeout: Duration::from_secs(1),
        queue_records_max: 10,
        ..KafkaOptions::new("127.0.0.1:1")
    };
    let log = KafkaLog::connect(options).unwrap();
    let began = Instant::now();
    let results = log.append("t", records(25)).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    for (place, result) in results.iter().enumerate() {
        match result {
            Err(EventLogError::Unavailable(_)) => assert!(place < 10, "{place}"),
            Err(EventLogError::QueueFull) => assert!(place >= 10, "{place}: the queue has room for ten"),
            other => panic!("{place}: {other:?}"),
        }
    }
    let failed = [
        log.check().await.err(),
        log.watermarks("t", 0).await.err(),
        log.ensure_topic(&spec("t", 1)).await.err(),
        log.join("g", &["t".to_owned()]).await.err(),
    ];
    for error in failed {
        assert!(matches!(error, Some(EventLogError::Unavailable(_))), "{error:?}");
    }
    log.flush(Duration::from_secs(1)).await;
}

#[test]
fn properties_that_are_wrong_are_refused_at_once() {
    for (name, value) in [("no.such.property", "1"), ("security.protocol", "nonsense"), ("acks", "1")] {
        let mut options = KafkaOptions::new("127.0.0.1:1");
        options.properties.insert(name.into(), value.into());
        let refused = KafkaLog::connect(options).err();
        assert!(matches!(&refused, Some(EventLogError::Refused(text)) if text.contains(name)), "{name}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_is_used_again() {
    let mut broker = spawn_blocking(|| Kafka::start(Options::default()).unwrap()).await.unwrap();
    let options = KafkaOptions { delivery_timeout: Duration::from_secs(2), ..KafkaOptions::new(broker.bootstrap()) };
    let log = KafkaLog::connect(options).unwrap();
    log.ensure_topic(&spec("t", 2)).await.unwrap();
    assert!(log.append("t", records(10)).await.iter().all(Result::is_ok));
    let mut member = log.join("g", &["t".to_owned()]).await.unwrap();
    let mut reader = reader_of_k(member.as_mut()).await;
    assert_eq!(reader.read(100, usize::MAX, Duration::from_millis(500)).await.unwrap().len(), 10);

    let mut broker = spawn_blocking(move || {
        broker.kill().unwrap();
        broker
    })
    .await
    .unwrap();
    // Soon enough that the session is not over.
    let waited = timeout(Duration::from_millis(500), reader.read(1, usize::MAX, Duration::ZERO)).await;
    assert!(waited.is_err(), "the reader waits the outage out: {waited:?}");
    let results = log.append("t", records(3)).await;
    assert!(results.iter().all(|result| matches!(result, Err(EventLogError::Unavailable(_)))), "{results:?}");
    assert!(matches!(log.check().await, Err(EventLogError::Unavailable(_))));

    let _broker = spawn_blocking(move || {
        broker.restart().unwrap();
        broker
    })
    .await
    .unwrap();
    let returned = Instant::now();
    let position = loop {
        match log.append("t", records(1)).await.remove(0) {
            Ok(position) => break position,
            Err(error) => assert!(returned.elapsed() < RECOVERY_MAX, "after {:?}: {error}", returned.elapsed()),
        }
    };
    assert!(position.offset >= 10, "{position:?}: what was acknowledged is still there");
    let mut seen = 9;
    while seen < position.offset {
        let left = RECOVERY_MAX.saturating_sub(returned.elapsed());
        match timeout(left, reader.read(100, usize::MAX, Duration::ZERO)).await.expect("reading goes on") {
            Ok(records) => seen = records.last().unwrap().offset,
            // The outage was longer than the session: the member is given its partitions anew.
            Err(error) => {
                assert_eq!(error, EventLogError::Revoked);
                reader = timeout(left, reader_of_k(member.as_mut())).await.expect("partitions come back");
            }
        }
    }
    assert!(returned.elapsed() < RECOVERY_MAX, "{:?}", returned.elapsed());
}

#[tokio::test]
async fn a_member_whose_process_is_killed_is_replaced() {
    let log = KafkaLog::connect(KafkaOptions::new(require(KAFKA))).unwrap();
    let (topic, group) = (unique("killed"), unique("group"));
    log.ensure_topic(&spec(&topic, 2)).await.unwrap();
    let mut member = log.join(&group, std::slice::from_ref(&topic)).await.unwrap();
    let mut reader = reader_of_k(member.as_mut()).await;
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_member_of_another_process", "--ignored"])
        .env(OTHER, format!("{topic} {group}"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut count = 2;
    while count != 1 {
        count = match timeout(Duration::from_secs(20), member.next_event()).await.expect("the other joins").unwrap() {
            MemberEvent::Assigned(partitions) => count + partitions.len(),
            MemberEvent::Revoked(partitions) => count - partitions.len(),
        };
    }
    other.kill().unwrap();
    let killed = Instant::now();
    let event = timeout(RECOVERY_MAX, member.next_event()).await.expect("its partition comes back").unwrap();
    let MemberEvent::Assigned(partitions) = event else { panic!("{event:?}") };
    assert_eq!(partitions.len(), 1, "after {:?}", killed.elapsed());
    let at = partitions.iter().map(|partition| (partition.clone(), 0)).collect();
    let mut back = member.start(at).await.unwrap().remove(0);
    assert!(log.append(&topic, records(1)).await[0].is_ok());
    let of_k = headwater_domain::partition_of(b"k", 2);
    let reader = if partitions[0].partition == of_k { &mut back } else { &mut reader };
    assert_eq!(timeout(RECOVERY_MAX, reader.read(1, 1, Duration::ZERO)).await.unwrap().unwrap()[0].offset, 0);
    other.wait().unwrap();
}

/// What the test above kills.
#[tokio::test]
#[ignore = "another test runs it, in a process of its own"]
async fn a_member_of_another_process() {
    let Ok(other) = std::env::var(OTHER) else { return };
    let (topic, group) = other.split_once(' ').unwrap();
    let log = KafkaLog::connect(KafkaOptions::new(require(KAFKA))).unwrap();
    let _member = log.join(group, &[topic.to_owned()]).await.unwrap();
    sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_ends_its_readers() {
    let log = KafkaLog::connect(KafkaOptions::new(require(KAFKA))).unwrap();
    let topic = unique("deleted");
    log.ensure_topic(&spec(&topic, 2)).await.unwrap();
    let mut member = log.join(&unique("group"), std::slice::from_ref(&topic)).await.unwrap();
    let mut reader = reader_of_k(member.as_mut()).await;
    admin().delete_topics(&[&topic], &AdminOptions::new()).await.unwrap();
    let read = timeout(Duration::from_secs(20), reader.read(1, 1, Duration::ZERO)).await.expect("it ends");
    let ended = [EventLogError::UnknownTopic(topic.clone()), EventLogError::Revoked];
    assert!(read.as_ref().is_err_and(|error| ended.contains(error)), "{read:?}");
    let refused = log.append(&topic, records(1)).await.remove(0);
    assert!(refused.is_err(), "{refused:?}");
}

/// Waits for an assignment of both partitions, starts it, and returns the reader of the key `k`.
async fn reader_of_k(member: &mut dyn GroupMember) -> Box<dyn PartitionReader> {
    loop {
        let MemberEvent::Assigned(partitions) = member.next_event().await.unwrap() else { continue };
        let of_k = headwater_domain::partition_of(b"k", 2);
        let place = partitions.iter().position(|partition| partition.partition == of_k).unwrap();
        let at = partitions.into_iter().map(|partition| (partition, 0)).collect();
        return member.start(at).await.unwrap().remove(place);
    }
}

#[tokio::test]
async fn a_log_whose_every_record_is_newer_may_be_another() {
    let log = KafkaLog::connect(KafkaOptions::new(require(KAFKA))).unwrap();
    let topic = unique("anew");
    log.ensure_topic(&spec(&topic, 1)).await.unwrap();
    let before_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 - 1;
    for result in log.append(&topic, records(3)).await {
        result.unwrap();
    }
    let at = TopicPartition { topic: topic.clone(), partition: 0 };
    // The record at offset 2 would be older than all that there are.
    assert_eq!(log.may_be_anew(&at, 2, before_ms).await, Ok(true));
    assert_eq!(log.may_be_anew(&at, 2, before_ms + 60_000).await, Ok(false), "nothing is newer");
    sleep(Duration::from_millis(50)).await;
    let between_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 - 1;
    sleep(Duration::from_millis(50)).await;
    log.append(&topic, records(1)).await.pop().unwrap().unwrap();
    assert_eq!(log.may_be_anew(&at, 2, between_ms).await, Ok(false), "only what follows is newer");
    // A clock that went back: something before is newer, and not all.
    assert_eq!(log.may_be_anew(&at, 3, between_ms).await, Ok(false));
}
