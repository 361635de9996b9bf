use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::requests::Requests;
use super::{Flow, Rule, Rules, State};

const PART_BYTES: usize = 16 * 1024;
/// Parts of one direction that are held back at most; then no more is read, as where a network's buffers are full.
const PARTS_MAX: usize = 1024;

/// Bytes and when they came.
type Part = (Instant, Vec<u8>);

/// What is known of a connection: one that was found out to be of the other kind is counted there from then on.
struct Kind<'s> {
    state: &'s State,
    is_tracking: AtomicBool,
    /// The cuts before it.
    tracking_cuts: u64,
    others_cuts: u64,
}

/// Passes everything on, as the rules say, until either end closes or it is cut.
pub(super) async fn serve(client: TcpStream, state: &State) -> io::Result<()> {
    let kind = Kind::new(state);
    let server = TcpStream::connect(("127.0.0.1", state.upstream.load(Ordering::SeqCst))).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut rules = state.rules.subscribe();
    tokio::select! {
        ended = pass(from_client, to_server, &kind, true) => ended,
        ended = pass(from_server, to_client, &kind, false) => ended,
        _ = rules.wait_for(|rules| kind.is_over(rules)) => Ok(()),
    }
}

impl<'s> Kind<'s> {
    fn new(state: &'s State) -> Self {
        state.others_count.fetch_add(1, Ordering::SeqCst);
        let rules = *state.rules.borrow();
        let (tracking_cuts, others_cuts) = (rules.tracking.cuts, rules.others.cuts);
        Self { state, is_tracking: AtomicBool::new(false), tracking_cuts, others_cuts }
    }

    fn found_tracking(&self) {
        if !self.is_tracking.swap(true, Ordering::SeqCst) {
            self.state.others_count.fetch_sub(1, Ordering::SeqCst);
            self.state.tracking_count.fetch_add(1, Ordering::SeqCst);
            // Whoever waits for what holds of it looks again.
            self.state.rules.send_modify(|_| {});
        }
    }

    fn rule(&self, rules: &Rules) -> Rule {
        if self.is_tracking.load(Ordering::SeqCst) { rules.tracking } else { rules.others }
    }

    fn is_over(&self, rules: &Rules) -> bool {
        let is_tracking = self.is_tracking.load(Ordering::SeqCst);
        let before = if is_tracking { self.tracking_cuts } else { self.others_cuts };
        let rule = self.rule(rules);
        rules.has_ended || rule.is_refused || rule.cuts > before
    }

    fn count(&self) -> &AtomicUsize {
        if self.is_tracking.load(Ordering::SeqCst) { &self.state.tracking_count } else { &self.state.others_count }
    }
}

impl Drop for Kind<'_> {
    fn drop(&mut self) {
        self.count().fetch_sub(1, Ordering::SeqCst);
    }
}

async fn pass(from: OwnedReadHalf, to: OwnedWriteHalf, kind: &Kind<'_>, is_client: bool) -> io::Result<()> {
    let (sender, parts) = mpsc::channel(PARTS_MAX);
    // What was read is delivered even after the one who said it has closed.
    let (read, delivered) = tokio::join!(read(from, sender, kind, is_client), deliver(to, parts, kind, is_client));
    read.and(delivered)
}

async fn read(mut from: OwnedReadHalf, parts: mpsc::Sender<Part>, kind: &Kind<'_>, is_client: bool) -> io::Result<()> {
    let mut requests = Requests::default();
    let mut bytes = vec![0; PART_BYTES];
    loop {
        let length = from.read(&mut bytes).await?;
        // Before any of it is passed on: the command itself is held back with what follows.
        if is_client && requests.take(&bytes[..length]) {
            kind.found_tracking();
        }
        if length == 0 || parts.send((Instant::now(), bytes[..length].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn deliver(
    mut to: OwnedWriteHalf,
    mut parts: mpsc::Receiver<Part>,
    kind: &Kind<'_>,
    is_client: bool,
) -> io::Result<()> {
    let mut rules = kind.state.rules.subscribe();
    while let Some((came_at, bytes)) = parts.recv().await {
        loop {
            let rule = kind.rule(&rules.borrow_and_update());
            let wait_until = match if is_client { rule.to_server } else { rule.to_client } {
                Flow::Pass => None,
                Flow::Hold => Some(None),
                Flow::Delay(by) => Some(Some(came_at + by)).filter(|at| at.is_none_or(|at| at > Instant::now())),
            };
            let Some(until) = wait_until else { break };
            let due = async {
                match until {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                changed = rules.changed() => if changed.is_err() { return Ok(()) },
            }
        }
        to.write_all(&bytes).await?;
    }
    Ok(())
}
