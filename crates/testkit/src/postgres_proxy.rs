//! A way to Postgres that understands what clients send, and breaks where a test wants it to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};

/// How long a COPY that was caught is held up at most.
const HOLD_MAX: Duration = Duration::from_secs(30);
/// How long the answer of a COMMIT is waited for before the connection is cut without it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A message that is longer is passed on in parts, and not looked at.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
const PART_BYTES: usize = 64 * 1024;

/// Where the proxy breaks, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutAt {
    /// At a COMMIT of a transaction that copied rows: the server never gets it.
    BeforeCommit,
    /// The server gets the COMMIT, and the client is cut off at once.
    InCommit,
    /// The server has answered the COMMIT, and the client never hears it.
    AfterCommit,
    /// In the middle of the rows of a COPY: half of a message has been passed on, and nothing more is until
    /// [`PostgresProxy::let_go`].
    InCopy,
}

/// A proxy before one Postgres server. Clients that have connected through it are cut off where it is told to.
pub struct PostgresProxy {
    port: u16,
    state: Arc<State>,
    accepting: tokio::task::JoinHandle<()>,
}

struct State {
    upstream: u16,
    /// What is to happen next.
    armed: Mutex<Option<CutAt>>,
    /// Set when it has happened: the port that the client had connected from.
    caught: watch::Sender<Option<u16>>,
    held: AtomicBool,
    ended: watch::Sender<bool>,
}

/// A message of a client.
struct Message {
    kind: u8,
    bytes: Vec<u8>,
}

impl PostgresProxy {
    /// A proxy to the server on `upstream_port` of 127.0.0.1, which need not be there yet. Needs a Tokio runtime, and ends
    /// with its handle.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn start(upstream_port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("a proxy before Postgres")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            upstream: upstream_port,
            armed: Mutex::new(None),
            caught: watch::Sender::new(None),
            held: AtomicBool::new(false),
            ended: watch::Sender::new(false),
        });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let mut ended = shared.ended.subscribe();
                    tokio::select! {
                        // A broken connection is what a proxy passes on.
                        _ = serve(client, &shared) => {}
                        _ = ended.wait_for(|ended| *ended) => {}
                    }
                });
            }
        });
        Ok(Self { port, state, accepting })
    }

    /// The port of 127.0.0.1 that clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets the next occasion be the one that breaks.
    pub async fn arm(&self, cut: CutAt) {
        self.state.caught.send_replace(None);
        self.state.held.store(cut == CutAt::InCopy, Ordering::SeqCst);
        *self.state.armed.lock().await = Some(cut);
    }

    /// Waits until what it was armed for has happened; returns the port of 127.0.0.1 that the client had connected from.
    /// None where there was no occasion within that time, and it is not armed any more.
    pub async fn caught(&self, within: Duration) -> Option<u16> {
        let mut caught = self.state.caught.subscribe();
        let seen = async { caught.wait_for(Option::is_some).await.ok().and_then(|port| *port) };
        let seen = tokio::time::timeout(within, seen).await.ok().flatten();
        if seen.is_none() {
            self.state.armed.lock().await.take();
        }
        seen
    }

    /// Ends the connection that a COPY is held up on.
    pub fn let_go(&self) {
        self.state.held.store(false, Ordering::SeqCst);
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.state.ended.send_replace(true);
    }
}

