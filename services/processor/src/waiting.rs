//! Calls of outside systems: an outage is waited out, and told while it lasts.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use headwater_event_log::{EventLogError, RegistryError};
use headwater_history::HistoryError;
use headwater_live::LiveError;
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::assignment::Shared;

const RETRY_MIN: Duration = Duration::from_millis(50);
/// A call that has had no answer for so long is told, though its own time-out may be far away.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// How many tasks wait for each system.
#[derive(Default)]
pub(crate) struct Waiting {
    tasks: Mutex<BTreeMap<&'static str, usize>>,
}

/// A task that calls a system; what it told is taken back when it ends, however that is.
struct Call<'a> {
    shared: &'a Shared,
    system: &'static str,
    has_told: bool,
}

impl Shared {
    /// Calls the event log until it is not away.
    pub(crate) async fn log<T, F>(&self, call: impl FnMut() -> F) -> Result<T, EventLogError>
    where
        F: Future<Output = Result<T, EventLogError>>,
    {
        let away = |error: &EventLogError| matches!(error, EventLogError::Unavailable(_) | EventLogError::QueueFull);
        self.until_back("event log", call, away).await
    }

    /// Calls the registry until it is not away.
    pub(crate) async fn registry<T, F>(&self, call: impl FnMut() -> F) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        self.until_back("schema registry", call, |error| matches!(error, RegistryError::Unavailable(_))).await
    }

    /// Calls the history until it is not away.
    pub(crate) async fn history<T, F>(&self, call: impl FnMut() -> F) -> Result<T, HistoryError>
    where
        F: Future<Output = Result<T, HistoryError>>,
    {
        self.until_back("history", call, |error| matches!(error, HistoryError::Unavailable(_))).await
    }

    /// Calls live statistics until they are not away.
    pub(crate) async fn live<T, F>(&self, call: impl FnMut() -> F) -> Result<T, LiveError>
    where
        F: Future<Output = Result<T, LiveError>>,
    {
        self.until_back("live statistics", call, |error| matches!(error, LiveError::Unavailable(_))).await
    }

    async fn until_back<T, E: Display, F>(
        &self,
        system: &'static str,
        call: impl FnMut() -> F,
        away: impl Fn(&E) -> bool,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(RETRY_MIN)
            .with_max_delay(self.options.retry_max)
            .with_jitter()
            .without_max_times();
        let told = Mutex::new(Call { shared: self, system, has_told: false });
        let tries = call.retry(pauses).when(|error| away(error)).notify(|error, _| {
            told.lock().tell(&error.to_string());
            self.metrics.retried(system);
        });
        let mut tries = pin!(tries);
        // As a rule the answer is known, and no timer is needed: every record comes by here.
        if let Poll::Ready(result) = futures::poll!(tries.as_mut()) {
            return result;
        }
        tokio::select! {
            biased;
            result = &mut tries => return result,
            () = tokio::time::sleep(SLOW_AFTER) => {
                let mut told = told.lock();
                if !told.has_told {
                    told.tell(&format!("no answer for {} s", SLOW_AFTER.as_secs()));
                }
            }
        }
        tries.await
    }
}

impl Call<'_> {
    fn tell(&mut self, error: &str) {
        if !self.has_told {
            self.has_told = true;
            let mut tasks = self.shared.waiting.tasks.lock();
            let waiting = tasks.entry(self.system).or_default();
            *waiting += 1;
            if *waiting == 1 {
                warn!(system = self.system, error, "away: waiting for it");
            }
        }
        (self.shared.conditions)(&condition(self.system), Some(error.to_owned()));
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.has_told {
            return;
        }
        let mut tasks = self.shared.waiting.tasks.lock();
        let waiting = tasks.entry(self.system).or_default();
        *waiting = waiting.saturating_sub(1);
        if *waiting == 0 {
            info!(system = self.system, "back");
            // Under the lock, so that nobody who waits anew is told of before.
            (self.shared.conditions)(&condition(self.system), None);
        }
    }
}

fn condition(system: &str) -> String {
    format!("processor: {system}")
}
