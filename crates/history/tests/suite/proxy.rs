//! A way to Postgres that breaks where a test wants it to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Passes everything on.
    Pass,
    /// Ends every connection.
    Refuse,
    /// Takes connections and never answers.
    Silent,
    /// Passes the next COMMIT on, waits for its answer, and ends the connection instead of giving it.
    LoseAnswer,
    /// Ends the connection instead of passing the next COMMIT on.
    LoseCommit,
    /// The same, but the server is not told: its session lives on within the transaction.
    HangBeforeCommit,
}

const MODES: [Mode; 6] =
    [Mode::Pass, Mode::Refuse, Mode::Silent, Mode::LoseAnswer, Mode::LoseCommit, Mode::HangBeforeCommit];

pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    server: String,
    mode: AtomicU8,
    cuts: watch::Sender<u32>,
    /// COMMITs that still pass in the modes that lose one.
    spared: AtomicU32,
}

impl Proxy {
    /// A proxy to the Postgres of that URL.
    pub(crate) async fn to(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().unwrap();
        let tokio_postgres::config::Host::Tcp(host) = &config.get_hosts()[0] else { panic!("{url} has no host") };
        let server = format!("{host}:{}", config.get_ports()[0]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        assert!(url.contains(&server), "{url} must name its port");
        let state = Arc::new(State {
            server: server.clone(),
            mode: AtomicU8::new(0),
            cuts: watch::Sender::new(0),
            spared: AtomicU32::new(0),
        });
        let accepting = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, accepting.clone()));
            }
        });
        Self { url: url.replacen(&server, &address.to_string(), 1), state }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Passes that many COMMITs on, and loses the next.
    pub(crate) fn lose_after(&self, commits: u32) {
        self.state.spared.store(commits, Ordering::SeqCst);
        self.set(Mode::LoseCommit);
    }

    pub(crate) fn mode(&self) -> Mode {
        self.state.mode()
    }

    /// Ends every connection that there is.
    pub(crate) fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl State {
    /// Whether this COMMIT passes.
    fn spares(&self) -> bool {
        self.spared.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn mode(&self) -> Mode {
        MODES[usize::from(self.mode.load(Ordering::SeqCst))]
    }
}

async fn serve(mut client: TcpStream, state: Arc<State>) {
    let mut cuts = state.cuts.subscribe();
    match state.mode() {
        Mode::Refuse => return,
        Mode::Silent => {
            // Held open until the next cut.
            let _ = cuts.changed().await;
            return;
        }
        _ => {}
    }
    let mut server = TcpStream::connect(&state.server).await.unwrap();
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            _ = cuts.changed() => return,
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let sent = &up[..length];
                if sent.windows(6).any(|word| word == b"COMMIT") && !state.spares() {
                    match state.mode() {
                        Mode::LoseAnswer => {
                            state.mode.store(0, Ordering::SeqCst);
                            server.write_all(sent).await.unwrap();
                            let _ = server.read(&mut down).await;
                            return;
                        }
                        Mode::LoseCommit => {
                            state.mode.store(0, Ordering::SeqCst);
                            return;
                        }
                        Mode::HangBeforeCommit => {
                            state.mode.store(0, Ordering::SeqCst);
                            drop(client);
                            // Until the server ends it, or the test is over.
                            while matches!(server.read(&mut down).await, Ok(1..)) {}
                            return;
                        }
                        _ => {}
                    }
                }
                if server.write_all(sent).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&down[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
