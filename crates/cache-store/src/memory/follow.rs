use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{
        Notify,
        mpsc::{self, error::SendError},
    },
    time::{Instant, sleep_until},
};

use super::{MemoryStore, STEPS_AT_ONCE_MAX};
use crate::{Notice, StoreError};

/// Keys that may wait to be told to one follower; with more it is told that everything changed.
const PENDING_KEYS_MAX: usize = 10_000;
/// Keys in one notice.
const NOTICE_KEYS_MAX: usize = 1_000;

/// Whoever is told of changes.
#[derive(Default)]
pub(super) struct Followers {
    followers: BTreeMap<u64, Follower>,
    count: u64,
}

struct Follower {
    prefixes: Vec<Bytes>,
    pending: Pending,
    wake: Arc<Notify>,
}

/// What a follower has not been told yet.
#[derive(Default)]
struct Pending {
    keys: BTreeSet<Bytes>,
    is_everything: bool,
}

impl Followers {
    /// Notes that the value at a key changed.
    pub(super) fn tell(&mut self, key: &Bytes) {
        for follower in self.followers.values_mut() {
            let pending = &mut follower.pending;
            if pending.is_everything || !follower.prefixes.iter().any(|prefix| key.starts_with(prefix)) {
                continue;
            }
            if pending.keys.len() == PENDING_KEYS_MAX && !pending.keys.contains(key) {
                *pending = Pending { keys: BTreeSet::new(), is_everything: true };
            } else {
                pending.keys.insert(key.clone());
            }
            follower.wake.notify_one();
        }
    }
}

/// One follower's place in the store, given up when dropped.
pub(super) struct Following<'a> {
    store: &'a MemoryStore,
    number: u64,
    wake: Arc<Notify>,
}

impl<'a> Following<'a> {
    pub(super) fn begin(store: &'a MemoryStore, prefixes: &[Bytes]) -> Self {
        let wake = Arc::new(Notify::new());
        let follower = Follower { prefixes: prefixes.to_vec(), pending: Pending::default(), wake: Arc::clone(&wake) };
        let number = store.with(|state| {
            state.followers.count += 1;
            state.followers.followers.insert(state.followers.count, follower);
            state.followers.count
        });
        Self { store, number, wake }
    }

    /// Tells until nobody listens any more.
    pub(super) async fn run(&self, heard_every: Duration, notices: &mpsc::Sender<Notice>) -> StoreError {
        // Sooner than was promised, so that a late timer does not break the promise.
        let Err(SendError(_)) = self.tell(heard_every * 3 / 4, notices).await;
        StoreError::Unavailable("nobody listens to its changes any more".into())
    }

    async fn tell(
        &self,
        heard_every: Duration,
        notices: &mpsc::Sender<Notice>,
    ) -> Result<Infallible, SendError<Notice>> {
        notices.send(Notice::Begun).await?;
        let mut heard_by = Instant::now();
        loop {
            let news = self.news();
            if news.pending.is_everything {
                notices.send(Notice::Everything).await?;
            }
            let mut keys = news.pending.keys.into_iter().peekable();
            while keys.peek().is_some() {
                notices.send(Notice::Changed(keys.by_ref().take(NOTICE_KEYS_MAX).collect())).await?;
            }
            if !news.is_all {
                continue;
            }
            if heard_by <= news.at {
                notices.send(Notice::Heard(news.at)).await?;
                heard_by = news.at + heard_every;
            }
            let next = news.next_end.map_or(heard_by, |end| end.min(heard_by));
            tokio::select! {
                () = notices.closed() => return Err(SendError(Notice::Begun)),
                () = self.wake.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// What is to be told: every change before a moment, where it is all.
    fn news(&self) -> News {
        let shared = &self.store.shared;
        let mut state = shared.state.lock();
        let at = Instant::now();
        let is_all = state.advance(shared.now_ms(at), STEPS_AT_ONCE_MAX);
        let next_end = state.next_end_ms().map(|at_ms| shared.instant(at_ms));
        let follower = state.followers.followers.get_mut(&self.number);
        let pending = follower.map(|follower| std::mem::take(&mut follower.pending)).unwrap_or_default();
        News { at, pending, is_all, next_end }
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.store.shared.state.lock().followers.followers.remove(&self.number);
    }
}

struct News {
    at: Instant,
    pending: Pending,
    is_all: bool,
    next_end: Option<Instant>,
}
