//! Live statistics in Redis 6.2 or later, by itself or as a Cluster.
//!
//! All keys of a shard share one hash tag and so one slot; one script per shard and batch changes them. In a Cluster that
//! is moving a slot, its shards answer `Unavailable` until it has moved.

mod batch;
mod check;
mod connection;
mod keys;
mod script;

use std::{collections::BTreeMap, sync::atomic::AtomicBool, time::Duration};

use ::redis::{Cmd, FromRedisValue, Value, cmd, from_redis_value};
use async_trait::async_trait;
use futures::future::join_all;
use headwater_domain::LiveBatch;

use crate::{
    ApplyOutcome, Figure, Figures, GenerationKey, LiveError, LiveStatistics, ReadRequest,
    answer::{ShardAnswer, lowest, merge},
    ask::{Ask, Keys, Of},
    split::{CLOCKS_DIFFER_MS, outcome_of, split},
};
use connection::{Connector, Failure, To};
use keys::ShardKeys;
use script::{APPLY, EXPIRE, READ, REMOVE, Script, TRIM};

/// Members or keys that one step of trimming or removing forgets, so that a step holds Redis up for a few milliseconds.
const STEP_MAX: usize = 2_000;

/// Steps of one call of trim or remove; the next call goes on.
const STEPS_MAX: usize = 100_000;

/// Keys that a read asks a shard for, at most.
const LISTED_MAX: usize = 1 << 30;

/// What a sum that passed 64 bits reads.
const OVERFLOWED: &str = "!";

/// How to reach Redis, and how much is kept there.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// `redis://` or `rediss://` addresses: one, or some nodes of a Cluster.
    pub urls: Vec<String>,
    /// Whether it is a Cluster.
    pub cluster: bool,
    /// What every key begins with; without braces.
    pub prefix: String,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long an answer may take. A call waits for the two together at most, once for each step that it has.
    pub response_timeout: Duration,
    /// The longest window, in milliseconds.
    pub window_max_ms: i64,
    /// Keys of a statistic, and members of a key, that a shard should have at most. More are kept and counted right; each
    /// trim warns of them, since memory and the time of a read grow with them.
    pub members_max: u64,
}

/// Live statistics in Redis. Needs no Redis to be made: it connects when it is used, and again when a connection is lost.
pub struct RedisLive {
    options: RedisOptions,
    connector: Connector,
    warned: AtomicBool,
}

impl RedisOptions {
    /// One Redis at this address, otherwise the defaults: windows of 24 hours, answers within 2 seconds.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            cluster: false,
            prefix: "hw:live".into(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(2),
            window_max_ms: 24 * 3_600_000,
            members_max: 1_000_000,
        }
    }
}

impl RedisLive {
    /// Statistics in the Redis that the options name. Nothing is connected yet.
    ///
    /// # Errors
    /// `Refused` where the options cannot be used.
    pub fn new(options: RedisOptions) -> Result<Self, LiveError> {
        if options.prefix.contains(['{', '}']) {
            return Err(LiveError::Refused(format!(
                "the prefix {:?} has a brace, which shards are told by",
                options.prefix
            )));
        }
        let connector = Connector::new(&options)?;
        Ok(Self { options, connector, warned: AtomicBool::new(false) })
    }

    fn shards(&self, generation: &GenerationKey) -> impl Iterator<Item = ShardKeys> {
        let generation = generation.clone();
        (0..generation.shards.max(1)).map(move |shard| ShardKeys::new(&self.options.prefix, &generation, shard))
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LiveError> {
        decode(self.connector.run(command, To::ItsNode).await?)
    }

    async fn run_script<T: FromRedisValue>(&self, script: &Script, command: &Cmd) -> Result<T, LiveError> {
        match self.connector.run(command, To::ItsNode).await {
            Err(Failure::Redis(error)) if script::is_unknown(&error) => self.run(&script.whole(command)).await,
            result => decode(result?),
        }
    }

    /// Applies a batch to one shard, or says which offset it has instead.
    async fn apply_shard(&self, keys: &ShardKeys, command: &Cmd) -> Result<Result<(), Option<i64>>, LiveError> {
        for _ in 0..2 {
            let answer: Vec<String> = self.run_script(&APPLY, command).await?;
            match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["applied"] => return Ok(Ok(())),
                ["gap"] => return Ok(Err(None)),
                ["gap", offset] => return Ok(Err(Some(offset.parse().map_err(|_| unreadable(&answer))?))),
                ["leftover"] => self.remove_shard(keys).await?,
                _ => return Err(unreadable(&answer)),
            }
        }
        Err(LiveError::Unavailable("the generation is being removed".into()))
    }

