use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ::redis::{AsyncConnectionConfig, Client, Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{failure::Failure, topology::Address};

/// Calls that wait to be written to a connection; more wait in their own tasks.
const WAITING_CALLS_MAX: usize = 1_024;

/// Bytes that are gathered before they are written.
const WRITTEN_AT_ONCE_BYTES: usize = 64 << 10;

/// One server, with one connection that all calls share, made when it is needed and made anew when it was lost.
pub(super) struct Node {
    address: Address,
    client: Client,
    connect_timeout: Duration,
    response_timeout: Duration,
    state: Arc<Mutex<State>>,
}

/// Why calls had no answers, and whether they may have been done.
pub(super) struct Unanswered {
    pub(super) failure: Failure,
    pub(super) is_sent: bool,
    /// Whether the time ran out.
    pub(super) is_slow: bool,
}

type Connecting = Shared<BoxFuture<'static, Result<Arc<Link>, Failure>>>;

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    connecting: Option<Connecting>,
}

struct Link {
    connection: MultiplexedConnection,
    is_lost: Arc<AtomicBool>,
    begun: Instant,
    /// When the last answer came, in milliseconds since `begun`.
    answered_ms: AtomicU64,
}

impl Node {
    pub(super) fn new(address: Address, client: Client, connect_timeout: Duration, response_timeout: Duration) -> Self {
        Self { address, client, connect_timeout, response_timeout, state: Arc::default() }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The client, to make connections for other ends.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends commands in one round trip: one answer each, of which errors are some.
    pub(super) async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, Unanswered> {
        let link = self.link().await.map_err(|failure| Unanswered { failure, is_sent: false, is_slow: false })?;
        let sent_ms = link.now_ms();
        let mut connection = link.connection.clone();
        let answers = connection.send_packed_commands(commands, 0, commands.len());
        let (failure, is_slow) = match timeout(self.response_timeout, answers).await {
            Ok(Ok(answers)) => {
                link.answered_ms.store(link.now_ms(), Ordering::Relaxed);
                return Ok(answers);
            }
            Ok(Err(error)) => {
                self.give_up(&link);
                (Failure::of_lost(&error), false)
            }
            Err(_) => {
                // Where others were answered meanwhile the connection is good, and only this was slow.
                if link.answered_ms.load(Ordering::Relaxed) <= sent_ms {
                    self.give_up(&link);
                }
                (Failure::Away(format!("no answer within {} ms", self.response_timeout.as_millis())), true)
            }
        };
        Err(Unanswered { failure, is_sent: true, is_slow })
    }

    /// Gives the connection up, so that the next call makes another.
    pub(super) fn forget_connection(&self) {
        self.state.lock().link = None;
    }

    async fn link(&self) -> Result<Arc<Link>, Failure> {
        let connecting = {
            let mut state = self.state.lock();
            if let Some(link) = &state.link
                && !link.is_lost.load(Ordering::Acquire)
            {
                return Ok(link.clone());
            }
            state.link = None;
            state.connecting.get_or_insert_with(|| self.connecting()).clone()
        };
        connecting.await
    }

    /// Connects in a task of its own, which all calls wait for and none of them ends.
    fn connecting(&self) -> Connecting {
        let (client, connect_timeout, state) = (self.client.clone(), self.connect_timeout, self.state.clone());
        let task = tokio::spawn(async move {
            let connected = timeout(connect_timeout, connect(&client, connect_timeout)).await;
            let connected = connected.unwrap_or_else(|_| {
                Err(Failure::Away(format!("no connection within {} ms", connect_timeout.as_millis())))
            });
            let mut state = state.lock();
            state.connecting = None;
            state.link = connected.as_ref().ok().cloned();
            connected
        });
        async move { task.await.unwrap_or_else(|_| Err(Failure::Away("no connection".into()))) }.boxed().shared()
    }

    fn give_up(&self, link: &Arc<Link>) {
        let mut state = self.state.lock();
        if state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            state.link = None;
        }
    }
}

impl Link {
    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

async fn connect(client: &Client, connect_timeout: Duration) -> Result<Arc<Link>, Failure> {
    let is_lost = Arc::new(AtomicBool::new(false));
    let lost = is_lost.clone();
    // A connection that ends while nothing is asked is told so, and no write is risked on it.
    let told = move |push: PushInfo| {
        if push.kind == PushKind::Disconnection {
            lost.store(true, Ordering::Release);
        }
        Ok::<(), ()>(())
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connect_timeout))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(WAITING_CALLS_MAX)
        .set_write_backpressure_boundary(WRITTEN_AT_ONCE_BYTES)
        .set_push_sender(told);
    let connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| Failure::of_connecting(&error))?;
    Ok(Arc::new(Link { connection, is_lost, begun: Instant::now(), answered_ms: AtomicU64::new(0) }))
}
