use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Shared;
use super::store::ReadAsk;
use super::worker::Request;
use crate::{EventLogError, LogRecord, PartitionReader, TopicPartition, Watermarks};

/// How long to wait before a read that failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Reads a partition. It reads nothing ahead.
pub(super) struct SqliteReader {
    pub(super) shared: Arc<Shared>,
    pub(super) partition: TopicPartition,
    /// Offset that is read next.
    pub(super) next: i64,
    pub(super) marks: watch::Receiver<Watermarks>,
    pub(super) revoked: CancellationToken,
}

impl SqliteReader {
    /// Waits for records; nothing is taken before the answer is here, so that it may be cancelled at any point.
    async fn read_on(
        &mut self,
        records_max: usize,
        bytes_max: usize,
        linger: Duration,
    ) -> Result<Vec<LogRecord>, EventLogError> {
        self.marks_where(|next, marks| marks.high != next).await?;
        let enough = i64::try_from(records_max).unwrap_or(i64::MAX);
        let lingered = self.marks_where(|next, marks| marks.high - next >= enough || marks.low > next);
        if let Ok(waited) = timeout_at(Instant::now() + linger, lingered).await {
            waited?;
        }
        loop {
            let (topic, partition) = (self.partition.topic.clone(), self.partition.partition);
            let ask = ReadAsk { topic, partition, from: self.next, records_max, bytes_max };
            match self.shared.ask(|reply| Request::Read { ask, reply }).await? {
                Ok(records) => {
                    // Older ones may have been deleted meanwhile.
                    match records.first().zip(records.last()) {
                        Some((first, last)) if first.offset == self.next => {
                            self.next = last.offset + 1;
                            return Ok(records);
                        }
                        _ => return Err(self.out_of_range()),
                    }
                }
                Err(EventLogError::Unavailable(error)) => {
                    warn!(partition = ?self.partition, error, "the log cannot be read, and is tried again");
                    sleep(RETRY_INTERVAL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the watermarks are so, and the offset within them.
    async fn marks_where(&mut self, so: impl Fn(i64, &Watermarks) -> bool) -> Result<(), EventLogError> {
        let next = self.next;
        let gone = || EventLogError::Unavailable("the log's thread has ended".into());
        let inside = |marks: &Watermarks| (marks.low..=marks.high).contains(&next);
        let marks = *self.marks.wait_for(|marks| !inside(marks) || so(next, marks)).await.map_err(|_| gone())?;
        if inside(&marks) { Ok(()) } else { Err(self.out_of_range()) }
    }

    fn out_of_range(&self) -> EventLogError {
        let marks = *self.marks.borrow();
        let TopicPartition { topic, partition } = self.partition.clone();
        EventLogError::OffsetOutOfRange { topic, partition, offset: self.next, low: marks.low, high: marks.high }
    }
}

#[async_trait]
impl PartitionReader for SqliteReader {
    async fn read(
        &mut self,
        records_max: usize,
        bytes_max: usize,
        linger: Duration,
    ) -> Result<Vec<LogRecord>, EventLogError> {
        let revoked = self.revoked.clone();
        tokio::select! {
            biased;
            () = revoked.cancelled() => Err(EventLogError::Revoked),
            read = self.read_on(records_max, bytes_max, linger) => read,
        }
    }
}
