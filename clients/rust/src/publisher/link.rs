use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::pin::Pin;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::batch::Batch;
use crate::Client;
use crate::v1::ingest::{PublishStreamRequest, PublishStreamResponse};

/// Requests that wait for the connection to take them.
const REQUESTS_QUEUED_MAX: usize = 16;

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<PublishStreamResponse>, Status>> + Send>>;

/// One call of PublishStream, and the batches that were sent on it and not yet answered, by their number on the wire.
pub(super) struct Link {
    requests: Option<mpsc::Sender<PublishStreamRequest>>,
    answers: Answers,
    pub(super) in_flight: BTreeMap<u64, (Batch, Instant)>,
    /// Since when it takes no more requests.
    closed_at: Option<Instant>,
}

enum Answers {
    /// A server may send its headers only after the first request.
    Opening(Opening),
    Open(Box<Streaming<PublishStreamResponse>>),
}

impl Link {
    pub(super) fn open(client: &Client) -> Self {
        let (requests, receiver) = mpsc::channel(REQUESTS_QUEUED_MAX);
        let mut ingest = client.ingest.clone();
        let opening =
            async move { ingest.publish_stream(ReceiverStream::new(receiver)).await.map(tonic::Response::into_inner) };
        Self {
            requests: Some(requests),
            answers: Answers::Opening(Box::pin(opening)),
            in_flight: BTreeMap::new(),
            closed_at: None,
        }
    }

    pub(super) fn takes_requests(&self) -> bool {
        self.requests.is_some()
    }

    /// Waits for room for a request or an answer, whichever comes first; only for an answer unless `sending`.
    pub(super) async fn next(&mut self, sending: bool) -> Turn {
        let requests = self.requests.clone().filter(|_| sending);
        let room = async {
            match requests {
                Some(requests) => requests.reserve_owned().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = self.answers.next() => Turn::Answer(answer),
            room = room => match room {
                Ok(room) => Turn::Room(room),
                Err(_) => {
                    // The call is ending; its answers will say how.
                    self.close();
                    Turn::Closed
                }
            },
        }
    }

    /// Ends the requests: the server answers what it has and ends the call.
    pub(super) fn close(&mut self) {
        self.requests = None;
        self.closed_at.get_or_insert_with(Instant::now);
    }

    /// Since when an answer or the end has been due; none while neither is.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let oldest = self.in_flight.first_key_value().map(|(_, (_, sent_at))| *sent_at);
        oldest.into_iter().chain(self.closed_at).min()
    }
}

/// What a link is ready for.
pub(super) enum Turn {
    /// A request can be sent.
    Room(mpsc::OwnedPermit<PublishStreamRequest>),
    /// An answer, or the end, or the failure of the call.
    Answer(Result<Option<PublishStreamResponse>, Status>),
    /// It takes no more requests.
    Closed,
}

impl Answers {
    async fn next(&mut self) -> Result<Option<PublishStreamResponse>, Status> {
        // Left in the middle it goes on where it was: the future stays in its place until it is done.
        if let Self::Opening(opening) = self {
            *self = Self::Open(Box::new(opening.as_mut().await?));
        }
        match self {
            Self::Open(answers) => answers.message().await,
            Self::Opening(_) => pending().await,
        }
    }
}
