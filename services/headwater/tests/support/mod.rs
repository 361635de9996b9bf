//! A process of the platform, as a test starts, asks and ends it.
#![allow(dead_code, reason = "every file of tests uses a part of it")]

pub(crate) mod calls;
pub(crate) mod parts;
pub(crate) mod process;
pub(crate) mod stage;

use std::future::Future;
use std::time::{Duration, Instant};

/// Pause between two looks at something that is awaited.
const POLL_EVERY: Duration = Duration::from_millis(25);

/// Looks until there is an answer, and fails with what was wrong last when that takes too long. Returns the answer.
pub(crate) async fn within<T, F>(limit: Duration, what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(problem) if began.elapsed() > limit => panic!("{what}: not within {limit:?}: {problem}"),
            Err(_) => tokio::time::sleep(POLL_EVERY).await,
        }
    }
}
