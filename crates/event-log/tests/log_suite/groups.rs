use std::time::Duration;

use headwater_domain::partition_of;
use headwater_event_log::{EventLogError, MemberEvent, TopicPartition};
use headwater_testkit::unique;
use tokio::time::timeout;

use crate::fixture::{Fixture, PATIENCE, read, record, text};

pub(crate) async fn members_share_each_topic(fixture: Fixture) {
    let topics = [fixture.topic(4).await, fixture.topic(4).await];
    let group = unique("group");
    let mut first = fixture.reading(&group, &topics, 8).await;
    let (_, mut second) = tokio::join!(first.until(4), fixture.reading(&group, &topics, 4));
    for topic in &topics {
        let of = |partitions: Vec<(String, i32)>| partitions.into_iter().filter(|(name, _)| name == topic).count();
        assert_eq!((of(first.partitions()), of(second.partitions())), (2, 2), "each topic is shared evenly");
    }
    let mut all = [first.partitions(), second.partitions()].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8, "no partition is read by two");
    for n in 0..100 {
        let records = vec![record(&format!("user-{n}"), n.to_string())];
        fixture.append(&topics[0], records.clone()).await;
        fixture.append(&topics[1], records).await;
    }
    let mut seen = 0;
    for reading in [&mut first, &mut second] {
        for (partition, reader) in &mut reading.readers {
            let high = fixture.log.watermarks(&partition.topic, partition.partition).await.unwrap().high;
            for record in read(reader.as_mut(), high as usize).await {
                assert_eq!(partition_of(record.key.as_deref().unwrap(), 4), partition.partition);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 200);
}

pub(crate) async fn what_stays_is_read_on(fixture: Fixture) {
    let topic = fixture.topic(2).await;
    let keys: Vec<String> = (0..2)
        .map(|p| (0..).map(|n: i32| format!("k{n}")).find(|k| partition_of(k.as_bytes(), 2) == p).unwrap())
        .collect();
    let group = unique("group");
    let mut first = fixture.reading(&group, std::slice::from_ref(&topic), 2).await;
    let both = || keys.iter().map(|key| record(key, "before")).collect::<Vec<_>>();
    fixture.append(&topic, both()).await;
    for reader in first.readers.values_mut() {
        assert_eq!(text(&read(reader.as_mut(), 1).await[0]), "before");
    }
    let (_, _second) = tokio::join!(first.until(1), fixture.reading(&group, std::slice::from_ref(&topic), 1));
    fixture.append(&topic, both()).await;
    let reader = first.readers.values_mut().next().unwrap();
    assert_eq!(read(reader.as_mut(), 1).await[0].offset, 1, "by the same reader, where it was");
}

pub(crate) async fn who_leaves_is_replaced(fixture: Fixture) {
    replaced(fixture, true).await;
}

pub(crate) async fn who_is_dropped_is_replaced(fixture: Fixture) {
    replaced(fixture, false).await;
}

async fn replaced(fixture: Fixture, leave: bool) {
    let topic = fixture.topic(4).await;
    let group = unique("group");
    let mut first = fixture.reading(&group, std::slice::from_ref(&topic), 4).await;
    let (_, second) = tokio::join!(first.until(2), fixture.reading(&group, std::slice::from_ref(&topic), 2));
    let (member, mut readers) = (second.member, second.readers);
    if leave {
        timeout(PATIENCE, member.leave()).await.unwrap();
    } else {
        drop(member);
    }
    for reader in readers.values_mut() {
        let read = timeout(PATIENCE, reader.read(1, 1, Duration::ZERO)).await.unwrap();
        assert_eq!(read, Err(EventLogError::Revoked));
    }
    first.until(4).await;
    // The last one leaves, and the next to come has everything.
    first.member.leave().await;
    fixture.reading(&group, &[topic], 4).await;
}

pub(crate) async fn what_is_not_the_members_is_not_started(fixture: Fixture) {
    let topic = fixture.topic(2).await;
    let mut member = fixture.log.join(&unique("group"), std::slice::from_ref(&topic)).await.unwrap();
    let place = |partition| TopicPartition { topic: topic.clone(), partition };
    let early = member.start(vec![(place(0), 0)]).await;
    assert_eq!(early.err(), Some(EventLogError::Revoked), "nothing was assigned");
    let event = timeout(PATIENCE, member.next_event()).await.unwrap();
    let Ok(MemberEvent::Assigned(partitions)) = event else { panic!("{event:?}") };
    assert_eq!(partitions.len(), 2);
    let strange = member.start(vec![(place(0), 0), (place(7), 0)]).await;
    assert_eq!(strange.err(), Some(EventLogError::Revoked));
    let readers = member.start(vec![(place(1), 0), (place(0), 0)]).await.unwrap();
    assert_eq!(readers.len(), 2, "the right ones can be, in any order");
    fixture.append(&topic, (0..20).map(|n| record(&format!("k{n}"), n.to_string())).collect()).await;
    for (mut reader, partition) in readers.into_iter().zip([1, 0]) {
        let record = read(reader.as_mut(), 1).await.remove(0);
        assert_eq!(
            partition_of(record.key.as_deref().unwrap(), 2),
            partition,
            "readers come in the order that was asked"
        );
    }
    let again = member.start(vec![(place(0), 0)]).await;
    assert_eq!(again.err(), Some(EventLogError::Revoked), "once");
}

pub(crate) async fn a_member_that_did_not_start_hears_again(fixture: Fixture) {
    let topic = fixture.topic(4).await;
    let group = unique("group");
    let mut first = fixture.log.join(&group, std::slice::from_ref(&topic)).await.unwrap();
    let event = timeout(PATIENCE, first.next_event()).await.unwrap();
    let Ok(MemberEvent::Assigned(partitions)) = event else { panic!("{event:?}") };
    // It is slow to start, and meanwhile another joins: which must not have to wait for it.
    let _second = fixture.reading(&group, std::slice::from_ref(&topic), 2).await;
    let late = first.start(partitions.iter().map(|partition| (partition.clone(), 0)).collect()).await;
    assert_eq!(late.err(), Some(EventLogError::Revoked));
    let event = timeout(PATIENCE, first.next_event()).await.unwrap();
    let Ok(MemberEvent::Revoked(revoked)) = event else { panic!("{event:?}") };
    assert_eq!(revoked.len(), 4, "all that was not started");
    let event = timeout(PATIENCE, first.next_event()).await.unwrap();
    let Ok(MemberEvent::Assigned(partitions)) = event else { panic!("{event:?}") };
    assert_eq!(partitions.len(), 2);
    let readers = first.start(partitions.into_iter().map(|partition| (partition, 0)).collect()).await.unwrap();
    assert_eq!(readers.len(), 2);
}

pub(crate) async fn groups_do_not_meet(fixture: Fixture) {
    let topic = fixture.topic(2).await;
    let topics = std::slice::from_ref(&topic);
    let groups = [unique("one"), unique("other")];
    let (one, other) = tokio::join!(fixture.reading(&groups[0], topics, 2), fixture.reading(&groups[1], topics, 2));
    fixture.append(&topic, (0..50).map(|n| record(&format!("k{n}"), n.to_string())).collect()).await;
    for mut reading in [one, other] {
        let mut seen = 0;
        for (partition, reader) in &mut reading.readers {
            let high = fixture.log.watermarks(&topic, partition.partition).await.unwrap().high;
            seen += read(reader.as_mut(), high as usize).await.len();
        }
        assert_eq!(seen, 50);
    }
}

pub(crate) async fn a_hint_moves_no_beginning(fixture: Fixture) {
    let topic = fixture.topic(1).await;
    fixture.append(&topic, (0..10).map(|n| record("k", n.to_string())).collect()).await;
    let group = unique("group");
    let partition = TopicPartition { topic: topic.clone(), partition: 0 };
    let first = fixture.reading(&group, std::slice::from_ref(&topic), 1).await;
    first.member.hint(&partition, 10);
    first.member.hint(&TopicPartition { topic: unique("missing"), partition: 3 }, 7);
    first.member.leave().await;
    let mut second = fixture.reading(&group, &[topic], 1).await;
    assert_eq!(read(second.readers.get_mut(&partition).unwrap().as_mut(), 10).await[0].offset, 0);
}

pub(crate) async fn a_topic_must_exist_to_be_joined(fixture: Fixture) {
    let missing = unique("missing");
    let joined = fixture.log.join(&unique("group"), std::slice::from_ref(&missing)).await;
    assert_eq!(joined.err(), Some(EventLogError::UnknownTopic(missing)));
}
