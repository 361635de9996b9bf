//! The real servers that tests (and people) run against: Kafka, a schema registry, Redis, Postgres, Toxiproxy.
//!
//! Each starts on a port chosen at run time, in a folder of its own, and is taken for ready only when it answers and the
//! process that listens on the port is the one that was started. It dies with its handle, and with the process that
//! holds the handle, however that ends. Starting blocks the thread (Kafka: some 3 s).
//!
//! Most tests share the servers of the whole run instead: [`require`] reads their addresses from the environment, and
//! [`unique`] keeps tests apart on them. A test that has to kill a server starts one of its own:
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use headwater_testkit::{Options, Redis};
//!
//! let mut redis = Redis::start(Options::default())?;
//! println!("{}", redis.url());
//! redis.kill()?; // kill -9
//! redis.restart()?; // the same port, the same data
//! # Ok(())
//! # }
//! ```

mod http;
mod install;
mod kafka;
mod kafka_cluster;
mod postgres;
mod postgres_proxy;
mod process;
mod program;
mod redis;
mod redis_cluster;
mod redis_copy;
mod redis_proxy;
mod registry;
mod server;
mod shared;
mod small_disk;
mod toxiproxy;

pub use install::{free_port, tools_dir};
pub use kafka::Kafka;
pub use kafka_cluster::KafkaCluster;
pub use postgres::Postgres;
pub use postgres_proxy::{CutAt, PostgresProxy};
pub use process::ProcessId;
pub use program::Program;
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use redis_proxy::{LinkFault, Links, RedisProxy, Way};
pub use registry::Registry;
pub use server::{Options, Server};
pub use shared::{KAFKA, POSTGRES, REDIS, REGISTRY, fresh_database, require, unique};
pub use small_disk::SmallDisk;
pub use toxiproxy::Toxiproxy;
