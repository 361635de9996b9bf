//! One read of a key, however many ask for it.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::error::CacheError;

/// How a read ended.
#[derive(Clone, Debug)]
pub(crate) struct Landed {
    pub(crate) answer: Result<Answer, CacheError>,
    /// Whether it answers everybody who waited: a value that was loaded meanwhile, one that is stale anyway, a failure.
    pub(crate) is_for_all: bool,
    /// Until when it may be served, where that ends before the read does.
    pub(crate) until: Option<Instant>,
}

impl Landed {
    fn holds(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// A read under way. It lives in a task of its own, so that no caller's end ends it.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Its place among all beginnings of this process: it answers those who asked before.
    began: u64,
    /// What has changed since may not have been noticed: when it began, and the coherence's epoch then.
    pub(crate) began_at: Instant,
    pub(crate) epoch: u64,
    landed: watch::Receiver<Option<Landed>>,
}

/// Tells those who wait how it ended.
pub(crate) type Tell = watch::Sender<Option<Landed>>;

impl Flight {
    pub(crate) fn new(began: u64, began_at: Instant, epoch: u64) -> (Arc<Self>, Tell) {
        let (tell, landed) = watch::channel(None);
        (Arc::new(Self { began, began_at, epoch, landed }), tell)
    }

    /// Whether somebody who asks now may wait for it.
    pub(crate) fn may_be_joined(&self) -> bool {
        self.landed.borrow().as_ref().is_none_or(|landed| landed.is_for_all)
    }

    /// Waits for the end. None where it does not answer somebody who asked at `asked`: what it read may be older than a
    /// write that had ended by then. Another read answers then, which begins later and so answers all who wait.
    pub(crate) async fn landed(&self, asked: u64) -> Option<Result<Answer, CacheError>> {
        let mut landed = self.landed.clone();
        let end = landed.wait_for(|landed| landed.as_ref().is_some_and(Landed::holds)).await.ok()?.clone();
        end.filter(|end| end.is_for_all || self.began >= asked).map(|end| end.answer)
    }
}
