use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::reader::SqliteReader;
use super::worker::Request;
use super::{Shared, Topic};
use crate::assignment::{Announcements, Assignment};
use crate::{EventLogError, GroupMember, MemberEvent, PartitionReader, TopicPartition};

/// The groups of the process, by name.
#[derive(Default)]
pub(super) struct Groups {
    by_name: HashMap<String, Group>,
    next_member: u64,
}

/// The members of a group, in the order in which they joined, and whose each partition is.
#[derive(Default)]
struct Group {
    members: BTreeMap<u64, Membership>,
    owners: BTreeMap<TopicPartition, u64>,
}

struct Membership {
    topics: Vec<Arc<Topic>>,
    assignment: Arc<Mutex<Assignment<CancellationToken>>>,
}

/// A member of a group.
pub(super) struct SqliteMember {
    shared: Arc<Shared>,
    group: String,
    id: u64,
    assignment: Arc<Mutex<Assignment<CancellationToken>>>,
    announcements: Announcements,
}

impl SqliteMember {
    pub(super) fn join(shared: Arc<Shared>, group: &str, topics: Vec<Arc<Topic>>) -> Self {
        let (assignment, announcements) = Assignment::new();
        let assignment = Arc::new(Mutex::new(assignment));
        let mut groups = shared.groups.lock();
        groups.next_member += 1;
        let id = groups.next_member;
        let joined = groups.by_name.entry(group.to_owned()).or_default();
        joined.members.insert(id, Membership { topics, assignment: assignment.clone() });
        joined.rebalance();
        drop(groups);
        Self { shared, group: group.to_owned(), id, assignment, announcements }
    }
}

impl Group {
    /// Gives each topic's partitions to its members evenly, and moves no more than that takes.
    fn rebalance(&mut self) {
        let mut topics: BTreeMap<&str, (i32, Vec<u64>)> = BTreeMap::new();
        for (&id, member) in &self.members {
            for topic in &member.topics {
                let count = topic.partitions.len() as i32;
                topics.entry(&topic.name).or_insert((count, Vec::new())).1.push(id);
            }
        }
        let mut owners = BTreeMap::new();
        for (topic, (count, members)) in topics {
            let owned = |partition| {
                let partition = TopicPartition { topic: topic.to_owned(), partition };
                let owner = self.owners.get(&partition).copied();
                (partition, owner)
            };
            share(&members, (0..count).map(owned), &mut owners);
        }
        let mut lost: BTreeMap<u64, Vec<TopicPartition>> = BTreeMap::new();
        let mut won: BTreeMap<u64, Vec<TopicPartition>> = BTreeMap::new();
        for (partition, &owner) in &owners {
            let before = self.owners.insert(partition.clone(), owner);
            if before != Some(owner) {
                won.entry(owner).or_default().push(partition.clone());
                if let Some(before) = before {
                    lost.entry(before).or_default().push(partition.clone());
                }
            }
        }
        self.owners.retain(|partition, _| owners.contains_key(partition));
        // Everything is taken before anything is given.
        for (id, partitions) in lost {
            let Some(member) = self.members.get(&id) else { continue };
            for (_, reader) in member.assignment.lock().revoke(&partitions) {
                reader.cancel();
            }
        }
        for (id, partitions) in won {
            let Some(member) = self.members.get(&id) else { continue };
            debug!(member = id, ?partitions, "partitions assigned");
            member.assignment.lock().assign(partitions);
        }
    }
}