    async fn read_shard(
        &self,
        keys: &ShardKeys,
        request: &ReadRequest,
        ask: Option<&Ask>,
    ) -> Result<ShardAnswer, LiveError> {
        let stat = request.stat;
        let command = match ask.map(|ask| (&ask.keys, &ask.of)) {
            None => READ.call(&[keys.offsets()]).arg("offsets").take(),
            Some((Keys::One(key), Of::Seen { start_ms })) => {
                READ.call(&[keys.offsets(), keys.members(stat, key)]).arg("count").arg(*start_ms).take()
            }
            Some((Keys::All, Of::Seen { start_ms })) => {
                let mut call = READ.call(&[keys.offsets(), keys.latest(stat)]);
                call.arg("counts").arg(*start_ms).arg(keys.members(stat, "")).take()
            }
            Some((Keys::All, Of::AllTime)) => {
                let wanted = request.skip.saturating_add(request.limit).min(LISTED_MAX);
                let mut call = READ.call(&[keys.offsets(), keys.sums(stat, None), keys.ranking(stat)]);
                call.arg("ranked").arg(wanted).take()
            }
            Some((asked, of)) => {
                let hashes = match of {
                    Of::Buckets(buckets) => buckets.iter().map(|bucket| keys.sums(stat, Some(*bucket))).collect(),
                    Of::AllTime | Of::Seen { .. } => vec![keys.sums(stat, None)],
                };
                let mut call = READ.call(&[vec![keys.offsets()], hashes].concat());
                match asked {
                    Keys::One(key) => call.arg("sum").arg(key).take(),
                    Keys::All => call.arg("sums").take(),
                }
            }
        };
        let (offsets, unlisted, flat): (BTreeMap<i32, i64>, u64, Vec<String>) =
            self.run_script(&READ, &command).await?;
        let mut parts = Vec::with_capacity(flat.len() / 2);
        let mut flat = flat.into_iter();
        while let (Some(key), Some(part)) = (flat.next(), flat.next()) {
            let part = match part.as_str() {
                OVERFLOWED => Figure::Overflowed,
                units => Figure::Units(units.parse().map_err(|_| unreadable(units))?),
            };
            // The count of one key is answered without its name.
            match ask.map(|ask| (&ask.keys, &ask.of)) {
                Some((Keys::One(asked), Of::Seen { .. })) => parts.push((asked.clone(), part)),
                _ => parts.push((key, part)),
            }
        }
        Ok(ShardAnswer { offsets, parts, unlisted })
    }

    async fn trim_shard(&self, keys: &ShardKeys, now_ms: i64) -> Result<(), LiveError> {
        let expire = EXPIRE.call(&[keys.names()]).arg(keys.prefix()).arg(now_ms).arg(STEP_MAX).take();
        for _ in 0..STEPS_MAX {
            let forgotten: usize = self.run_script(&EXPIRE, &expire).await?;
            if forgotten < STEP_MAX {
                break;
            }
        }
        let oldest_ms = now_ms - self.options.window_max_ms - CLOCKS_DIFFER_MS;
        let lasting = cmd("ZRANGEBYSCORE").arg(keys.names()).arg("+inf").arg("+inf").take();
        for name in self.run::<Vec<String>>(&lasting).await? {
            let most = if let Some(stat) = keys::stat_of_latest(&name) {
                self.trim_seen(keys, stat, oldest_ms).await?
            } else if keys::is_total(&name) {
                self.run(cmd("HLEN").arg(keys.named(&name))).await?
            } else {
                0
            };
            if most > self.options.members_max {
                let members_max = self.options.members_max;
                tracing::warn!(
                    key = keys.named(&name),
                    most,
                    members_max,
                    "a live statistic has more members than it should"
                );
            }
        }
        Ok(())
    }

