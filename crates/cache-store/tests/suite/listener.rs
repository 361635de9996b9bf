//! Follows a store and remembers what it was told.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use headwater_cache_store::{CacheStore, Notice, Space, StoreError};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::world::{WAIT_MAX, World};

pub(crate) const HEARD_EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Listener {
    name: &'static str,
    log: Arc<Mutex<Vec<(Instant, Notice)>>>,
    follows: JoinHandle<StoreError>,
    collects: JoinHandle<()>,
}

impl Listener {
    /// Follows what is at keys of these namespaces, and waits until it is told.
    pub(crate) async fn of(world: &World, spaces: &[&Space]) -> Self {
        let prefixes = spaces.iter().map(|space| space.prefix.clone()).collect();
        Self::to(world.name, &world.other, prefixes).await
    }

    pub(crate) async fn to(name: &'static str, store: &Arc<dyn CacheStore>, prefixes: Vec<Bytes>) -> Self {
        let (sender, mut receiver) = mpsc::channel(4);
        let store = Arc::clone(store);
        let follows = tokio::spawn(async move { store.follow(&prefixes, HEARD_EVERY, sender).await });
        let log = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&log);
        let collects = tokio::spawn(async move {
            while let Some(notice) = receiver.recv().await {
                told.lock().push((Instant::now(), notice));
            }
        });
        let listener = Self { name, log, follows, collects };
        listener.until("it begins", |log| !log.is_empty()).await;
        assert_eq!(listener.log.lock()[0].1, Notice::Begun, "{name}");
        listener
    }

    async fn until(&self, what: &str, is_so: impl Fn(&[(Instant, Notice)]) -> bool) {
        let began = Instant::now();
        while !is_so(&self.log.lock()) {
            if began.elapsed() > WAIT_MAX {
                let notices = self.notices();
                let last = &notices[notices.len().saturating_sub(10)..];
                panic!("{}: {what}: not told within {WAIT_MAX:?}, but {} notices: {last:?}", self.name, notices.len());
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Everything that was told, with when it was.
    pub(crate) fn notices(&self) -> Vec<(Instant, Notice)> {
        self.log.lock().clone()
    }

    /// Forgets what was told.
    pub(crate) fn clear(&self) {
        self.log.lock().clear();
    }

    /// Waits until everything before now was told.
    pub(crate) async fn heard(&self) {
        let now = Instant::now();
        self.until("it hears", |log| log.iter().any(|(_, notice)| matches!(notice, Notice::Heard(at) if *at >= now)))
            .await;
    }

    /// Whether it was told that this key, or everything, changed.
    pub(crate) fn is_told(&self, space: &Space, key: &str) -> bool {
        is_told(self.log.lock().iter().map(|(_, notice)| notice), &space.stored_key(key.as_bytes()))
    }

    /// Waits until it is told of a key, at that time or later.
    pub(crate) async fn hears_of(&self, space: &Space, key: &str, from: Instant) {
        let stored = space.stored_key(key.as_bytes());
        self.until(&format!("{key} changed"), |log| {
            is_told(log.iter().filter(|(told, _)| *told >= from).map(|(_, notice)| notice), &stored)
        })
        .await;
    }

    /// Ends the following, and gives why it ended.
    pub(crate) async fn leave(self) -> StoreError {
        self.collects.abort();
        tokio::time::timeout(WAIT_MAX, self.follows).await.expect("whom nobody hears ends").unwrap()
    }
}

fn is_told<'a>(mut notices: impl Iterator<Item = &'a Notice>, stored: &[u8]) -> bool {
    notices.any(|notice| match notice {
        Notice::Changed(keys) => keys.iter().any(|key| key == stored),
        Notice::Everything => true,
        Notice::Begun | Notice::Heard(_) => false,
    })
}
