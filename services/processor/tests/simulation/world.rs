//! What all simulated systems share: the seed's random numbers, the clock, the processes and the faults that were hit.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep, sleep_until};

/// When every simulation begins, in milliseconds since the Unix epoch.
const BEGINS_MS: i64 = 1_700_000_000_000;

/// Calls that a process seldom makes, and dies at the more often.
const RARE: [&str; 2] = ["rows", "switch_generation"];

/// What can happen: where, and what.
pub(crate) type Fault = (&'static str, &'static str);

/// How often each fault was hit.
pub(crate) type Hits = BTreeMap<Fault, u64>;

/// One simulation.
pub(crate) struct World {
    began: Instant,
    rng: Mutex<fastrand::Rng>,
    state: Mutex<State>,
    /// Wakes in the order in which they wait, which a watch channel does not.
    changed: Notify,
}

#[derive(Default)]
struct State {
    calm: bool,
    dead: BTreeSet<u64>,
    paused: BTreeMap<u64, Instant>,
    hits: Hits,
    /// Process and condition to what it says.
    conditions: BTreeMap<(u64, String), String>,
    /// What must never happen, and did.
    violations: Vec<String>,
    /// A digest of every step, to tell whether two runs of a seed were one.
    trace: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            began: Instant::now(),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        BEGINS_MS + self.began.elapsed().as_millis() as i64
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.rng.lock().u64(0..bound.max(1))
    }

    /// True so many times in a thousand.
    pub(crate) fn chance(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Decides whether a fault happens here, and counts it.
    pub(crate) fn fault(&self, at: &'static str, what: &'static str, per_mille: u64) -> bool {
        let happens = self.chance(per_mille) && !self.state.lock().calm;
        if happens {
            self.hit(at, what);
        }
        happens
    }

    pub(crate) fn hit(&self, at: &'static str, what: &'static str) {
        *self.state.lock().hits.entry((at, what)).or_default() += 1;
    }

    /// A process tells a condition; none: it is met.
    pub(crate) fn told(&self, process: u64, condition: &str, reason: Option<String>) {
        let (mut state, key) = (self.state.lock(), (process, condition.to_owned()));
        match reason {
            Some(reason) => drop(state.conditions.insert(key, reason)),
            None => drop(state.conditions.remove(&key)),
        }
    }

    /// What a living process says of a condition.
    pub(crate) fn condition(&self, condition: &str) -> Option<String> {
        let state = self.state.lock();
        let told =
            |((process, name), _): &(&(u64, String), &String)| name == condition && !state.dead.contains(process);
        state.conditions.iter().find(told).map(|(_, reason)| reason.clone())
    }

    pub(crate) fn violated(&self, text: String) {
        self.state.lock().violations.push(text);
    }

    /// What must never happen, and did first.
    pub(crate) fn violation(&self) -> Option<String> {
        self.state.lock().violations.first().cloned()
    }

    pub(crate) fn hits(&self) -> Hits {
        self.state.lock().hits.clone()
    }

    pub(crate) fn trace(&self) -> u64 {
        self.state.lock().trace
    }

    /// No faults from here on; who is paused wakes up.
    pub(crate) fn calm(&self) {
        let mut state = self.state.lock();
        state.calm = true;
        state.paused.clear();
    }

    pub(crate) fn kill(&self, process: u64) {
        self.state.lock().dead.insert(process);
        self.bump();
    }

    pub(crate) fn is_dead(&self, process: u64) -> bool {
        self.state.lock().dead.contains(&process)
    }

    pub(crate) fn pause(&self, process: u64, duration: Duration) {
        self.state.lock().paused.insert(process, Instant::now() + duration);
    }

    pub(crate) fn is_paused(&self, process: u64) -> bool {
        self.state.lock().paused.get(&process).is_some_and(|until| *until > Instant::now())
    }

    /// Wakes everyone who waits for a change of the log or of a group.
    pub(crate) fn bump(&self) {
        self.changed.notify_waiters();
    }

    /// Ends with the next change after this call.
    pub(crate) fn change(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Returns while the process runs: a paused one waits for its time, and a dead one for ever.
    pub(crate) async fn alive(&self, process: u64) {
        loop {
            if self.is_dead(process) {
                return pending().await;
            }
            let until = self.state.lock().paused.get(&process).copied();
            match until {
                Some(until) if until > Instant::now() => sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// A call of an outside system by a process: with delays, outages before and after what it does, and crashes.
    pub(crate) async fn call<T, E>(
        &self,
        process: u64,
        name: &'static str,
        away: impl Fn(String) -> E,
        act: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.step(process, name, "crash before").await;
        if self.fault(name, "away", 25) {
            return Err(away("before".into()));
        }
        let result = act.await;
        self.step(process, name, "crash after").await;
        if self.fault(name, "answer lost", 25) {
            return Err(away("after".into()));
        }
        result
    }

    async fn step(&self, process: u64, name: &'static str, crash: &'static str) {
        self.alive(process).await;
        let delay_ms = match self.below(100) {
            0 => 1 + self.below(2000),
            1..=10 => 1 + self.below(100),
            _ => 1,
        };
        sleep(Duration::from_millis(delay_ms)).await;
        self.alive(process).await;
        self.mark(process, (name, crash));
        if self.fault(name, crash, if RARE.contains(&name) { 50 } else { 3 }) {
            self.kill(process);
            self.alive(process).await;
        }
    }

    /// Takes a step into the trace.
    fn mark(&self, process: u64, (at, what): Fault) {
        let (process, now_ms) = (process.to_le_bytes(), self.now_ms().to_le_bytes());
        let step = [process.as_slice(), at.as_bytes(), what.as_bytes(), now_ms.as_slice()];
        let mut state = self.state.lock();
        for byte in step.into_iter().flatten() {
            state.trace = (state.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
