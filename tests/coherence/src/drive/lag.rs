//! How soon a change is seen through another replica, and how old its memory's answers get where nobody tells it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_testkit::{LinkFault, Links, Way};
use tokio::time::sleep;

use super::run::STALENESS_MAX_MS;
use super::stack::Stack;
use super::store::StoreKind;
use super::{Key, Kind, Replicas, Service};
use crate::history::{Call, Ended, Layer};

/// What is promised of 99 of 100 changes.
const LAG_P99_MAX: Duration = Duration::from_millis(50);
/// How long a replica may take until its memory has a value, or has not any more.
const SEEN_MAX: Duration = Duration::from_secs(5);
/// Pause before a replica is asked again.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// The replica whose link is held up.
const DEAF: usize = 1;
/// How long the link is held up each time, and how long it is well before.
const DEAF_FOR: Duration = Duration::from_millis(600);
const WELL_FOR: Duration = Duration::from_millis(400);
/// Pause between writes while the link is held up.
const WRITE_EVERY: Duration = Duration::from_millis(3);

/// What is measured.
#[derive(Clone, Debug)]
pub struct LagOptions {
    /// Writes through each of: one replica, the other, the store itself.
    pub writes: usize,
    /// Writers at once, each on a key of its own.
    pub writers: usize,
    /// How long it goes on with a link that is held up again and again.
    pub silent: Duration,
    /// The platform.
    pub binary: PathBuf,
}

