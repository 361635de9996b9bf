//! Publishing batch after batch: what the caller holds. What happens behind is in `driver`.

mod batch;
mod driver;
mod link;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::v1::ingest::{Record, RecordResult};
use crate::{Client, Error, RetryPolicy};

/// How to publish on a stream. Every field is a bound.
#[derive(Clone, Debug)]
pub struct PublishOptions {
    /// The stream, for example `page-events`.
    pub stream: String,
    /// Records sent and not yet taken by the caller as acknowledged; sending waits at it. Default 10,000.
    pub in_flight_records_max: usize,
    /// Attempts for a record that is to be sent again, and attempts in a row to open a broken stream anew.
    /// Default 8 attempts, 100 ms to 5 s.
    pub retry: RetryPolicy,
    /// How long a batch may be tried before its records are given back with the answer to try later. Default 60 s.
    pub give_up_after: Duration,
    /// How long the oldest batch may stay without an answer before the stream counts as broken. Default 30 s.
    pub answer_timeout: Duration,
}

impl PublishOptions {
    /// The defaults, for a stream.
    pub fn new(stream: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            in_flight_records_max: 10_000,
            retry: RetryPolicy { attempts_max: 8, ..RetryPolicy::default() },
            give_up_after: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(30),
        }
    }
}

/// What became of a batch.
#[derive(Debug)]
pub struct Ack {
    /// Number of the batch, as `send` gave it.
    pub sequence: u64,
    /// One result per record, in order. A result that says to try later was tried as often as allowed.
    pub results: Vec<RecordResult>,
    /// Tokens that stand for what was accepted: one, unless records were sent again. Empty when nothing was accepted.
    pub consistency_tokens: Vec<String>,
    /// How many times records of it were sent, 1 when all went well.
    pub attempts: u32,
    /// Records that were sent again, once for each time.
    pub resent: usize,
}

/// Why a batch was not taken.
#[derive(Debug)]
pub enum Unsent {
    /// The window is full: take acknowledgements first. The records are given back.
    Full(Vec<Record>),
    /// There was no record in it.
    Empty,
    /// The stream has ended; its acknowledgements say why.
    Closed,
}

/// Sends batches. Dropping it ends the stream once all are answered.
#[derive(Debug)]
pub struct PublishSender {
    batches: mpsc::UnboundedSender<batch::Batch>,
    window: Arc<Semaphore>,
    records_max: usize,
    sequence_next: u64,
}

/// Acknowledgements of the batches, each when all its records have their last result.
///
/// They come in the order of sending, except that a batch with records to send again comes later: events of one key may
/// then change their order. They must be taken for sending to go on. After an error comes nothing more; batches without an
/// acknowledgement may or may not have been kept, and can be published again with the same ids.
#[derive(Debug)]
pub struct PublishAcks {
    acks: mpsc::UnboundedReceiver<Result<(Ack, OwnedSemaphorePermit), Error>>,
}

/// Starts the task behind the two.
pub(crate) fn open(client: Client, options: PublishOptions) -> Result<(PublishSender, PublishAcks), Error> {
    let records_max = options.in_flight_records_max;
    if records_max == 0 || records_max > Semaphore::MAX_PERMITS.min(u32::MAX as usize) {
        let problem = format!("{records_max} is not between 1 and {}", u32::MAX);
        return Err(Error::Option { option: "in_flight_records_max", problem });
    }
    let window = Arc::new(Semaphore::new(records_max));
    // Neither queue has a length of its own: each batch in them holds its part of the window.
    let (batches, receiver) = mpsc::unbounded_channel();
    let (sender, acks) = mpsc::unbounded_channel();
    tokio::spawn(driver::Driver::new(client, options, receiver, sender).run());
    Ok((PublishSender { batches, window, records_max, sequence_next: 1 }, PublishAcks { acks }))
}

impl PublishSender {
    /// Sends a batch, waiting while the window is full, and gives its number. A batch larger than the window waits for all of it.
    ///
    /// # Errors
    /// An empty batch; a stream that has ended.
    pub async fn send(&mut self, records: Vec<Record>) -> Result<u64, Error> {
        let part = self.part_of(&records)?;
        let permit = tokio::select! {
            biased;
            () = self.batches.closed() => return Err(Error::Closed),
            permit = Arc::clone(&self.window).acquire_many_owned(part) => permit.map_err(|_| Error::Closed)?,
        };
        self.hand_over(records, permit).map_err(|()| Error::Closed)
    }

    /// Sends a batch if the window has room for it now, and gives its number.
    ///
    /// # Errors
    /// The records where it has none; an empty batch; a stream that has ended.
    pub fn try_send(&mut self, records: Vec<Record>) -> Result<u64, Unsent> {
        let Ok(part) = self.part_of(&records) else { return Err(Unsent::Empty) };
        if self.batches.is_closed() {
            return Err(Unsent::Closed);
        }
        match Arc::clone(&self.window).try_acquire_many_owned(part) {
            Ok(permit) => self.hand_over(records, permit).map_err(|()| Unsent::Closed),
            Err(_) => Err(Unsent::Full(records)),
        }
    }

    /// Records that can be sent now without waiting.
    pub fn room(&self) -> usize {
        self.window.available_permits()
    }

    fn part_of(&self, records: &[Record]) -> Result<u32, Error> {
        if records.is_empty() {
            return Err(Error::Option { option: "records", problem: "a batch has at least one record".into() });
        }
        Ok(u32::try_from(records.len().min(self.records_max)).unwrap_or(u32::MAX))
    }

    fn hand_over(&mut self, records: Vec<Record>, permit: OwnedSemaphorePermit) -> Result<u64, ()> {
        let sequence = self.sequence_next;
        self.batches.send(batch::Batch::new(sequence, records, permit)).map_err(|_| ())?;
        self.sequence_next += 1;
        Ok(sequence)
    }
}

impl PublishAcks {
    /// The next acknowledgement. None: the sender was dropped and all is answered, or the stream failed before.
    ///
    /// # Errors
    /// Why the stream failed for good.
    pub async fn next(&mut self) -> Result<Option<Ack>, Error> {
        self.acks.recv().await.transpose().map(|taken| taken.map(|(ack, _room)| ack))
    }
}

impl futures::Stream for PublishAcks {
    type Item = Result<Ack, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.acks.poll_recv(context).map(|taken| taken.map(|ack| ack.map(|(ack, _room)| ack)))
    }
}
