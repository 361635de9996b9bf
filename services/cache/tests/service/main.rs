//! CacheService as its callers see it, over gRPC and HTTP: on the store in memory and on real Redis.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bad_input;
mod http;
mod limits;
mod methods;
mod namespaces;
mod outages;
mod queued;
mod stage;
mod watching;

/// Makes a test of each scenario on each store.
macro_rules! on_every_store {
    ($($scenario:ident),+ $(,)?) => {
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