/// Shares the partitions among the members, who keep of what they have as many as are theirs. Where it does not come out
/// even, those who have most get one more, and those who joined first.
fn share(
    members: &[u64],
    partitions: impl ExactSizeIterator<Item = (TopicPartition, Option<u64>)> + Clone,
    owners: &mut BTreeMap<TopicPartition, u64>,
) {
    let (each, more) = (partitions.len() / members.len(), partitions.len() % members.len());
    let has = |id: u64| partitions.clone().filter(|(_, owner)| *owner == Some(id)).count();
    let mut order: Vec<u64> = members.to_vec();
    order.sort_by_key(|&id| (Reverse(has(id)), id));
    let mut room: BTreeMap<u64, usize> =
        order.iter().enumerate().map(|(place, &id)| (id, each + usize::from(place < more))).collect();
    let mut free = Vec::new();
    for (partition, owner) in partitions {
        match owner.and_then(|id| Some((id, room.get_mut(&id).filter(|room| **room > 0)?))) {
            Some((id, room)) => {
                *room -= 1;
                owners.insert(partition, id);
            }
            None => free.push(partition),
        }
    }
    let takers = room.into_iter().flat_map(|(id, room)| std::iter::repeat_n(id, room));
    owners.extend(free.into_iter().zip(takers));
}

#[async_trait]
impl GroupMember for SqliteMember {
    async fn next_event(&mut self) -> Result<MemberEvent, EventLogError> {
        self.announcements.next().await
    }

    async fn start(&mut self, at: Vec<(TopicPartition, i64)>) -> Result<Vec<Box<dyn PartitionReader>>, EventLogError> {
        let mut assignment = self.assignment.lock();
        let seen = self.announcements.seen;
        if !assignment.may_start(seen, at.iter().map(|(partition, _)| partition)) {
            return Err(EventLogError::Revoked);
        }
        let mut readers: Vec<Box<dyn PartitionReader>> = Vec::with_capacity(at.len());
        let mut tokens = Vec::with_capacity(at.len());
        for (partition, next) in at {
            let marks = self.shared.topic(&partition.topic)?.partition(partition.partition)?.clone();
            let revoked = CancellationToken::new();
            tokens.push((partition.clone(), revoked.clone()));
            readers.push(Box::new(SqliteReader { shared: self.shared.clone(), partition, next, marks, revoked }));
        }
        assignment.started(tokens.into_iter());
        Ok(readers)
    }

    fn hint(&self, partition: &TopicPartition, next: i64) {
        let hint = Request::Hint { group: self.group.clone(), partition: partition.clone(), next };
        // Where the queue is full, the hint is lost, and does no harm.
        let _ = self.shared.requests.try_send(hint);
    }

    async fn leave(self: Box<Self>) {}
}

/// Leaves the group.
impl Drop for SqliteMember {
    fn drop(&mut self) {
        for (_, reader) in self.assignment.lock().end() {
            reader.cancel();
        }
        let mut groups = self.shared.groups.lock();
        let Some(group) = groups.by_name.get_mut(&self.group) else { return };
        group.members.remove(&self.id);
        if group.members.is_empty() {
            groups.by_name.remove(&self.group);
        } else {
            group.rebalance();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(members: &[u64], owned: &[Option<u64>]) -> Vec<u64> {
        let of = |(number, &owner): (usize, &Option<u64>)| {
            (TopicPartition { topic: "t".into(), partition: number as i32 }, owner)
        };
        let mut owners = BTreeMap::new();
        share(members, owned.iter().enumerate().map(of).collect::<Vec<_>>().into_iter(), &mut owners);
        assert_eq!(owners.len(), owned.len(), "every partition has an owner");
        owners.into_values().collect()
    }

    #[test]
    fn each_member_keeps_what_is_its_share() {
        assert_eq!(shared(&[1], &[None; 4]), [1, 1, 1, 1]);
        assert_eq!(shared(&[1, 2], &[Some(1); 5]), [1, 1, 1, 2, 2]);
        assert_eq!(shared(&[1, 2, 3], &[Some(1), Some(1), Some(2), Some(2)]), [1, 1, 2, 3]);
        assert_eq!(shared(&[1, 2], &[Some(1), Some(2), Some(2)]), [1, 2, 2], "nothing has to move");
        assert_eq!(shared(&[2], &[Some(1), Some(2)]), [2, 2], "the first has left");
        assert_eq!(shared(&[1, 2, 3], &[None, None]), [1, 2], "more members than partitions");
    }
}