async fn serve(client: TcpStream, state: &State) -> io::Result<()> {
    let from = client.peer_addr()?.port();
    let server = TcpStream::connect(("127.0.0.1", state.upstream)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let answers = Answers::pass(from_server, to_client);
    // Requests for encryption come before the message that opens a session, and have no kind either.
    loop {
        let opening = untyped(&mut from_client).await?;
        to_server.write_all(&opening).await?;
        let code = opening.get(4..8).map(|code| i32::from_be_bytes([code[0], code[1], code[2], code[3]]));
        if !matches!(code, Some(SSL_REQUEST | GSS_REQUEST)) {
            break;
        }
    }
    let mut has_copied = false;
    loop {
        let message = typed(&mut from_client).await?;
        match message.kind {
            b'd' if state.take(&[CutAt::InCopy]).await.is_some() => {
                to_server.write_all(&message.bytes[..message.bytes.len() / 2]).await?;
                state.caught.send_replace(Some(from));
                let held = async {
                    while state.held.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                let _ = tokio::time::timeout(HOLD_MAX, held).await;
                return Ok(());
            }
            b'd' => has_copied = true,
            b'Q' if message.says("COMMIT") && has_copied => {
                has_copied = false;
                let cut = state.take(&[CutAt::BeforeCommit, CutAt::InCommit, CutAt::AfterCommit]).await;
                match cut {
                    Some(CutAt::AfterCommit) => {
                        let answered = answers.withhold();
                        to_server.write_all(&message.bytes).await?;
                        let _ = tokio::time::timeout(ANSWER_WITHIN, answered).await;
                        state.caught.send_replace(Some(from));
                        return Ok(());
                    }
                    Some(CutAt::InCommit) => {
                        drop(answers.withhold());
                        to_server.write_all(&message.bytes).await?;
                        state.caught.send_replace(Some(from));
                        return Ok(());
                    }
                    Some(_) => {
                        state.caught.send_replace(Some(from));
                        return Ok(());
                    }
                    None => {}
                }
            }
            b'Q' if message.says("ROLLBACK") => has_copied = false,
            _ => {}
        }
        to_server.write_all(&message.bytes).await?;
    }
}

impl State {
    /// Takes what is armed, where it is one of these.
    async fn take(&self, cuts: &[CutAt]) -> Option<CutAt> {
        let mut armed = self.armed.lock().await;
        armed.take_if(|cut| cuts.contains(cut))
    }
}

impl Message {
    /// Is it a simple query of this one word?
    fn says(&self, word: &str) -> bool {
        let text = self.bytes.get(5..self.bytes.len().saturating_sub(1)).unwrap_or_default();
        let text = text.trim_ascii();
        text.strip_suffix(b";").unwrap_or(text).eq_ignore_ascii_case(word.as_bytes())
    }
}

/// What the server says, passed on until it is withheld.
struct Answers {
    withheld: Arc<AtomicBool>,
    seen: watch::Receiver<u64>,
    passing: tokio::task::JoinHandle<()>,
}

impl Answers {
    fn pass(mut from_server: OwnedReadHalf, mut to_client: OwnedWriteHalf) -> Self {
        let withheld = Arc::new(AtomicBool::new(false));
        let (sender, seen) = watch::channel(0);
        let shared = Arc::clone(&withheld);
        let passing = tokio::spawn(async move {
            let mut part = vec![0; PART_BYTES];
            while let Ok(length @ 1..) = from_server.read(&mut part).await {
                if shared.load(Ordering::SeqCst) {
                    sender.send_modify(|count| *count += 1);
                } else if to_client.write_all(&part[..length]).await.is_err() {
                    return;
                }
            }
        });
        Self { withheld, seen, passing }
    }

    /// Nothing more reaches the client. The future ends when the server has said something more, or ended.
    fn withhold(&self) -> impl Future<Output = ()> + use<> {
        let mut seen = self.seen.clone();
        seen.mark_unchanged();
        self.withheld.store(true, Ordering::SeqCst);
        async move {
            let _ = seen.changed().await;
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // Its half of the connection to the client must close with the other one.
        self.passing.abort();
    }
}

async fn untyped(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    from.read_exact(&mut bytes).await?;
    rest(from, bytes, 0).await
}

async fn typed(from: &mut OwnedReadHalf) -> io::Result<Message> {
    let mut bytes = vec![0; 5];
    from.read_exact(&mut bytes).await?;
    let kind = bytes[0];
    Ok(Message { kind, bytes: rest(from, bytes, 1).await? })
}

/// The message whose length stands at `at`, the length's own four bytes included.
async fn rest(from: &mut OwnedReadHalf, mut bytes: Vec<u8>, at: usize) -> io::Result<Vec<u8>> {
    let length = i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let whole = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(at);
    if whole < bytes.len() || whole > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let read = bytes.len();
    bytes.resize(whole, 0);
    from.read_exact(&mut bytes[read..]).await?;
    Ok(bytes)
}
