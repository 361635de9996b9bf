use std::thread;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tracing::{error, warn};

use super::store::{ReadAsk, Store};
use crate::{EventLogError, LogRecord, NewRecord, Position, TopicPartition, TopicSpec, Watermarks};

/// Records that share a transaction, at most and one more call's.
const COMMIT_RECORDS_MAX: usize = 20_000;

/// What the database's thread is asked for.
pub(super) enum Request {
    Append(Append),
    Read { ask: ReadAsk, reply: oneshot::Sender<Result<Vec<LogRecord>, EventLogError>> },
    Ensure { spec: TopicSpec, reply: oneshot::Sender<Result<Vec<watch::Receiver<Watermarks>>, EventLogError>> },
    Hint { group: String, partition: TopicPartition, next: i64 },
    Ping(oneshot::Sender<()>),
}

/// Records to append to a topic, each with its partition, or the reason against it.
pub(super) struct Append {
    pub(super) topic: String,
    pub(super) records: Vec<Result<(i32, NewRecord), EventLogError>>,
    pub(super) reply: oneshot::Sender<Vec<Result<Position, EventLogError>>>,
    pub(super) permits: OwnedSemaphorePermit,
}

/// The database's thread. It ends once the log and all its members and readers are gone.
pub(super) struct Worker {
    store: Store,
    requests: mpsc::Receiver<Request>,
}

impl Worker {
    pub(super) fn spawn(store: Store, requests: mpsc::Receiver<Request>) -> Result<(), EventLogError> {
        let worker = Self { store, requests };
        match thread::Builder::new().name("event-log".into()).spawn(move || worker.run()) {
            Ok(_) => Ok(()),
            Err(error) => Err(EventLogError::Refused(error.to_string())),
        }
    }

    fn run(mut self) {
        while let Some(request) = self.requests.blocking_recv() {
            let mut next = Some(request);
            while let Some(request) = next.take() {
                next = self.serve(request);
            }
            if let Err(error) = self.store.care() {
                warn!(%error, "old records could not be deleted");
            }
        }
        if let Err(error) = self.store.keep_hints() {
            warn!(%error, "hints were lost");
        }
    }

    /// Serves a request, and the appends that wait behind an append. Returns the request that came after those.
    fn serve(&mut self, request: Request) -> Option<Request> {
        // Nobody waits for a reply where the caller was cancelled.
        match request {
            Request::Append(append) => return self.append(append),
            Request::Read { ask, reply } => {
                let _ = reply.send(self.store.read(&ask));
            }
            Request::Ensure { spec, reply } => {
                let _ = reply.send(self.store.ensure(&spec));
            }
            Request::Hint { group, partition, next } => self.store.hint(group, partition, next),
            Request::Ping(reply) => {
                let _ = reply.send(());
            }
        }
        None
    }

    fn append(&mut self, first: Append) -> Option<Request> {
        let mut records = first.records.len();
        let mut appends = vec![first];
        let mut next = None;
        while records < COMMIT_RECORDS_MAX {
            match self.requests.try_recv() {
                Ok(Request::Append(append)) => {
                    records += append.records.len();
                    appends.push(append);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        match self.store.append(&mut appends) {
            Ok(results) => {
                for (append, results) in appends.into_iter().zip(results) {
                    append.answer(results);
                }
            }
            Err(error) => {
                error!(%error, records, "the log could not append");
                for append in appends {
                    let refused = |record: &Result<_, EventLogError>| record.as_ref().err().unwrap_or(&error).clone();
                    let results = append.records.iter().map(|record| Err(refused(record))).collect();
                    append.answer(results);
                }
            }
        }
        next
    }
}

impl Append {
    /// Gives its room back, and then the answer.
    fn answer(self, results: Vec<Result<Position, EventLogError>>) {
        drop(self.permits);
        // Nobody waits for it where the caller was cancelled.
        let _ = self.reply.send(results);
    }
}
