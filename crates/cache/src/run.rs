//! What runs beside the calls: noticing changes, telling ranks, applying queues, following other replicas' namespaces.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use headwater_cache_store::{Notice, StoreError};
use headwater_planted::Bug;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::cache::Cache;

/// Notices at most that wait to be taken in; a slow taker slows the store's link down.
const NOTICES_MAX: usize = 1024;
/// Wait before the store is followed anew, at first and at most.
const FOLLOW_RETRY: Duration = Duration::from_millis(20);
const FOLLOW_RETRY_MAX: Duration = Duration::from_secs(1);
/// How often the store is asked what it says of itself.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How soon again while it does not answer, or calls or the link say that it may not.
const CHECK_RETRY: Duration = Duration::from_secs(1);
/// Least time between two looks.
const CHECK_GAP: Duration = Duration::from_millis(200);

/// What [`Cache::run`] tells of: name of a part, and why it is not as it should be; none where it is.
pub trait Tell: Fn(&str, Option<String>) + Send + Sync {}

impl<T: Fn(&str, Option<String>) + Send + Sync> Tell for T {}

impl Cache {
    /// Runs until it is dropped. `tell` is told of the parts `store` (whether it answers), `store's state` (whether it is as
    /// the cache needs it) and `link` (whether it tells of changes: without it nothing is a hit of L1).
    pub async fn run(&self, tell: impl Tell) {
        let lost_link = Notify::new();
        tokio::join!(
            self.notice_changes(&tell, &lost_link),
            self.tell_ranks(),
            self.apply_queues(),
            self.follow_namespaces(),
            self.look_after_store(&tell, &lost_link),
        );
    }

    async fn notice_changes(&self, tell: &impl Tell, lost_link: &Notify) {
        let mut retry = FOLLOW_RETRY;
        let prefixes = self.namespaces().prefixes();
        loop {
            let (notices, mut heard) = mpsc::channel(NOTICES_MAX);
            let mut is_told = false;
            let taking = async {
                while let Some(notice) = heard.recv().await {
                    if let Notice::Heard(_) = notice
                        && !is_told
                    {
                        is_told = true;
                        tell("link", None);
                    }
                    self.notice(notice);
                }
            };
            let following = self.store().follow(&prefixes, self.options().heard_every, notices);
            let (error, ()): (StoreError, ()) = tokio::join!(following, taking);
            self.coherence().begin_epoch();
            tell("link", Some(error.to_string()));
            lost_link.notify_one();
            retry = if is_told { FOLLOW_RETRY } else { (retry * 2).min(FOLLOW_RETRY_MAX) };
            sleep(retry).await;
        }
    }

    fn notice(&self, notice: Notice) {
        match notice {
            Notice::Begun => {
                self.coherence().begin_epoch();
                self.watches().missed(None, "the store is followed anew");
            }
            Notice::Everything => {
                for namespace in self.namespaces().all() {
                    namespace.l1.clear();
                }
                self.watches().missed(None, "everything in the store may have changed");
            }
            Notice::Changed(keys) => {
                for stored_key in keys {
                    for (namespace, key) in self.namespaces().at(&stored_key) {
                        if !headwater_planted::is(Bug::NoticeIgnored) {
                            namespace.l1.changed(&key);
                        }
                        if let Some(lag) = self.lag().noticed(&namespace.space.prefix, &key) {
                            self.measures().invalidation_lag_s.record(lag.as_secs_f64(), &[]);
                        }
                        self.watches().changed(&namespace.info.name, &key);
                    }
                }
            }
            Notice::Heard(at) => self.coherence().heard(at),
        }
    }

    async fn tell_ranks(&self) {
        let mut ticks = interval(self.options().ranks_flush_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for namespace in self.namespaces().all() {
                let reads = namespace.ranks.take();
                if !reads.is_empty() && self.guarded(self.store().raise(&namespace.space, &reads)).await.is_err() {
                    // They wait for the next time, as far as there is room.
                    for (key, count) in reads {
                        if !namespace.ranks.add(&key, count) {
                            namespace.counts.ranks_dropped.add(count);
                        }
                    }
                }
            }
        }
    }

    async fn follow_namespaces(&self) {
        let mut ticks = interval(self.options().namespaces_refresh);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.refresh_namespaces().await {
                tracing::debug!(%error, "namespaces of other replicas are not known");
            }
        }
    }

    async fn look_after_store(&self, tell: &impl Tell, lost_link: &Notify) {
        let mut told: HashSet<String> = HashSet::new();
        loop {
            let pause = match self.store().check().await {
                Ok(info) => {
                    if self.durability() != info.durability {
                        tracing::info!(durability = info.durability, "the cache's store");
                        self.set_durability(info.durability);
                    }
                    for doubt in &info.doubts {
                        if told.insert(doubt.clone()) {
                            tracing::warn!("{doubt}");
                        }
                    }
                    tell("store", None);
                    tell("store's state", Some(info.doubts.join("; ")).filter(|doubts| !doubts.is_empty()));
                    CHECK_EVERY
                }
                Err(error) => {
                    tell("store", Some(error.to_string()));
                    CHECK_RETRY
                }
            };
            self.pause_looking(pause, lost_link).await;
        }
    }

    /// Waits so long, or until calls or the link say that the store may be away.
    async fn pause_looking(&self, pause: Duration, lost_link: &Notify) {
        let until = Instant::now() + pause;
        sleep(CHECK_GAP).await;
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                () = lost_link.notified() => return,
                () = sleep(CHECK_RETRY) => {
                    if self.is_store_away() {
                        return;
                    }
                }
            }
        }
    }

    /// Takes over the namespaces that the store has; gives back to it what it lost.
    pub(crate) async fn refresh_namespaces(&self) -> Result<(), crate::CacheError> {
        let stored = self.guarded(self.store().namespaces()).await?;
        let (changed, lost) = self.namespaces().follow(stored);
        for name in changed {
            self.watches().missed(Some(&name), "the namespace changed");
        }
        for namespace in lost {
            self.save_again(&Arc::clone(&namespace)).await?;
        }
        self.shrink().await
    }
}
