use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;

use super::habits::Habits;
use super::{Key, Keys, Replicas};
use crate::history::{Call, Ended, Line, Operation, Recorder};

/// Of a hundred calls, those that go to the client's own replica.
const HOME_PERCENT: u32 = 85;

/// How long the same replica is spared writes to a key.
const SPARED_FOR_US: u64 = 1_000_000;

/// How clients are.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Decides what they do.
    pub seed: u64,
    /// The keys that they share.
    pub keys: Keys,
    /// How long an answer is waited for.
    pub answer_within: Duration,
    /// Longest pause between an answer and the next call.
    pub pause_max: Duration,
}

impl ClientOptions {
    /// The replica that a key is not written through for some time: what that one remembers only notices take away.
    fn spared(&self, key: &Key, now_us: u64, count: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.seed, &key.name, now_us / SPARED_FOR_US).hash(&mut hasher);
        Rng::with_seed(hasher.finish()).usize(..count)
    }
}

/// A client: one call after the other, each written down.
pub struct Client {
    name: String,
    home: usize,
    options: ClientOptions,
    habits: Habits,
    recorder: Arc<Recorder>,
}

impl Client {
    /// The client of that number.
    pub fn new(number: usize, options: ClientOptions, recorder: Arc<Recorder>) -> Self {
        let name = format!("client-{number}");
        let habits = Habits::new(&name, options.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { name, home: number, options, habits, recorder }
    }

    /// Goes on until the time of the history has come.
    ///
    /// # Errors
    /// Where the history cannot be written.
    pub async fn run(mut self, replicas: &dyn Replicas, until_us: u64) -> Result<()> {
        loop {
            let pause_us = u64::try_from(self.options.pause_max.as_micros()).unwrap_or(u64::MAX);
            let pause = Duration::from_micros(self.habits.rng().u64(..=pause_us));
            tokio::time::sleep(pause).await;
            let now_us = self.recorder.now_us();
            if now_us >= until_us {
                return Ok(());
            }
            let is_home = self.habits.rng().u32(..100) < HOME_PERCENT;
            let other = self.habits.rng().usize(..replicas.count());
            let (key, call) = self.habits.next(&self.options.keys, now_us);
            let count = replicas.count();
            let chosen = if is_home { self.home % count } else { other };
            let spared = self.options.spared(&key, now_us, count);
            let is_read = matches!(call, Call::Get { .. });
            let is_fit = |replica: &usize| replicas.can(*replica, &call) && (is_read || *replica != spared);
            let replica = (0..count).map(|step| (chosen + step) % count).find(is_fit).unwrap_or(chosen);
            let invoked_at_us = self.recorder.now_us();
            let asked = tokio::time::timeout(self.options.answer_within, replicas.ask(replica, &key, &call)).await;
            let ended = asked.unwrap_or_else(|_| Ended::Unknown { why: "no answer in time".to_owned() });
            let returned_at_us = self.recorder.now_us();
            self.habits.learn(&key, &call, &ended, returned_at_us);
            self.recorder.add(&Line::Operation(Operation {
                client: self.name.clone(),
                replica: replicas.name(replica),
                namespace: key.namespace,
                key: key.name,
                call,
                ended,
                invoked_at_us,
                returned_at_us,
            }))?;
        }
    }
}
