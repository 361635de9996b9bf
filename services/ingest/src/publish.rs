//! One batch: checked, framed, appended, answered.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use headwater_contracts::StreamContract;
use headwater_contracts::v1::ingest::{Record, RecordResult};
use headwater_domain::{ConsistencyToken, Reason};
use headwater_event_log::{EventLogError, NewRecord, Position};
use headwater_planted::{self as planted, Bug};
use headwater_serving::problem::Problem;
use tracing::warn;

use crate::answer::{accepted, defective, not_appended, rejected};
use crate::route::Route;
use crate::service::Shared;

/// A batch that may be looked at: its stream is known, and it has as many records as it may.
pub(crate) struct Batch {
    pub(crate) stream: Arc<StreamContract>,
    pub(crate) route: Route,
    pub(crate) records: Vec<Record>,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) results: Vec<RecordResult>,
    pub(crate) token: String,
    /// The outage, where it alone is why nothing was accepted.
    pub(crate) outage: Option<Problem>,
}

impl Shared {
    /// The batch of these records, or why it cannot be looked at.
    pub(crate) fn batch(&self, stream: &str, records: Vec<Record>) -> Result<Batch, Problem> {
        let Some(contract) = self.contracts.stream(stream) else {
            let names: Vec<&str> = self.contracts.streams().map(|stream| stream.schema.name.as_str()).collect();
            return Err(Problem::new(
                Reason::UnknownStream,
                format!("there is no stream {stream:?}; the streams are {}", names.join(", ")),
            )
            .with_metadata("stream", stream));
        };
        if records.is_empty() {
            return Err(Problem::new(Reason::EmptyBatch, "the batch has no record; give at least one").with_violation(
                "records",
                "repeated.min_items",
                "at least 1",
            ));
        }
        let max = self.options.batch_records_max;
        if records.len() > max {
            return Err(Problem::new(
                Reason::BatchTooLarge,
                format!("the batch has {} records; at most {max} (ingest.batch_records_max)", records.len()),
            )
            .with_violation("records", "repeated.max_items", format!("at most {max}")));
        }
        let route = self.route(stream)?;
        Ok(Batch { stream: Arc::clone(contract), route, records })
    }

    /// What a batch costs of the records in flight: a record counts once for each KiB that it begins.
    pub(crate) fn cost(&self, records: &[Record]) -> u32 {
        let kib = |record: &Record| record.event.as_ref().map_or(1, |event| event.value.len() / 1024 + 1);
        u32::try_from(records.iter().map(kib).sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// Checks every record, appends those that hold, and answers for all in order.
    pub(crate) async fn publish(&self, batch: Batch) -> Published {
        let Batch { stream, route, records } = batch;
        let mut results: Vec<Option<RecordResult>> = Vec::with_capacity(records.len());
        let mut to_append = Vec::with_capacity(records.len());
        let mut ids = Vec::with_capacity(records.len());
        for record in records {
            match self.check(&stream, &route, record) {
                Ok((id, record)) => {
                    results.push(None);
                    ids.push(id);
                    to_append.push(record);
                }
                Err(result) => results.push(Some(result)),
            }
        }
        let mut token = ConsistencyToken::new(&stream.schema.name);
        let mut outage = None;
        let mut not_taken: Option<(usize, EventLogError)> = None;
        let mut others = results.len() > to_append.len();
        let appended = match to_append.is_empty() {
            true => Vec::new(),
            false if planted::is(Bug::AcknowledgementBeforeBroker) => self.unanswered(&stream, to_append),
            false => self.log.append(&stream.schema.name, to_append).await,
        };
        let mut appended = appended.into_iter().zip(ids);
        for result in results.iter_mut().filter(|result| result.is_none()) {
            *result = Some(match appended.next() {
                Some((Ok(position), id)) => {
                    others = true;
                    token.add(position.partition, position.offset);
                    accepted(position, id)
                }
                Some((Err(error), _)) => {
                    outage = outage.or_else(|| problem_of(&error));
                    let answer = not_appended(&error);
                    not_taken = Some((not_taken.map_or(1, |(count, _)| count + 1), error));
                    answer
                }
                // The log's own contract is one result per record; a missing one is never taken for an acknowledgement.
                None => not_appended(&EventLogError::Unavailable("no result".into())),
            });
        }
        if let Some((records, error)) = not_taken {
            warn!(stream = stream.schema.name, records, %error, "the event log did not take records of a batch");
        }
        let results: Vec<RecordResult> = results.into_iter().flatten().collect();
        self.metrics.answered(&stream.schema.name, &results);
        Published { results, token: token.encode(), outage: outage.filter(|_| !others) }
    }

    /// The planted bug: calls records appended before the log says so.
    fn unanswered(&self, stream: &StreamContract, records: Vec<NewRecord>) -> Vec<Result<Position, EventLogError>> {
        let (log, name) = (Arc::clone(&self.log), stream.schema.name.clone());
        let positions = vec![Ok(Position { partition: 0, offset: 0 }); records.len()];
        tokio::spawn(async move { log.append(&name, records).await });
        positions
    }

    fn check(
        &self,
        stream: &StreamContract,
        route: &Route,
        record: Record,
    ) -> Result<(String, NewRecord), RecordResult> {
        let Some(event) = record.event else {
            return Err(rejected(
                Reason::UnknownType,
                format!("the record has no event; give one of {:?}", stream.type_url()),
            ));
        };
        let name = event.type_url.rsplit('/').next().unwrap_or_default();
        if name != stream.schema.message {
            return Err(match self.contracts.stream_of_message(name) {
                Some(other) => rejected(
                    Reason::WrongType,
                    format!(
                        "{name} is an event of the stream {:?}; {:?} takes {}",
                        other.schema.name, stream.schema.name, stream.schema.message
                    ),
                ),
                None => rejected(
                    Reason::UnknownType,
                    format!("{:?} is no event of any stream; give one of {:?}", event.type_url, stream.type_url()),
                ),
            });
        }
        let max = self.options.record_bytes_max;
        if event.value.len() > max {
            return Err(rejected(
                Reason::RecordTooLarge,
                format!("the event has {} bytes; at most {max} (ingest.record_bytes_max)", event.value.len()),
            ));
        }
        let parsed = stream.check(&event.value).map_err(defective)?;
        let mut value = BytesMut::with_capacity(route.prefix.len() + event.value.len());
        value.put_slice(&route.prefix);
        value.put_slice(&event.value);
        let key = Bytes::copy_from_slice(stream.schema.key_of(&parsed).as_bytes());
        let record = NewRecord { key, value: value.freeze(), headers: Vec::new() };
        Ok((stream.schema.id_of(&parsed).to_owned(), record))
    }
}

fn problem_of(error: &EventLogError) -> Option<Problem> {
    match error {
        EventLogError::RecordTooLarge { .. } => None,
        EventLogError::QueueFull => {
            Some(Problem::new(Reason::Overloaded, "too many records wait for the event log; try again after the delay"))
        }
        _ => Some(Problem::new(
            Reason::EventLogUnavailable,
            "the event log did not acknowledge any record; publish them again with the same ids after the delay",
        )),
    }
}
