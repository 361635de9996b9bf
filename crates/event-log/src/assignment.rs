//! What a member of a group has been given, and what of it it reads: the same for every log.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::{EventLogError, MemberEvent, TopicPartition};

/// Events that may wait for a member that does not look at them. One that leaves more is ended.
const EVENTS_MAX: usize = 1024;

/// A member's partitions. `R` is what ends a reader.
///
/// A partition is *waiting* from the moment that it is announced until the member starts it, and *reading* from then on.
/// What is announced at once has one generation; where a part of it is revoked before it was started, the rest of it is
/// revoked and announced anew: a member that may have looked things up for the whole of it begins again.
pub(crate) struct Assignment<R> {
    generation: u64,
    waiting: BTreeMap<TopicPartition, u64>,
    reading: BTreeMap<TopicPartition, R>,
    events: Option<mpsc::Sender<Announced>>,
}

/// An event and, of an `Assigned`, its generation.
pub(crate) struct Announced {
    pub(crate) generation: u64,
    pub(crate) event: Result<MemberEvent, EventLogError>,
}

/// The member's end: hands out the events, and remembers which announcement was seen last.
pub(crate) struct Announcements {
    events: mpsc::Receiver<Announced>,
    pub(crate) seen: u64,
}

impl<R> Assignment<R> {
    pub(crate) fn new() -> (Self, Announcements) {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let assignment =
            Self { generation: 0, waiting: BTreeMap::new(), reading: BTreeMap::new(), events: Some(sender) };
        (assignment, Announcements { events, seen: 0 })
    }

    /// Announces more partitions to the member.
    pub(crate) fn assign(&mut self, partitions: Vec<TopicPartition>) {
        if partitions.is_empty() {
            return;
        }
        self.generation += 1;
        self.waiting.extend(partitions.iter().map(|partition| (partition.clone(), self.generation)));
        self.announce(Ok(MemberEvent::Assigned(partitions)));
    }

    /// Takes partitions away. Returns those that were being read, with what ends their readers.
    pub(crate) fn revoke(&mut self, partitions: &[TopicPartition]) -> Vec<(TopicPartition, R)> {
        let touched: Vec<u64> = partitions.iter().filter_map(|partition| self.waiting.remove(partition)).collect();
        let again: Vec<TopicPartition> = self
            .waiting
            .iter()
            .filter(|(_, generation)| touched.contains(generation))
            .map(|(partition, _)| partition.clone())
            .collect();
        let ended = partitions.iter().filter_map(|partition| self.reading.remove_entry(partition)).collect();
        let mut revoked = partitions.to_vec();
        revoked.extend_from_slice(&again);
        if !revoked.is_empty() {
            self.announce(Ok(MemberEvent::Revoked(revoked)));
        }
        self.assign(again);
        ended
    }

    /// Tells the member that it cannot go on.
    pub(crate) fn fail(&mut self, error: EventLogError) {
        self.announce(Err(error));
    }

    /// Whether the member may start these: it has seen that all of them are its own, and they are not read yet.
    pub(crate) fn may_start<'a>(&self, seen: u64, mut partitions: impl Iterator<Item = &'a TopicPartition>) -> bool {
        partitions.all(|partition| self.waiting.get(partition).is_some_and(|generation| *generation <= seen))
    }

    /// The member reads these now.
    pub(crate) fn started(&mut self, readers: impl Iterator<Item = (TopicPartition, R)>) {
        for (partition, reader) in readers {
            self.waiting.remove(&partition);
            self.reading.insert(partition, reader);
        }
    }

    /// Takes everything away without a word: the member is gone.
    pub(crate) fn end(&mut self) -> Vec<(TopicPartition, R)> {
        self.events = None;
        self.waiting.clear();
        std::mem::take(&mut self.reading).into_iter().collect()
    }

    fn announce(&mut self, event: Result<MemberEvent, EventLogError>) {
        let announced = Announced { generation: self.generation, event };
        // A member that has not looked for a thousand events, or is gone, gets no more: its channel's end tells it.
        if self.events.as_ref().is_some_and(|events| events.try_send(announced).is_err()) {
            self.events = None;
        }
    }
}

impl Announcements {
    /// Waits for the next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<MemberEvent, EventLogError> {
        let Some(announced) = self.events.recv().await else {
            return Err(EventLogError::Refused("the membership has ended".into()));
        };
        if matches!(announced.event, Ok(MemberEvent::Assigned(_))) {
            self.seen = announced.generation;
        }
        announced.event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(numbers: &[i32]) -> Vec<TopicPartition> {
        numbers.iter().map(|&partition| TopicPartition { topic: "t".into(), partition }).collect()
    }

    #[tokio::test]
    async fn what_was_not_started_is_announced_anew_when_a_part_of_it_is_revoked() {
        let (mut assignment, mut announcements) = Assignment::<()>::new();
        assignment.assign(partitions(&[0, 1, 2]));
        assert_eq!(announcements.next().await, Ok(MemberEvent::Assigned(partitions(&[0, 1, 2]))));
        assignment.revoke(&partitions(&[1]));
        assert!(!assignment.may_start(announcements.seen, partitions(&[0, 1, 2]).iter()));
        assert!(!assignment.may_start(announcements.seen, partitions(&[0]).iter()), "announced anew, and not seen yet");
        assert_eq!(announcements.next().await, Ok(MemberEvent::Revoked(partitions(&[1, 0, 2]))));
        assert_eq!(announcements.next().await, Ok(MemberEvent::Assigned(partitions(&[0, 2]))));
        assert!(assignment.may_start(announcements.seen, partitions(&[0, 2]).iter()));
    }

    #[tokio::test]
    async fn what_is_read_stays_when_something_else_is_revoked() {
        let (mut assignment, mut announcements) = Assignment::<i32>::new();
        assignment.assign(partitions(&[0]));
        announcements.next().await.expect("an event");
        assignment.started(partitions(&[0]).into_iter().map(|p| (p, 7)));
        assignment.assign(partitions(&[1]));
        assert!(assignment.revoke(&partitions(&[1])).is_empty());
        assert_eq!(announcements.next().await, Ok(MemberEvent::Assigned(partitions(&[1]))));
        assert_eq!(announcements.next().await, Ok(MemberEvent::Revoked(partitions(&[1]))));
        let ended: Vec<i32> = assignment.revoke(&partitions(&[0])).into_iter().map(|(_, reader)| reader).collect();
        assert_eq!(ended, [7]);
    }

    #[tokio::test]
    async fn a_member_that_does_not_look_is_ended() {
        let (mut assignment, mut announcements) = Assignment::<()>::new();
        for _ in 0..=EVENTS_MAX {
            assignment.assign(partitions(&[0]));
        }
        for _ in 0..EVENTS_MAX {
            assert!(announcements.next().await.is_ok());
        }
        assert!(matches!(announcements.next().await, Err(EventLogError::Refused(_))));
    }
}
