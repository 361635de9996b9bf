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
        let mut keys = Vec::new();
        for node in &self.nodes {
            let mut connection = connect(node);
            let pattern = format!("{}:*{containing}*", self.prefix);
            let found = cmd("SCAN").cursor_arg(0).arg("MATCH").arg(pattern).arg("COUNT").arg(10_000).take();
            let found = found.iter::<Vec<u8>>(&mut connection).unwrap();
            keys.extend(found.map(|key| (node.clone(), key.unwrap())));
        }
        keys
    }

    /// Deletes the keys that contain the text.
    pub(crate) fn lose(&self, containing: &str) {
        for (node, key) in self.keys(containing) {
            cmd("DEL").arg(key).exec(&mut connect(&node)).unwrap();
        }
    }

    fn dump(&self) -> Vec<(String, Vec<u8>, Vec<u8>, i64)> {
        let dump = |(node, key): (String, Vec<u8>)| {
            let mut connection = connect(&node);
            let value = cmd("DUMP").arg(&key).query(&mut connection).unwrap();
            let ttl_ms = cmd("PTTL").arg(&key).query(&mut connection).unwrap();
            (node, key, value, ttl_ms)
        };
        self.keys("").into_iter().map(dump).collect()
    }

    fn held(&self) -> usize {
        let size = |(node, key): (String, Vec<u8>)| -> usize {
            let mut connection = connect(&node);
            let kind: String = cmd("TYPE").arg(&key).query(&mut connection).unwrap();
            let length = if kind == "hash" { "HLEN" } else { "ZCARD" };
            // What expires between the two questions is gone.
            if kind == "none" { 0 } else { cmd(length).arg(&key).query(&mut connection).unwrap() }
        };
        self.keys("").into_iter().map(size).sum()
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
