//! What becomes of a batch's events: dedupe, then rule, then rows. No I/O.

use std::collections::{HashMap, HashSet};

use headwater_domain::{
    BatchCommit, DeadLetter, Duplicate, LiveBatch, RuleCounts, StoredEvent, StreamSchema, judge, operations,
};
use headwater_planted::{self as planted, Bug};

use crate::decode::{Arrived, Decoded};

/// A batch between the log and the history.
#[derive(Debug)]
pub(crate) struct Batch {
    partition: i32,
    first: i64,
    next: i64,
    last_appended_ms: i64,
    last_checksum: u32,
    pub(crate) events: Vec<Arrived>,
    dead: Vec<DeadLetter>,
    duplicates: Vec<Duplicate>,
}

impl Batch {
    /// The batch of these records, which begin at `first`; the first of two events of one id and time stays.
    pub(crate) fn new(
        schema: &StreamSchema,
        partition: i32,
        first: i64,
        last: (i64, i64, u32),
        decoded: Vec<Decoded>,
    ) -> Self {
        let (last_offset, last_appended_ms, last_checksum) = last;
        let mut batch = Self {
            partition,
            first,
            next: last_offset + 1,
            last_appended_ms,
            last_checksum,
            events: Vec::with_capacity(decoded.len()),
            dead: Vec::new(),
            duplicates: Vec::new(),
        };
        let mut seen: HashMap<(String, i64), i64> = HashMap::with_capacity(decoded.len());
        for record in decoded {
            match record {
                Decoded::Dead(letter) => batch.dead.push(letter),
                Decoded::Event(arrived) => {
                    let identity = identity_of(schema, &arrived);
                    match seen.get(&identity).filter(|_| !planted::is(Bug::NoDeduplication)) {
                        Some(&of_offset) => batch.duplicates.push(Duplicate {
                            offset: arrived.offset,
                            id: identity.0,
                            time_us: identity.1,
                            of_partition: partition,
                            of_offset,
                        }),
                        None => {
                            seen.insert(identity, arrived.offset);
                            batch.events.push(arrived);
                        }
                    }
                }
            }
        }
        batch
    }

    /// Takes out events that the history has already, and with them what was a duplicate of them in the batch.
    pub(crate) fn take_out(&mut self, stored: Vec<Duplicate>) {
        let places: HashMap<i64, (i32, i64)> =
            stored.iter().map(|duplicate| (duplicate.offset, (duplicate.of_partition, duplicate.of_offset))).collect();
        for duplicate in &mut self.duplicates {
            if duplicate.of_partition == self.partition
                && let Some(&(of_partition, of_offset)) = places.get(&duplicate.of_offset)
            {
                duplicate.of_partition = of_partition;
                duplicate.of_offset = of_offset;
            }
        }
        let offsets: HashSet<i64> = places.into_keys().collect();
        self.events.retain(|arrived| !offsets.contains(&arrived.offset));
        self.duplicates.extend(stored);
        self.duplicates.sort_by_key(|duplicate| duplicate.offset);
    }

    /// Judges the events in order of offsets. What the counts do not know must have been learned.
    pub(crate) fn judged(&self, schema: &StreamSchema, counts: &mut RuleCounts, epoch: i64) -> BatchCommit {
        let stored = self
            .events
            .iter()
            .map(|arrived| StoredEvent {
                offset: arrived.offset,
                appended_ms: arrived.appended_ms,
                verdict: judge(schema, counts, &arrived.event),
                event: arrived.event.clone(),
            })
            .collect();
        BatchCommit {
            partition: self.partition,
            epoch,
            first: self.first,
            next: self.next,
            last_appended_ms: self.last_appended_ms,
            last_checksum: self.last_checksum,
            stored,
            dead: self.dead.clone(),
            duplicates: self.duplicates.clone(),
        }
    }

    /// The records that could not be events.
    pub(crate) fn dead(&self) -> &[DeadLetter] {
        &self.dead
    }
}

/// What a batch means for live statistics.
pub(crate) fn live_batch(
    schema: &StreamSchema,
    window_max_ms: i64,
    partition: i32,
    range: (i64, i64),
    is_start: bool,
    stored: &[StoredEvent],
) -> LiveBatch {
    let operations = operations(schema, stored, window_max_ms);
    LiveBatch { partition, first: range.0, next: range.1, is_start, operations }
}

fn identity_of(schema: &StreamSchema, arrived: &Arrived) -> (String, i64) {
    (schema.id_of(&arrived.event).to_owned(), schema.time_us_of(&arrived.event))
}
