//! The load: lanes, each with users and accounts of its own, one call of a lane after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::sender::Sender;
use super::traffic::Traffic;
use crate::event::{Event, Stream};

const LANES: usize = 8;
/// How often a lane sends: some 350 records per second, all lanes together.
const TICK: Duration = Duration::from_millis(250);
/// How long a call is tried again; after that what became of it is not known, which is allowed.
const TRIED_MAX: Duration = Duration::from_secs(45);

/// Sends until it is ended.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    lanes: JoinSet<Result<()>>,
}

impl Load {
    pub(super) fn start(sender: &Arc<Sender>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let (sender, stop) = (Arc::clone(sender), Arc::clone(&stop));
            let traffic = Traffic::new(seed, lane);
            lanes.spawn(async move { run(&sender, traffic, &stop).await });
        }
        Self { stop, lanes }
    }

    /// Ends it, once every lane has the answer of its last call.
    pub(super) async fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.lanes.join_next().await {
            ended.context("a lane panicked")??;
        }
        Ok(())
    }
}

async fn run(sender: &Sender, mut traffic: Traffic, stop: &AtomicBool) -> Result<()> {
    let mut again: Vec<Event> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        for stream in Stream::ALL {
            let drafts = match stream {
                Stream::PageEvents => traffic.pages(),
                Stream::Transactions => traffic.moves(),
            };
            let mut events = sender.declare(drafts)?;
            let fresh = events.clone();
            events.extend(again.extract_if(.., |event| event.stream == stream));
            sender.send(stream, &events, Instant::now() + TRIED_MAX).await?;
            again.extend(traffic.again(&fresh));
        }
        tokio::time::sleep(TICK.saturating_sub(began.elapsed())).await;
    }
    Ok(())
}
