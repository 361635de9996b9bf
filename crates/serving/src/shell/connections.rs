use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::clients::{Clients, Peer};
use crate::telemetry::RpcMetrics;

/// How long to wait after the system refused a connection, for example for want of file descriptors.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may say nothing at all. Once it has spoken, HTTP has bounds of its own.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);

/// The connections of a listener, as many at a time as the limit says.
pub(super) struct Connections {
    listener: TcpListener,
    limit: Arc<Semaphore>,
    clients: Clients,
    open: Arc<AtomicUsize>,
    cut: CancellationToken,
    metrics: Arc<RpcMetrics>,
}

/// A connection that ends when it is cut.
pub(super) struct Connection {
    io: TcpStream,
    peer: Peer,
    cut: CancellationToken,
    /// Wakes the connection when it is cut while nothing else does.
    waiting: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Ends a connection that says nothing; none once it has spoken.
    silence: Option<Pin<Box<Sleep>>>,
    _counted: Counted,
}

/// Counts a connection for as long as it lives.
struct Counted {
    open: Arc<AtomicUsize>,
    metrics: Arc<RpcMetrics>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(
        listener: TcpListener,
        connections_max: usize,
        clients: &Clients,
        open: &Arc<AtomicUsize>,
        cut: &CancellationToken,
        metrics: &Arc<RpcMetrics>,
    ) -> Self {
        Self {
            listener,
            limit: Arc::new(Semaphore::new(connections_max)),
            clients: clients.clone(),
            open: open.clone(),
            cut: cut.clone(),
            metrics: metrics.clone(),
        }
    }

    /// The next connection.
    pub(super) async fn next(&self) -> Connection {
        loop {
            let (io, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(REFUSED_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = self.limit.clone().try_acquire_owned() else {
                // Closed at once: in the backlog it would wait until its deadline for nothing.
                self.metrics.connection_refused();
                tracing::debug!("closed a connection at once: listen.connections_max are open");
                continue;
            };
            if let Err(error) = io.set_nodelay(true) {
                tracing::debug!(%error, "a connection ended before it began");
                continue;
            }
            self.open.fetch_add(1, Ordering::Relaxed);
            self.metrics.connection_opened();
            return Connection {
                io,
                peer: self.clients.at(address),
                cut: self.cut.clone(),
                waiting: Box::pin(self.cut.clone().cancelled_owned()),
                silence: Some(Box::pin(sleep(FIRST_BYTE_TIMEOUT))),
                _counted: Counted { open: self.open.clone(), metrics: self.metrics.clone(), _permit: permit },
            };
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.metrics.connection_closed();
    }
}

impl Connection {
    /// Who is at its other end.
    pub(super) fn peer(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending if self.waiting.as_mut().poll(cx).is_ready() => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            Poll::Pending if self.silence.as_mut().is_some_and(|silence| silence.as_mut().poll(cx).is_ready()) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
            ready => {
                self.silence = None;
                ready
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::Metrics;

    /// Two ends of a connection.
    async fn pair(cut: &CancellationToken) -> (Connection, TcpStream) {
        let metrics = RpcMetrics::new(&Metrics::new().expect("metrics").meter("test"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Connections::new(listener, 1, &Clients::default(), &Arc::default(), cut, &Arc::new(metrics));
        let (here, there) = tokio::join!(connections.next(), TcpStream::connect(address));
        (here, there.expect("connected"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_ended() {
        let (mut here, _there) = pair(&CancellationToken::new()).await;
        let began = Instant::now();
        let error = here.read_u8().await.expect_err("silence");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= FIRST_BYTE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_spoken_may_be_quiet_until_it_is_cut() {
        let cut = CancellationToken::new();
        let (mut here, mut there) = pair(&cut).await;
        there.write_u8(7).await.expect("sent");
        assert_eq!(here.read_u8().await.expect("heard"), 7);
        let quiet = tokio::time::timeout(10 * FIRST_BYTE_TIMEOUT, here.read_u8()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        cut.cancel();
        assert_eq!(here.read_u8().await.expect_err("cut").kind(), io::ErrorKind::ConnectionAborted);
    }
}
