//! How many partitions each topic has, to tell events that lie where their key does not belong.
//!
//! Every producer chooses the partition by the key, so that one partition has all of a key. It has not where a producer
//! chooses otherwise, or where partitions were added: then a rule that counts per key counts each partition by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_domain::partition_of;
use headwater_event_log::{EventLogError, TopicPartition};
use parking_lot::RwLock;
use tracing::{debug, info, warn};

use crate::assignment::Shared;
use crate::stopped::Stopped;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(10);

/// Partitions of each topic, as they were last seen.
#[derive(Default)]
pub(crate) struct Spread {
    partitions: RwLock<HashMap<String, i32>>,
}

impl Spread {
    /// Whether a key belongs to another partition than this. No, where it is not known yet.
    pub(crate) fn is_elsewhere(&self, place: &TopicPartition, key: &[u8]) -> bool {
        let partitions = self.partitions.read().get(&place.topic).copied();
        partitions.is_some_and(|partitions| partition_of(key, partitions) != place.partition)
    }

    fn set(&self, topic: &str, partitions: i32) {
        let before = self.partitions.write().insert(topic.to_owned(), partitions);
        match before {
            None => debug!(topic, partitions, "partitions"),
            Some(before) if before < partitions => warn!(
                topic,
                before,
                partitions,
                "the topic has more partitions: keys may have moved, and rules count anew for those that have"
            ),
            Some(before) if before != partitions => info!(topic, before, partitions, "the topic was made anew"),
            Some(_) => {}
        }
    }
}

/// Keeps the numbers as they are in the log.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        for stream in shared.contracts.streams() {
            let topic = &stream.schema.name;
            match shared.outside.log.partitions(topic).await {
                Ok(partitions) => {
                    shared.spread.set(topic, partitions);
                    (shared.conditions)(topic, None);
                }
                // Its partitions are nobody's, so that nobody else would tell.
                Err(EventLogError::UnknownTopic(_)) => {
                    (shared.conditions)(topic, Some(Stopped::missing(topic).to_string()));
                }
                Err(error) => debug!(topic, %error, "cannot tell how many partitions there are"),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_elsewhere_once_it_is_known_where_it_belongs() {
        let spread = Spread::default();
        let place = |partition| TopicPartition { topic: "t".into(), partition };
        let home = partition_of(b"anna", 4);
        assert!(!spread.is_elsewhere(&place(home + 1), b"anna"), "nothing is known yet");
        spread.set("t", 4);
        assert!(!spread.is_elsewhere(&place(home), b"anna"));
        assert!(spread.is_elsewhere(&place(home + 1), b"anna"));
    }
}
