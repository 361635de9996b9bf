//! A way to Redis that tells the links by which clients hear of changes from the others, and breaks those it is told to.

mod connection;
mod requests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Connections through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Those that sent `CLIENT TRACKING`: from that command on, itself included.
    Tracking,
    /// Those that did not.
    Others,
    /// Both.
    All,
}

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What clients say.
    ToServer,
    /// What the server says.
    ToClient,
    /// Both.
    Both,
}

/// What is done to connections, those that are there and those that are made meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// Nothing. What was held back is delivered then, late.
    None,
    /// They end as soon as it is known which they are.
    Refused,
    /// They stay, or are accepted, and nothing is delivered.
    BlackHole(Way),
    /// What is sent arrives so much later.
    Delayed(Way, Duration),
}

/// A proxy before one Redis server.
pub struct RedisProxy {
    port: u16,
    state: Arc<State>,
    accepting: tokio::task::JoinHandle<()>,
}

struct State {
    upstream: AtomicU16,
    rules: watch::Sender<Rules>,
    tracking_count: AtomicUsize,
    others_count: AtomicUsize,
}

/// What holds now.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    tracking: Rule,
    others: Rule,
    has_ended: bool,
}

/// What holds now for one kind of connection.
#[derive(Clone, Copy, Debug, Default)]
struct Rule {
    to_server: Flow,
    to_client: Flow,
    is_refused: bool,
    /// How often those that were there were cut.
    cuts: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Pass,
    Hold,
    Delay(Duration),
}

impl RedisProxy {
    /// A proxy to the server on `upstream_port` of 127.0.0.1, which need not be there yet. Needs a Tokio runtime, and ends
    /// with its handle.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn start(upstream_port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("a proxy before Redis")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            upstream: AtomicU16::new(upstream_port),
            rules: watch::Sender::default(),
            tracking_count: AtomicUsize::new(0),
            others_count: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // A broken connection is what a proxy passes on.
                tokio::spawn(async move { drop(connection::serve(client, &shared).await) });
            }
        });
        Ok(Self { port, state, accepting })
    }

    /// The port of 127.0.0.1 that clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://host:port` of the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Lets a fault begin, or end, for these connections; another fault of theirs ends with it.
    pub fn set(&self, links: Links, fault: LinkFault) {
        self.change(links, |rule| *rule = Rule { cuts: rule.cuts, ..Rule::of(fault) });
    }

    /// Ends those connections that are there. New ones may be made.
    pub fn cut(&self, links: Links) {
        self.change(links, |rule| rule.cuts += 1);
    }

    /// Leads new connections to another server. Those that are there stay where they are until they are cut.
    pub fn lead_to(&self, upstream_port: u16) {
        self.state.upstream.store(upstream_port, Ordering::SeqCst);
    }

    /// How many of these connections there are.
    #[must_use]
    pub fn count(&self, links: Links) -> usize {
        let State { tracking_count, others_count, .. } = &*self.state;
        let (tracking, others) = (tracking_count.load(Ordering::SeqCst), others_count.load(Ordering::SeqCst));
        match links {
            Links::Tracking => tracking,
            Links::Others => others,
            Links::All => tracking + others,
        }
    }

    fn change(&self, links: Links, change: impl Fn(&mut Rule)) {
        self.state.rules.send_modify(|rules| {
            if links != Links::Others {
                change(&mut rules.tracking);
            }
            if links != Links::Tracking {
                change(&mut rules.others);
            }
        });
    }
}

impl Drop for RedisProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.state.rules.send_modify(|rules| rules.has_ended = true);
    }
}

impl Rule {
    fn of(fault: LinkFault) -> Self {
        let (flow, way) = match fault {
            LinkFault::None => return Self::default(),
            LinkFault::Refused => return Self { is_refused: true, ..Self::default() },
            LinkFault::BlackHole(way) => (Flow::Hold, way),
            LinkFault::Delayed(way, by) => (Flow::Delay(by), way),
        };
        let on = |is_meant: bool| if is_meant { flow } else { Flow::Pass };
        Self { to_server: on(way != Way::ToClient), to_client: on(way != Way::ToServer), ..Self::default() }
    }
}