    /// Forgets what a distinct saw before then. Answers the most members that a key had.
    async fn trim_seen(&self, keys: &ShardKeys, stat: usize, oldest_ms: i64) -> Result<u64, LiveError> {
        let mut cursor = "0".to_owned();
        let mut most = 0;
        for _ in 0..STEPS_MAX {
            let mut call = TRIM.call(&[keys.latest(stat)]);
            call.arg(keys.members(stat, "")).arg(oldest_ms).arg(&cursor).arg(STEP_MAX);
            let (next, again, most_now): (String, u8, u64) = self.run_script(&TRIM, &call).await?;
            most = most.max(most_now);
            if next == "0" && again == 0 {
                break;
            }
            cursor = next;
        }
        Ok(most)
    }

    async fn remove_shard(&self, keys: &ShardKeys) -> Result<(), LiveError> {
        let command = REMOVE.call(&[keys.offsets(), keys.names()]).arg(keys.prefix()).arg(STEP_MAX).take();
        for _ in 0..STEPS_MAX {
            if self.run_script::<u8>(&REMOVE, &command).await? == 0 {
                return Ok(());
            }
        }
        Err(LiveError::Unavailable("the generation is large: remove it again to go on".into()))
    }
}

#[async_trait]
impl LiveStatistics for RedisLive {
    async fn apply(&self, generation: &GenerationKey, batch: &LiveBatch) -> Result<ApplyOutcome, LiveError> {
        let operations = split(batch, generation.shards);
        let mut calls = Vec::with_capacity(operations.len());
        for (keys, operations) in self.shards(generation).zip(&operations) {
            let command = batch::call(&keys, batch, operations, self.options.window_max_ms)?;
            calls.push((keys, command));
        }
        let shards = join_all(calls.iter().map(|(keys, command)| self.apply_shard(keys, command))).await;
        let shards = shards.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(outcome_of(shards.into_iter().filter_map(Result::err)))
    }

    async fn applied(&self, generation: &GenerationKey) -> Result<BTreeMap<i32, i64>, LiveError> {
        let commands: Vec<Cmd> =
            self.shards(generation).map(|keys| cmd("HGETALL").arg(keys.offsets()).take()).collect();
        let offsets = join_all(commands.iter().map(|command| self.run(command))).await;
        Ok(lowest(offsets.into_iter().collect::<Result<_, _>>()?))
    }

    async fn read(&self, generation: &GenerationKey, request: &ReadRequest) -> Result<Figures, LiveError> {
        let ask = Ask::new(request, self.options.window_max_ms)?;
        let shards: Vec<ShardKeys> = self.shards(generation).collect();
        let touched = (0..).map(|shard| ask.touches(shard, generation.shards.max(1)).then_some(&ask));
        let answers = shards.iter().zip(touched).map(|(keys, ask)| self.read_shard(keys, request, ask));
        let answers = join_all(answers).await.into_iter().collect::<Result<_, _>>()?;
        Ok(merge(request, &ask.keys, answers))
    }

    async fn now_ms(&self) -> Result<i64, LiveError> {
        let (seconds, micros): (i64, i64) = self.run(&cmd("TIME")).await?;
        Ok(seconds * 1000 + micros / 1000)
    }

    async fn trim(&self, generation: &GenerationKey, now_ms: i64) -> Result<(), LiveError> {
        for keys in self.shards(generation) {
            self.trim_shard(&keys, now_ms).await?;
        }
        Ok(())
    }

    async fn remove(&self, generation: &GenerationKey) -> Result<(), LiveError> {
        for keys in self.shards(generation) {
            self.remove_shard(&keys).await?;
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), LiveError> {
        check::check(&self.connector, self.options.cluster, &self.warned).await
    }
}

fn decode<T: FromRedisValue>(value: Value) -> Result<T, LiveError> {
    from_redis_value(value).map_err(|error| LiveError::Refused(format!("what Redis answered cannot be read: {error}")))
}

fn unreadable(answer: &(impl std::fmt::Debug + ?Sized)) -> LiveError {
    LiveError::Refused(format!("what Redis answered cannot be read: {answer:?}"))
}
