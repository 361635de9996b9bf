use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tonic::Status;

use super::batch::{Batch, Settled};
use super::link::{Link, Turn};
use super::{Ack, PublishOptions};
use crate::retry::Backoff;
use crate::v1::ingest::{PublishStreamRequest, PublishStreamResponse};
use crate::{Client, Error};

type Acks = mpsc::UnboundedSender<Result<(Ack, OwnedSemaphorePermit), Error>>;

/// How long the server may take to end a stream that has nothing left to answer.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Carries batches over calls of PublishStream until each has its last result.
///
/// A batch is in one of three places: `outbound` to be sent, in the link's flight, or `later` to be sent again.
pub(super) struct Driver {
    client: Client,
    options: PublishOptions,
    batches: mpsc::UnboundedReceiver<Batch>,
    acks: Acks,
    outbound: VecDeque<Batch>,
    later: BTreeMap<(Instant, u64), Batch>,
    link: Option<Link>,
    wire_sequence_next: u64,
    /// Set while the stream is broken: the waits that are left, and when to open it again.
    broken: Option<(Backoff, Instant)>,
    sender_gone: bool,
}

impl Driver {
    pub(super) fn new(
        client: Client,
        options: PublishOptions,
        batches: mpsc::UnboundedReceiver<Batch>,
        acks: Acks,
    ) -> Self {
        Self {
            client,
            options,
            batches,
            acks,
            outbound: VecDeque::new(),
            later: BTreeMap::new(),
            link: None,
            wire_sequence_next: 1,
            broken: None,
            sender_gone: false,
        }
    }

    /// Runs until the sender is gone and all is answered, nobody takes the acknowledgements, or the stream fails for good.
    pub(super) async fn run(mut self) {
        while !self.is_done() {
            if let Err(error) = self.step().await {
                // Where nobody takes it, nobody asks for the reason.
                let _ = self.acks.send(Err(error));
                return;
            }
        }
        drop(self.acks);
        if let Some(mut link) = self.link {
            // Ending in order, so that the server does not take it for a caller that went away.
            link.close();
            let _ = tokio::time::timeout(GOODBYE_MAX, link.next(false)).await;
        }
    }

    fn is_done(&self) -> bool {
        let flying = self.link.as_ref().is_some_and(|link| !link.in_flight.is_empty());
        self.acks.is_closed() || (self.sender_gone && self.outbound.is_empty() && self.later.is_empty() && !flying)
    }

    async fn step(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= now) {
            self.outbound.push_back(entry.remove());
        }
        let may_open = self.broken.as_ref().is_none_or(|(_, at)| *at <= now);
        if self.link.is_none() && !self.outbound.is_empty() && may_open {
            self.link = Some(Link::open(&self.client));
        }
        let wake = self.wake_at();
        let sending = !self.outbound.is_empty();
        tokio::select! {
            biased;
            () = self.acks.closed() => Ok(()),
            turn = turn_of(self.link.as_mut(), sending) => match turn {
                Turn::Room(room) => {
                    if let (Some(mut batch), Some(link)) = (self.outbound.pop_front(), self.link.as_mut()) {
                        let sequence = self.wire_sequence_next;
                        self.wire_sequence_next += 1;
                        let records = batch.take_up(&self.options, now);
                        room.send(PublishStreamRequest { sequence, stream: self.options.stream.clone(), records });
                        link.in_flight.insert(sequence, (batch, Instant::now()));
                    }
                    Ok(())
                }
                Turn::Answer(answer) => self.answered(answer),
                Turn::Closed => Ok(()),
            },
            batch = self.batches.recv(), if !self.sender_gone => {
                match batch {
                    Some(batch) => self.outbound.push_back(batch),
                    None => self.sender_gone = true,
                }
                Ok(())
            }
            () = sleep_until(wake) => self.check_silence(),
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let later = self.later.keys().next().map(|(at, _)| *at);
        let reopen = self.broken.as_ref().map(|(_, at)| *at).filter(|_| self.link.is_none());
        let silence = self.link.as_ref().and_then(Link::waiting_since).map(|since| since + self.options.answer_timeout);
        later.into_iter().chain(reopen.filter(|_| !self.outbound.is_empty())).chain(silence).min()
    }

    fn answered(&mut self, answer: Result<Option<PublishStreamResponse>, Status>) -> Result<(), Error> {
        match answer {
            Ok(Some(response)) => self.settle(response),
            Ok(None) => {
                let answered = self.link.as_ref().is_none_or(|link| link.in_flight.is_empty());
                if answered && self.outbound.is_empty() {
                    // A server that drains or sheds old connections: the next batch opens a new stream.
                    self.link = None;
                    return Ok(());
                }
                self.break_off(self.unreachable("the server ended the stream before every batch was answered"))
            }
            Err(status) => {
                let error = Error::from_status(&status, &self.client.endpoint, self.options.answer_timeout);
                self.break_off(error)
            }
        }
    }

    fn settle(&mut self, response: PublishStreamResponse) -> Result<(), Error> {
        let entry = self.link.as_mut().and_then(|link| link.in_flight.remove(&response.sequence));
        let Some((mut batch, _)) = entry else {
            return Err(Error::Protocol(format!("an answer to batch {}, which was not sent", response.sequence)));
        };
        self.broken = None;
        let now = Instant::now();
        let settled =
            batch.settle(response.results, response.consistency_token, &self.options, now).map_err(Error::Protocol)?;
        match settled {
            // Where nobody takes it, the next step ends.
            Settled::All => drop(self.acks.send(Ok(batch.into_ack()))),
            Settled::Again(wait) => drop(self.later.insert((now + wait, batch.sequence), batch)),
        }
        Ok(())
    }

    fn check_silence(&mut self) -> Result<(), Error> {
        let timeout = self.options.answer_timeout;
        let silent = self.link.as_ref().and_then(Link::waiting_since).is_some_and(|since| since.elapsed() >= timeout);
        if silent {
            return self.break_off(self.unreachable(&format!("no answer for {} ms", timeout.as_millis())));
        }
        Ok(())
    }

    /// The call failed: what it had in flight goes to the front of what is to be sent, in its order.
    fn break_off(&mut self, error: Error) -> Result<(), Error> {
        if let Some(link) = self.link.take() {
            for (batch, _) in link.in_flight.into_values().rev() {
                self.outbound.push_front(batch);
            }
        }
        if !error.is_retryable() {
            return Err(error);
        }
        let (mut backoff, _) = self.broken.take().unwrap_or_else(|| (self.options.retry.backoff(), Instant::now()));
        let wait = backoff.next_wait(error.retry_after()).filter(|wait| *wait <= self.options.give_up_after);
        let Some(wait) = wait else { return Err(error) };
        self.broken = Some((backoff, Instant::now() + wait));
        Ok(())
    }

    fn unreachable(&self, detail: &str) -> Error {
        Error::Unreachable { endpoint: self.client.endpoint.to_string(), detail: detail.to_owned() }
    }
}

async fn turn_of(link: Option<&mut Link>, sending: bool) -> Turn {
    match link {
        Some(link) => {
            let sending = sending && link.takes_requests();
            link.next(sending).await
        }
        None => pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}
