use std::time::{Duration, SystemTime};

use headwater_client::{Client, ConnectOptions, Error, PublishOptions, Unsent};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::pacer::Pacer;
use crate::run::next_whole_second;
use crate::{Source, SourceOptions, SourceStream};

/// Part of the events that are page events; the others are transactions.
const PAGE_EVENTS: f64 = 0.9;
const USERS: u32 = 500;
/// How long an event may wait for others to share its batch.
const LINGER: Duration = Duration::from_millis(50);
const BATCH_RECORDS_MAX: usize = 1000;
/// Waits after a failure: the first, doubled up to the last while it goes on.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What keeps something alive.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// `http://host:port` of the platform.
    pub address: String,
    /// Its token, where it asks for one.
    pub token: Option<String>,
    /// Events in a second, of both streams together. 0 is none.
    pub rate: u32,
}

/// Publishes page events and transactions through the public API until it is stopped. Whatever fails, it waits a little
/// and goes on with the events that are due then.
pub async fn run_live(options: LiveOptions, stop: CancellationToken) {
    if options.rate == 0 {
        return;
    }
    let connect = ConnectOptions { token: options.token, ..ConnectOptions::new(options.address) };
    let client = match Client::connect_lazy(&connect) {
        Ok(client) => client,
        Err(error) => {
            warn!(%error, "the generator cannot begin");
            return;
        }
    };
    let rate = f64::from(options.rate);
    // Every start has events of its own.
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
    let views = SourceOptions {
        rate: rate * PAGE_EVENTS,
        users: USERS,
        bots: 0.02,
        invalid: 0.005,
        duplicates: 0.01,
        ..SourceOptions::new(SourceStream::PageEvents, seed)
    };
    let transactions = SourceOptions {
        rate: rate * (1.0 - PAGE_EVENTS),
        users: USERS,
        duplicates: 0.01,
        ..SourceOptions::new(SourceStream::Transactions, seed)
    };
    tokio::join!(keep(&client, views, &stop), keep(&client, transactions, &stop));
}

async fn keep(client: &Client, options: SourceOptions, stop: &CancellationToken) {
    let (start_s, start) = next_whole_second();
    let pacer = Pacer::new(start, options.rate);
    let stream = options.stream;
    let mut source = match Source::new(SourceOptions { start_s, ..options }) {
        Ok(source) => source,
        Err(error) => {
            warn!(%error, "the generator cannot begin");
            return;
        }
    };
    let mut wait = WAIT_MIN;
    while !stop.is_cancelled() {
        let (answered, failure) = publish_until_failure(client, &mut source, pacer, stream, stop).await;
        let Some(error) = failure else { return };
        if answered {
            wait = WAIT_MIN;
        }
        warn!(stream = stream.name(), %error, wait_ms = wait.as_millis() as u64, "the generator goes on later");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
        wait = (wait * 2).min(WAIT_MAX);
        source.skip_to(pacer.due(Instant::now()));
    }
}

/// Whether anything was answered, and what failed; nothing failed when it was stopped.
async fn publish_until_failure(
    client: &Client,
    source: &mut Source,
    pacer: Pacer,
    stream: SourceStream,
    stop: &CancellationToken,
) -> (bool, Option<Error>) {
    let (mut sender, mut acks) = match client.publish_stream(PublishOptions::new(stream.name())) {
        Ok(opened) => opened,
        Err(error) => return (false, Some(error)),
    };
    let mut ticks = tokio::time::interval(LINGER);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let due = pacer.due(Instant::now());
                while source.index() < due {
                    let size = usize::try_from(due - source.index()).unwrap_or(usize::MAX).min(BATCH_RECORDS_MAX);
                    let records = source.by_ref().take(size).map(|made| made.into_record(stream)).collect();
                    match sender.try_send(records) {
                        Ok(_) | Err(Unsent::Empty) => {}
                        // The server is behind: these are left out rather than kept.
                        Err(Unsent::Full(_)) => source.skip_to(due),
                        // The acknowledgements say why.
                        Err(Unsent::Closed) => break,
                    }
                }
            }
            ack = acks.next() => match ack {
                Ok(Some(_)) => {
                    if !answered {
                        info!(stream = stream.name(), "the generator publishes");
                    }
                    answered = true;
                }
                Ok(None) => return (answered, Some(Error::Closed)),
                Err(error) => return (answered, Some(error)),
            },
            () = stop.cancelled() => return (answered, None),
        }
    }
}
