//! CacheService as its callers see it, over gRPC and HTTP: on the store in memory, on real Redis, and on a Cluster.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bad_input;
mod cluster;
mod http;
mod limits;
mod methods;
mod namespaces;
mod outages;
mod queued;
mod stage;
mod watching;

/// Makes a test of each scenario on each store that is there at once, and a list of them for one that has to be started.
macro_rules! on_every_store {
    ($($scenario:ident),+ $(,)?) => {
        /// Every scenario of this file, each on a service of its own.
        pub(crate) async fn each(mut start: impl AsyncFnMut() -> crate::stage::Stage) {
            $(
                eprintln!("{}", stringify!($scenario));
                $scenario(start().await).await;
            )+
        }
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario(crate::stage::Stage::memory().await).await;
            })+
        }
        mod on_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario(crate::stage::Stage::redis().await).await;
            })+
        }
    };
}
use on_every_store;
