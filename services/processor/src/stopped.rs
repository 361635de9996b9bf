//! A partition that cannot go on: told, with what to do, until somebody did it.

use std::fmt;

use headwater_domain::Reason;
use headwater_event_log::{EventLogError, TopicPartition};
use tokio::sync::mpsc;
use tracing::{error, info};

use crate::assignment::{Shared, condition};
use crate::partition::Stop;

/// Why a partition is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// The reason, which has a page.
    pub(crate) reason: Reason,
    /// What is wrong, and what goes on from there.
    detail: String,
}

/// A stopped partition as people see it, for as long as it is one.
struct Shown<'a> {
    shared: &'a Shared,
    place: &'a TopicPartition,
    reason: Reason,
}

impl Stopped {
    /// Of a partition whose work ended like this; none where it is another owner's.
    pub(crate) fn of(place: &TopicPartition, stop: &Stop) -> Option<Self> {
        match stop {
            Stop::Fenced { .. } | Stop::MaybeOtherTopic { .. } | Stop::Log(EventLogError::Revoked) => None,
            Stop::Log(EventLogError::OffsetOutOfRange { offset, low, high, .. }) => {
                Some(Self::outside(place, *offset, *low, *high))
            }
            Stop::Log(EventLogError::UnknownTopic(topic)) => Some(Self::missing(topic)),
            Stop::OtherTopic { offset } => Some(Self {
                reason: Reason::TopicReplaced,
                detail: format!(
                    "the record at offset {offset} is not the one that was read: the topic was made anew; `{} \
                     --made-anew` reads all of the log",
                    resume(place)
                ),
            }),
            Stop::Log(error) => Some(Self::refused(error)),
            Stop::History(error) => Some(Self::refused(error)),
            Stop::Registry(error) => Some(Self::refused(error)),
        }
    }

    /// Of a partition to be read on at an offset that its log, [low, high), does not hold.
    pub(crate) fn outside(place: &TopicPartition, offset: i64, low: i64, high: i64) -> Self {
        let resume = resume(place);
        if offset < low {
            let gone = low - offset;
            let detail = format!(
                "everything before offset {offset} is stored, and the log begins at {low}: {gone} records were removed \
                 before they were read; `{resume}` goes on at {low}"
            );
            Self { reason: Reason::RecordsRemoved, detail }
        } else {
            let detail = format!(
                "everything before offset {offset} is stored, and the log ends at {high}: the topic was made anew, or \
                 lost records; `{resume}` reads all of the log"
            );
            Self { reason: Reason::OffsetOutsideLog, detail }
        }
    }

    /// Of a topic that was deleted.
    pub(crate) fn missing(topic: &str) -> Self {
        let detail = format!(
            "the topic {topic} does not exist; make it anew, or restart a process with the role ingest or processor, \
             which does"
        );
        Self { reason: Reason::TopicMissing, detail }
    }

    /// Of a partition that an outside system refused for good.
    pub(crate) fn refused(error: &dyn fmt::Display) -> Self {
        Self { reason: Reason::SystemRefused, detail: format!("{error}; mend it, then restart this process") }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, detail } = self;
        write!(f, "{reason}: {detail} (docs/errors/{reason}.md)")
    }
}

/// Shows that a partition, which was taken with an epoch, is stopped, for as long as this is not dropped; tells `moved`
/// when somebody said where it goes on.
pub(crate) async fn stay(
    shared: &Shared,
    place: &TopicPartition,
    epoch: Option<i64>,
    stopped: &Stopped,
    moved: &mpsc::Sender<TopicPartition>,
) {
    let Stopped { reason, .. } = *stopped;
    error!(topic = place.topic, partition = place.partition, %reason, "the partition is stopped: {stopped}");
    (shared.conditions)(&condition(place), Some(stopped.to_string()));
    shared.metrics.stopped(&place.topic, place.partition, reason, true);
    let _shown = Shown { shared, place, reason };
    if let Some(epoch) = epoch {
        while !has_moved(shared, place, epoch).await {
            tokio::time::sleep(shared.options.retry_max).await;
        }
        info!(topic = place.topic, partition = place.partition, "the partition may go on");
        let _ = moved.send(place.clone()).await;
    }
    std::future::pending().await
}

async fn has_moved(shared: &Shared, place: &TopicPartition, epoch: i64) -> bool {
    let Some(stream) = shared.contracts.stream(&place.topic) else { return false };
    let progress = shared.outside.history.progress(&stream.schema).await.unwrap_or_default();
    progress.iter().any(|now| now.partition == place.partition && now.epoch != epoch)
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        (self.shared.conditions)(&condition(self.place), None);
        self.shared.metrics.stopped(&self.place.topic, self.place.partition, self.reason, false);
    }
}

fn resume(place: &TopicPartition) -> String {
    format!("headwater resume --stream {} --partition {}", place.topic, place.partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_partition_says_why_and_what_to_do() {
        let place = TopicPartition { topic: "page-events".into(), partition: 3 };
        let removed = Stopped::outside(&place, 20, 32, 50).to_string();
        assert!(removed.starts_with("RECORDS_REMOVED: everything before offset 20"), "{removed}");
        assert!(
            removed.contains("12 records") && removed.contains("`headwater resume --stream page-events --partition 3`")
        );
        assert!(removed.ends_with("(docs/errors/RECORDS_REMOVED.md)"), "{removed}");
        let ahead = Stopped::outside(&place, 120, 0, 30).to_string();
        assert!(ahead.starts_with("OFFSET_OUTSIDE_LOG: ") && ahead.contains("the log ends at 30"), "{ahead}");
        assert_eq!(Stopped::of(&place, &Stop::Fenced { epoch: 2, next: None }), None);
        let replaced = Stopped::of(&place, &Stop::OtherTopic { offset: 19 }).expect("stopped").to_string();
        assert!(replaced.contains("--made-anew") && replaced.contains("offset 19"), "{replaced}");
    }
}
