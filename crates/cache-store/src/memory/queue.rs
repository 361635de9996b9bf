use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use bytes::Bytes;

use super::{
    record::{RECORD_BYTES, space_id},
    state::State,
};
use crate::{Applied, EnqueueError, Holder, Layout, Op, Outcome, QueuedWrite, Space, StoreError, Write};

/// Outcomes that are kept.
const OUTCOMES_MAX: usize = 10_000;
/// How long an outcome is kept at least, unless more followed.
const OUTCOME_MS: i64 = 3_600_000;
const OUTCOME_BYTES: u64 = 128;

/// The queued writes of a namespace.
pub(super) struct Queue {
    /// Tells this queue's ids from those of a store that was before.
    mark: u64,
    /// Number of the next write that is applied; numbers follow each other.
    next: u64,
    waiting: VecDeque<Write>,
    /// When the last writes ended, and how; the last of them has the number before `next`.
    ended: VecDeque<(i64, Outcome)>,
    /// Who applies, and until when.
    holder: Option<(String, i64)>,
}

impl Queue {
    fn new() -> Self {
        let mark = RandomState::new().hash_one(0);
        Self { mark, next: 0, waiting: VecDeque::new(), ended: VecDeque::new(), holder: None }
    }

    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    fn id(&self, number: u64) -> String {
        format!("{:016x}-{number}", self.mark)
    }

    fn number(&self, id: &str) -> Option<u64> {
        let (mark, number) = id.split_once('-')?;
        let number: u64 = number.parse().ok()?;
        (u64::from_str_radix(mark, 16) == Ok(self.mark) && self.id(number) == id).then_some(number)
    }
}

impl State {
    pub(super) fn enqueue(&mut self, space: &Space, writes: &[Write]) -> Result<Vec<String>, EnqueueError> {
        if space.layout == Layout::Spread {
            let text = format!("the keys of the namespace {} lie anywhere: there is no queue beside them", space.name);
            return Err(StoreError::Refused(text).into());
        }
        let queue = self.queues.entry(space_id(space)).or_insert_with(Queue::new);
        let waiting = queue.waiting();
        if waiting + writes.len() as u64 > space.queue_max {
            return Err(EnqueueError::Full { waiting });
        }
        let first = queue.next + waiting;
        let ids = (first..).take(writes.len()).map(|number| queue.id(number)).collect();
        let bytes = writes.iter().map(queued_bytes).sum();
        self.check_room(0, bytes)?;
        self.kept_bytes += bytes;
        if let Some(queue) = self.queues.get_mut(&space_id(space)) {
            queue.waiting.extend(writes.iter().map(copied));
        }
        self.make_room(None);
        Ok(ids)
    }

    pub(super) fn apply_queued(
        &mut self,
        space: &Space,
        holder: &Holder,
        writes_max: u64,
    ) -> Result<Applied, StoreError> {
        let id = space_id(space);
        let now_ms = self.now_ms;
        let queue = self.queues.entry(id.clone()).or_insert_with(Queue::new);
        if queue.holder.as_ref().is_some_and(|(other, until_ms)| *other != holder.id && now_ms < *until_ms) {
            return Ok(Applied::HeldByOther);
        }
        queue.holder = Some((holder.id.clone(), now_ms.saturating_add_unsigned(holder.lease_ms)));
        let mut count = 0;
        while count < writes_max {
            let Some(write) = self.queues.get_mut(&id).and_then(|queue| queue.waiting.pop_front()) else { break };
            // Its room is its value's now.
            let bytes = queued_bytes(&write);
            self.kept_bytes -= bytes;
            match self.write(space, &write) {
                Ok(outcome) => self.end(space, outcome),
                Err(error) => {
                    self.kept_bytes += bytes;
                    if let Some(queue) = self.queues.get_mut(&id) {
                        queue.waiting.push_front(write);
                    }
                    // What was applied before is told first; the next call tells this.
                    return if count == 0 { Err(error) } else { Ok(self.ended(space, count)) };
                }
            }
            count += 1;
        }
        Ok(self.ended(space, count))
    }

    fn ended(&self, space: &Space, count: u64) -> Applied {
        Applied::Ended { count, waiting: self.held(space).queued }
    }

    /// Remembers an outcome, and forgets those that are old.
    fn end(&mut self, space: &Space, outcome: Outcome) {
        let now_ms = self.now_ms;
        let Some(queue) = self.queues.get_mut(&space_id(space)) else { return };
        queue.next += 1;
        queue.ended.push_back((now_ms, outcome));
        self.kept_bytes += OUTCOME_BYTES;
        let is_old = |ended: &(i64, Outcome)| ended.0.saturating_add(OUTCOME_MS) < now_ms;
        while queue.ended.len() > OUTCOMES_MAX || queue.ended.front().is_some_and(is_old) {
            queue.ended.pop_front();
            self.kept_bytes -= OUTCOME_BYTES;
        }
        self.make_room(None);
    }

    pub(super) fn queued(&self, space: &Space, id: &str) -> Option<QueuedWrite> {
        let queue = self.queues.get(&space_id(space))?;
        let number = queue.number(id)?;
        if number >= queue.next {
            return (number < queue.next + queue.waiting()).then_some(QueuedWrite::Waiting);
        }
        let back = usize::try_from(queue.next - number).ok()?;
        let (_, outcome) = queue.ended.get(queue.ended.len().checked_sub(back)?)?;
        Some(QueuedWrite::Ended(outcome.clone()))
    }
}

fn queued_bytes(write: &Write) -> u64 {
    let value = match &write.op {
        Op::Put { value, .. } => value.len(),
        _ => 0,
    };
    RECORD_BYTES + (write.key.len() + value) as u64
}

/// A write that shares nothing with the message that it came in.
fn copied(write: &Write) -> Write {
    let mut write = Write { key: Bytes::copy_from_slice(&write.key), op: write.op.clone() };
    if let Op::Put { value, .. } = &mut write.op {
        *value = Bytes::copy_from_slice(value);
    }
    write
}
