use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use headwater_client::{Client, Error, PublishOptions, PublishSender, Unsent};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::meter::{Meter, SentBatch};
use crate::pacer::Pacer;
use crate::{Kind, Report, Source, SourceOptions};

/// Later than this an event counts as sent late.
const LATE_AFTER: Duration = Duration::from_millis(100);
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// How to publish. Every field is a bound.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What to publish; its rate is the rate of publishing. Its `start_s` is set by the run: the next whole second.
    pub source: SourceOptions,
    /// How long.
    pub duration: Duration,
    /// How long an event may wait for others to share its batch.
    pub linger: Duration,
    /// Largest batch, in events.
    pub batch_records_max: usize,
    /// Events sent and not answered, at most: what is due beyond is skipped, not delayed.
    pub in_flight_max: usize,
    /// How long to wait for the last answers.
    pub drain_max: Duration,
}

/// How far a run is. Counts are of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Time since the first was due.
    pub elapsed: Duration,
    /// Sent so far.
    pub sent: u64,
    /// Answered so far.
    pub answered: u64,
    /// Due and not sent.
    pub skipped: u64,
}

impl RunOptions {
    /// 30 s, batches of up to 1000 events of 5 ms, 20,000 in flight, 10 s for the last answers.
    pub fn new(source: SourceOptions) -> Self {
        Self {
            source,
            duration: Duration::from_secs(30),
            linger: Duration::from_millis(5),
            batch_records_max: 1000,
            in_flight_max: 20_000,
            drain_max: Duration::from_secs(10),
        }
    }
}

/// Publishes on schedule, whatever the answers (open loop), until the duration is over, `stop` is cancelled, or the stream
/// fails for good: the report says so.
///
/// # Errors
/// An option that does not hold; nothing was sent.
pub async fn run(
    client: &Client,
    mut options: RunOptions,
    stop: &CancellationToken,
    mut on_progress: impl FnMut(Progress),
) -> Result<Report, Error> {
    let (start_s, start) = next_whole_second();
    options.source.start_s = start_s;
    let source = Source::new(options.source.clone())
        .map_err(|error| Error::Option { option: error.option, problem: error.problem })?;
    let publish = PublishOptions {
        in_flight_records_max: options.in_flight_max,
        ..PublishOptions::new(options.source.stream.name())
    };
    let (sender, acks) = client.publish_stream(publish)?;
    let answered = Arc::new(AtomicU64::new(0));
    let (told, batches) = mpsc::unbounded_channel();
    let give_up = CancellationToken::new();
    let mut metering = tokio::spawn(Meter::new(Arc::clone(&answered)).run(acks, batches, give_up.clone()));

    let pacer = Pacer::new(start, options.source.rate);
    let mut sending = Sending::new(source, sender, told, pacer, &options);
    let total = (options.source.rate * options.duration.as_secs_f64()).round() as u64;
    let mut ticks = tokio::time::interval_at(start, options.linger.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_progress = start;
    while sending.source.index() < total && !sending.closed {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
        }
        let now = Instant::now();
        sending.send_due(pacer.due(now).min(total));
        if now >= next_progress {
            next_progress = now + PROGRESS_EVERY;
            on_progress(sending.progress(now - start, answered.load(Ordering::Relaxed)));
        }
    }
    // Ending the sending ends the stream once all is answered.
    let counts = sending.finish();
    let joined = match tokio::time::timeout(options.drain_max, &mut metering).await {
        Ok(joined) => joined,
        Err(_) => {
            give_up.cancel();
            metering.await
        }
    };
    let meter = joined.map_err(|error| Error::Protocol(format!("counting the answers failed: {error}")))?;
    Ok(report(&options, &counts, meter, start))
}

/// The next whole second, in seconds since 1970 and as a moment to wait for.
pub(crate) fn next_whole_second() -> (i64, Instant) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let rest = Duration::from_nanos(u64::from(1_000_000_000 - now.subsec_nanos()));
    (i64::try_from(now.as_secs()).unwrap_or(i64::MAX - 1) + 1, Instant::now() + rest)
}

/// The sending side: takes events from the source as they fall due.
struct Sending {
    source: Source,
    /// The stream has ended by itself.
    closed: bool,
    sender: PublishSender,
    told: mpsc::UnboundedSender<SentBatch>,
    pacer: Pacer,
    stream: crate::SourceStream,
    batch_records_max: usize,
    counts: Counts,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    due: u64,
    sent: BTreeMap<&'static str, u64>,
    sent_flagged: u64,
    skipped: u64,
    late: u64,
}

impl Sending {
    fn new(
        source: Source,
        sender: PublishSender,
        told: mpsc::UnboundedSender<SentBatch>,
        pacer: Pacer,
        options: &RunOptions,
    ) -> Self {
        Self {
            source,
            closed: false,
            sender,
            told,
            pacer,
            stream: options.source.stream,
            batch_records_max: options.batch_records_max.clamp(1, 10_000),
            counts: Counts::default(),
        }
    }

    /// Sends what is due before event `due`, in batches; what finds the window full is skipped.
    fn send_due(&mut self, due: u64) {
        while self.source.index() < due && !self.closed {
            let first = self.source.index();
            let size = usize::try_from(due - first).unwrap_or(usize::MAX).min(self.batch_records_max);
            let mut records = Vec::with_capacity(size);
            let mut sent = Vec::with_capacity(size);
            for index in (first..).take(size) {
                let Some(made) = self.source.next() else { break };
                sent.push((made.kind, self.pacer.at(index)));
                records.push(made.into_record(self.stream));
            }
            self.counts.due += sent.len() as u64;
            match self.sender.try_send(records) {
                Ok(sequence) => {
                    let now = Instant::now();
                    for (kind, due) in &sent {
                        *self.counts.sent.entry(kind.name()).or_default() += 1;
                        self.counts.sent_flagged += u64::from(*kind == Kind::Bot { flagged: true });
                        self.counts.late += u64::from(now.saturating_duration_since(*due) > LATE_AFTER);
                    }
                    // Where nobody counts any more, the stream has ended.
                    self.closed = self.told.send((sequence, sent)).is_err();
                }
                Err(Unsent::Full(_) | Unsent::Empty) => self.counts.skipped += sent.len() as u64,
                Err(Unsent::Closed) => {
                    self.counts.skipped += sent.len() as u64;
                    self.closed = true;
                }
            }
        }
    }

    fn progress(&self, elapsed: Duration, answered: u64) -> Progress {
        Progress { elapsed, sent: self.counts.sent.values().sum(), answered, skipped: self.counts.skipped }
    }

    fn finish(self) -> Counts {
        self.counts
    }
}

fn report(options: &RunOptions, counts: &Counts, meter: Meter, start: Instant) -> Report {
    let elapsed = meter.last_answer.unwrap_or_else(Instant::now).saturating_duration_since(start);
    let answered: u64 = meter.answers.values().sum();
    let sent: u64 = counts.sent.values().sum();
    Report {
        stream: options.source.stream.name(),
        seed: options.source.seed,
        due: counts.due,
        sent: counts.sent.clone(),
        sent_flagged: counts.sent_flagged,
        unanswered: sent.saturating_sub(answered),
        skipped: counts.skipped,
        late: counts.late,
        surprises: meter.surprises,
        elapsed,
        rate: options.source.rate,
        rate_achieved: if elapsed.is_zero() { 0.0 } else { answered as f64 / elapsed.as_secs_f64() },
        latency: meter.latency(),
        answers: meter.answers,
        failure: meter.failure,
    }
}