/// Measures, prints, and says whether what is promised was kept.
///
/// # Errors
/// Where something could not even be tried.
pub async fn lag(options: &LagOptions) -> Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("headwater-lag-").tempdir()?;
    let stack = Stack::start(folder.path(), &options.binary, 2, StoreKind::One, STALENESS_MAX_MS).await?;
    let service = Arc::new(stack.service().await?);
    println!(
        "two replicas on one Redis, {} writers; from a write's acknowledgement until the other replica",
        options.writers
    );
    println!("answers with it, that answer's own way included:");
    let mut is_kept = true;
    for (writer, through) in ["replica 1", "replica 2", "the store itself"].into_iter().enumerate() {
        let mut lags = told(&service, options, writer).await?;
        lags.sort_unstable();
        let at = |share: f64| lags[((lags.len() - 1) as f64 * share) as usize];
        let (p50, p99, most) = (at(0.5), at(0.99), at(1.0));
        println!(
            "  {:>6} writes through {through:<16}: p50 {} ms, p99 {} ms, max {} ms",
            options.writes,
            ms(p50),
            ms(p99),
            ms(most)
        );
        is_kept &= p99 <= LAG_P99_MAX;
    }
    let unheard = silent(&stack, &service, options.silent).await?;
    println!(
        "with the link of notices held up {} times for {} ms: {} answers of memory meanwhile, {} of the store;\n  the oldest was \
         replaced {} ms before it was asked for ({} ms before it was there), of {STALENESS_MAX_MS} ms",
        unheard.times,
        DEAF_FOR.as_millis(),
        unheard.of_memory,
        unheard.of_store,
        ms(unheard.oldest_asked),
        ms(unheard.oldest_there)
    );
    is_kept &= unheard.oldest_asked <= Duration::from_millis(STALENESS_MAX_MS);
    if unheard.of_memory == 0 || unheard.of_store == 0 {
        bail!("the link was not held up");
    }
    println!(
        "promised: p99 {} ms, bound {STALENESS_MAX_MS} ms: {}",
        LAG_P99_MAX.as_millis(),
        if is_kept { "kept" } else { "NOT KEPT" }
    );
    Ok(if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The lags of so many writes through one of the three.
async fn told(service: &Arc<Service>, options: &LagOptions, writer: usize) -> Result<Vec<Duration>> {
    let tasks: Vec<_> = (0..options.writers)
        .map(|number| {
            let service = Arc::clone(service);
            let share = options.writes / options.writers + usize::from(number < options.writes % options.writers);
            tokio::spawn(async move {
                let key = key(&format!("lag-{writer}-{number}"));
                let mut lags = Vec::with_capacity(share);
                for n in 0..=share {
                    let value = n.to_string();
                    write(&service, writer, &key, &value).await?;
                    let written = Instant::now();
                    let seen = |observer| seen(&service, observer, &key, &value, written);
                    let slowest = match writer {
                        0 => seen(1).await?,
                        1 => seen(0).await?,
                        _ => {
                            let (one, other) = tokio::try_join!(seen(0), seen(1))?;
                            one.max(other)
                        }
                    };
                    // The first write finds no old value anywhere.
                    if n > 0 {
                        lags.push(slowest);
                    }
                }
                anyhow::Ok(lags)
            })
        })
        .collect();
    let mut lags = Vec::with_capacity(options.writes);
    for task in tasks {
        lags.extend(task.await.context("a writer panicked")??);
    }
    Ok(lags)
}

/// Asks until the answer is this value, and then until it is from memory: how long the first took.
async fn seen(service: &Service, observer: usize, key: &Key, value: &str, written: Instant) -> Result<Duration> {
    let mut first = None;
    loop {
        let (answer, layer) = read(service, observer, key).await?;
        if answer.as_deref() == Some(value) {
            let first = *first.get_or_insert_with(|| written.elapsed());
            if layer == Layer::L1 {
                return Ok(first);
            }
        }
        // Not at once: whoever asks without a pause takes the processor from those who are asked.
        sleep(ASK_EVERY).await;
        if written.elapsed() > SEEN_MAX {
            bail!("replica {} answers {answer:?} from {layer:?}, and not {value} from memory", observer + 1);
        }
    }
}

struct Unheard {
    times: usize,
    of_memory: usize,
    of_store: usize,
    oldest_asked: Duration,
    oldest_there: Duration,
}

/// Writes through one replica and reads through another whose link is held up again and again.
async fn silent(stack: &Stack, service: &Arc<Service>, lasts: Duration) -> Result<Unheard> {
    let key = key("unheard");
    // When each value, by its number, was acknowledged.
    let acknowledged: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let writing = {
        let (service, key, acknowledged) = (Arc::clone(service), key.clone(), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            for n in 0_usize.. {
                write(&service, 0, &key, &n.to_string()).await?;
                acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                sleep(WRITE_EVERY).await;
            }
            anyhow::Ok(())
        })
    };
    let link = &stack.store.ways()[DEAF];
    let mut unheard =
        Unheard { times: 0, of_memory: 0, of_store: 0, oldest_asked: Duration::ZERO, oldest_there: Duration::ZERO };
    let began = Instant::now();
    while began.elapsed() < lasts && !writing.is_finished() {
        sleep(WELL_FOR).await;
        // Something is in memory when it begins.
        read(service, DEAF, &key).await?;
        link.set(Links::Tracking, LinkFault::BlackHole(Way::Both));
        unheard.times += 1;
        let deaf = Instant::now();
        while deaf.elapsed() < DEAF_FOR {
            let asked = Instant::now();
            let (value, layer) = read(service, DEAF, &key).await?;
            let there = Instant::now();
            if layer != Layer::L1 {
                unheard.of_store += 1;
                continue;
            }
            unheard.of_memory += 1;
            let number: usize = value.context("a value is in memory")?.parse()?;
            let replaced = acknowledged.lock().unwrap_or_else(PoisonError::into_inner).get(number + 1).copied();
            let age = |at: Instant| replaced.map_or(Duration::ZERO, |replaced| at.saturating_duration_since(replaced));
            unheard.oldest_asked = unheard.oldest_asked.max(age(asked));
            unheard.oldest_there = unheard.oldest_there.max(age(there));
        }
        link.set(Links::Tracking, LinkFault::None);
    }
    if writing.is_finished() {
        writing.await??;
    } else {
        writing.abort();
    }
    Ok(unheard)
}

async fn write(service: &Service, writer: usize, key: &Key, value: &str) -> Result<()> {
    match service.ask(writer, key, &Call::Set { value: value.to_owned() }).await {
        Ended::Wrote { is_done: true, .. } => Ok(()),
        other => bail!("a write ended so: {other:?}"),
    }
}

async fn read(service: &Service, replica: usize, key: &Key) -> Result<(Option<String>, Layer)> {
    match service.ask(replica, key, &Call::Get { no_cache: false, lease: false }).await {
        Ended::Read { value, layer, .. } => Ok((value, layer)),
        other => bail!("a read ended so: {other:?}"),
    }
}

fn key(name: &str) -> Key {
    Key { namespace: String::new(), name: name.to_owned(), kind: Kind::Text }
}

fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}
