//! PublishStream: batches are read while earlier ones are under way, and answered in their order.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures::{Stream, StreamExt};
use headwater_contracts::v1::ingest::{PublishStreamRequest, PublishStreamResponse};
use headwater_domain::Reason;
use headwater_serving::problem::Problem;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::service::Shared;

/// Answers that wait for their turn, at most; a batch has at least one record, so records bound them too.
const ANSWERS_MAX: usize = 1024;

/// The answers of one PublishStream.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<PublishStreamResponse, Status>> + Send>>;

type Answer = Result<PublishStreamResponse, Status>;

pub(crate) fn answers(shared: Arc<Shared>, requests: Streaming<PublishStreamRequest>) -> Answers {
    let (answers, under_way) = mpsc::channel::<JoinHandle<Answer>>(ANSWERS_MAX);
    tokio::spawn(read(shared, requests, answers));
    let answers = ReceiverStream::new(under_way).then(|answer| async {
        answer.await.unwrap_or_else(|_| Err(Problem::new(Reason::Internal, "the batch was not answered").into()))
    });
    Box::pin(answers)
}

async fn read(
    shared: Arc<Shared>,
    mut requests: Streaming<PublishStreamRequest>,
    answers: mpsc::Sender<JoinHandle<Answer>>,
) {
    let max = u32::try_from(shared.options.stream_records_in_flight_max).unwrap_or(u32::MAX).max(1);
    let own = Arc::new(Semaphore::new(max as usize));
    loop {
        let request = tokio::select! {
            () = shared.drain.cancelled() => return,
            // The caller is gone: nobody reads the answers of what is under way, which is appended all the same.
            () = answers.closed() => return,
            request = requests.message() => request,
        };
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(status) => return end(&answers, status).await,
        };
        let sequence = request.sequence;
        let batch = match shared.batch(&request.stream, request.records) {
            Ok(batch) => batch,
            Err(problem) => {
                let problem = problem.with_metadata("sequence", sequence.to_string());
                return end(&answers, problem.into()).await;
            }
        };
        // Not reading on until there is room is what slows the caller down.
        let cost = shared.cost(&batch.records);
        let all = u32::try_from(shared.options.records_in_flight_max).unwrap_or(u32::MAX).max(1);
        let (Ok(own_permit), Ok(permit)) = (
            Arc::clone(&own).acquire_many_owned(cost.min(max)).await,
            Arc::clone(&shared.in_flight).acquire_many_owned(cost.min(all)).await,
        ) else {
            return;
        };
        let work = {
            let shared = Arc::clone(&shared);
            async move {
                let published = shared.publish(batch).await;
                drop((own_permit, permit));
                Ok(PublishStreamResponse { sequence, results: published.results, consistency_token: published.token })
            }
        };
        // The log takes calls in the order in which they are first polled: polled here, batches keep theirs.
        let mut work = Box::pin(work);
        let answer = match futures::poll!(work.as_mut()) {
            Poll::Ready(answer) => spawn(std::future::ready(answer)),
            Poll::Pending => spawn(work),
        };
        if answers.send(answer).await.is_err() {
            return;
        }
    }
}

fn spawn(work: impl Future<Output = Answer> + Send + 'static) -> JoinHandle<Answer> {
    tokio::spawn(work)
}

/// The last answer: a status, after the answers of everything that was taken before.
async fn end(answers: &mpsc::Sender<JoinHandle<Answer>>, status: Status) {
    let _ = answers.send(spawn(async { Err(status) })).await;
}
