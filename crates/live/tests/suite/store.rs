//! The stores that the suite runs on, and what a test does to them behind their backs.

use headwater_live::{
    LiveStatistics,
    memory::{MemoryLive, MemorySnapshot},
    redis::{RedisLive, RedisOptions},
};
use redis::{Client, Connection, cmd};
use uuid::Uuid;

pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// The longest window of the stores.
pub(crate) const WINDOW_MAX_MS: i64 = DAY_MS;

pub(crate) enum Store {
    Memory(MemoryLive),
    Redis(Box<RedisStore>),
}

pub(crate) struct RedisStore {
    pub(crate) live: RedisLive,
    prefix: String,
    /// The nodes that have keys.
    nodes: Vec<String>,
}

/// What a store held, to go back to.
pub(crate) enum Remembered {
    Memory(MemorySnapshot),
    Redis(Vec<(String, Vec<u8>, Vec<u8>, i64)>),
}

impl Store {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryLive::new(WINDOW_MAX_MS))
    }

    /// The Redis that a run of tests shares; this store's keys begin with a prefix of their own.
    pub(crate) fn shared_redis() -> Self {
        let url = std::env::var("HEADWATER_TEST_REDIS")
            .expect("HEADWATER_TEST_REDIS names no Redis: run `make test`, or `cargo xtask parts up` first");
        Self::Redis(Box::new(RedisStore::new(RedisOptions::new(&url), vec![url])))
    }

    pub(crate) fn live(&self) -> &dyn LiveStatistics {
        match self {
            Self::Memory(live) => live,
            Self::Redis(redis) => &redis.live,
        }
    }

    pub(crate) fn lose_everything(&self) {
        match self {
            Self::Memory(live) => live.clear(),
            Self::Redis(redis) => redis.lose(""),
        }
    }

    pub(crate) fn remember(&self) -> Remembered {
        match self {
            Self::Memory(live) => Remembered::Memory(live.snapshot()),
            Self::Redis(redis) => Remembered::Redis(redis.dump()),
        }
    }

    pub(crate) fn go_back(&self, to: Remembered) {
        match (self, to) {
            (Self::Memory(live), Remembered::Memory(snapshot)) => live.restore(snapshot),
            (Self::Redis(redis), Remembered::Redis(dump)) => {
                redis.lose("");
                for (node, key, value, ttl_ms) in dump {
                    let mut connection = connect(&node);
                    cmd("RESTORE").arg(key).arg(ttl_ms.max(0)).arg(value).exec(&mut connection).unwrap();
                }
            }
            _ => unreachable!("what was remembered is of the same store"),
        }
    }

    /// Figures, members and whatever else takes memory.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Memory(live) => live.held(),
            Self::Redis(redis) => redis.held(),
        }
    }
}

impl RedisStore {
    pub(crate) fn new(options: RedisOptions, nodes: Vec<String>) -> Self {
        let prefix = format!("test:{}", Uuid::new_v4());
        let options = RedisOptions { prefix: prefix.clone(), window_max_ms: WINDOW_MAX_MS, ..options };
        Self { live: RedisLive::new(options).unwrap(), prefix, nodes }
    }

    /// Keys that contain the text, each with its node.
    pub(crate) fn keys(&self, containing: &str) -> Vec<(String, Vec<u8>)> {
        self.each_key(containing, |_, node, key| (node.to_owned(), key))
    }

    /// Deletes the keys that contain the text.
    pub(crate) fn lose(&self, containing: &str) {
        self.each_key(containing, |connection, _, key| cmd("DEL").arg(key).exec(connection).unwrap());
    }

    fn dump(&self) -> Vec<(String, Vec<u8>, Vec<u8>, i64)> {
        self.each_key("", |connection, node, key| {
            let value = cmd("DUMP").arg(&key).query(connection).unwrap();
            let ttl_ms = cmd("PTTL").arg(&key).query(connection).unwrap();
            (node.to_owned(), key, value, ttl_ms)
        })
    }

    fn held(&self) -> usize {
        let sizes = self.each_key("", |connection, _, key| -> usize {
            let kind: String = cmd("TYPE").arg(&key).query(connection).unwrap();
            let length = if kind == "hash" { "HLEN" } else { "ZCARD" };
            // What expires between the two questions is gone.
            if kind == "none" { 0 } else { cmd(length).arg(&key).query(connection).unwrap() }
        });
        sizes.into_iter().sum()
    }

    fn each_key<T>(&self, containing: &str, mut f: impl FnMut(&mut Connection, &str, Vec<u8>) -> T) -> Vec<T> {
        let mut all = Vec::new();
        for node in &self.nodes {
            let mut connection = connect(node);
            let pattern = format!("{}:*{containing}*", self.prefix);
            let found = cmd("SCAN").cursor_arg(0).arg("MATCH").arg(pattern).arg("COUNT").arg(10_000).take();
            let found: Vec<Vec<u8>> = found.iter(&mut connection).unwrap().map(Result::unwrap).collect();
            all.extend(found.into_iter().map(|key| f(&mut connection, node, key)));
        }
        all
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        // The shared Redis outlives the test; a failed test may have stopped its own.
        if !std::thread::panicking() {
            self.lose("");
        }
    }
}

pub(crate) fn connect(url: &str) -> Connection {
    Client::open(url).unwrap().get_connection().unwrap()
}
