use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::redis::{AsyncConnectionConfig, Cmd, Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection, cmd};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    failure::Failure,
    router::Router,
    topology::{Address, Primary, primaries, text},
};
use crate::{Notice, StoreError};

/// Changed keys that wait for a slow receiver, at most: past them everything may have changed.
const WAITING_KEYS_MAX: usize = 65_536;

/// Follows every primary on a connection of its own.
///
/// Redis tells changes at the end of a turn of its loop, after the answers of that turn. So the answer to a ping does not
/// prove that what changed just before it was told; the answer to another one that is sent then does: it is of a later turn.
pub(super) async fn follow(
    router: &Router,
    prefixes: &[Bytes],
    heard_every: Duration,
    answer_within: Duration,
    notices: &mpsc::Sender<Notice>,
) -> StoreError {
    match Following::begin(router, prefixes, answer_within).await {
        Ok(following) => following.go_on(heard_every, notices).await,
        Err(error) => error,
    }
}

struct Following {
    told: Arc<Told>,
    links: Vec<Link>,
    /// What every node of a Cluster has to tell of its primaries.
    primaries: Option<Vec<Primary>>,
    /// Whether this user may not ask what a Redis by itself is.
    is_role_denied: AtomicBool,
    answer_within: Duration,
}

struct Link {
    connection: MultiplexedConnection,
    address: Address,
}

/// What the connections told and nobody has been told yet.
#[derive(Default)]
struct Told {
    news: Mutex<News>,
    is_there: Notify,
}

#[derive(Default)]
struct News {
    keys: Vec<Bytes>,
    is_everything: bool,
    is_lost: bool,
}

impl Following {
    async fn begin(router: &Router, prefixes: &[Bytes], answer_within: Duration) -> Result<Self, StoreError> {
        let view = router.view().await?;
        let topology = &view.topology;
        let primaries =
            if router.is_cluster() { Some(ask_primaries(router, &topology.primaries).await?) } else { None };
        let addresses: Vec<Address> = match &primaries {
            None => topology.primaries.clone(),
            Some(primaries) => primaries
                .iter()
                .map(|primary| topology.address_of(&primary.id).unwrap_or(&primary.address).clone())
                .collect(),
        };
        let told = Arc::new(Told::default());
        let links =
            addresses.into_iter().map(|address| connect(router, address, prefixes, answer_within, told.clone()));
        let is_role_denied = AtomicBool::new(false);
        let following = Self { links: try_join_all(links).await?, told, primaries, is_role_denied, answer_within };
        // Only what is so after every primary is followed is what is followed.
        following.hear().await?;
        Ok(following)
    }

    async fn go_on(&self, heard_every: Duration, notices: &mpsc::Sender<Notice>) -> StoreError {
        let ended = || StoreError::Unavailable("nobody listens".into());
        if notices.send(Notice::Begun).await.is_err() {
            return ended();
        }
        let mut ticks = interval(heard_every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let hear = async {
                ticks.tick().await;
                self.hear().await
            };
            tokio::pin!(hear);
            let heard = loop {
                tokio::select! {
                    biased;
                    () = self.told.is_there.notified() => {
                        if let Err(error) = self.tell(notices).await {
                            return error;
                        }
                    }
                    heard = &mut hear => break heard,
                    () = notices.closed() => return ended(),
                }
            };
            // What was told before the answers came stands in the list by now: it goes first.
            if let Err(error) = self.tell(notices).await {
                return error;
            }
            match heard {
                Ok(at) => {
                    if notices.send(Notice::Heard(at)).await.is_err() {
                        return ended();
                    }
                }
                Err(error) => return error,
            }
        }
    }

    /// Hands on what was told.
    async fn tell(&self, notices: &mpsc::Sender<Notice>) -> Result<(), StoreError> {
        let News { keys, is_everything, is_lost } = std::mem::take(&mut *self.told.news.lock());
        let notice = match (is_everything, keys.is_empty()) {
            (true, _) => Some(Notice::Everything),
            (false, false) => Some(Notice::Changed(keys)),
            (false, true) => None,
        };
        if let Some(notice) = notice
            && notices.send(notice).await.is_err()
        {
            return Err(StoreError::Unavailable("nobody listens".into()));
        }
        if is_lost { Err(StoreError::Unavailable("the connection was lost".into())) } else { Ok(()) }
    }

    /// Waits until every primary has told all that changed before this call, and sees that they are the same still. Gives
    /// the time of the call.
    async fn hear(&self) -> Result<Instant, StoreError> {
        let now = Instant::now();
        for result in join_all(self.links.iter().map(|link| self.hear_one(link))).await {
            result?;
        }
        Ok(now)
    }

    async fn hear_one(&self, link: &Link) -> Result<(), StoreError> {
        match &self.primaries {
            None => self.hear_role(link).await?,
            Some(expected) => {
                let answer = link.ask(cmd("CLUSTER").arg("NODES").take(), self.answer_within).await?;
                let seen = text(&answer).and_then(|nodes| primaries(&nodes, &link.address));
                if seen.as_ref() != Some(expected) {
                    return Err(StoreError::Unavailable("the cluster's primaries or their slots changed".into()));
                }
            }
        }
        link.ask(super::ping(), self.answer_within).await?;
        Ok(())
    }

    /// Sees that a Redis by itself is the primary still. One that was made a replica goes on answering, and tells changes
    /// only when it hears of them.
    async fn hear_role(&self, link: &Link) -> Result<(), StoreError> {
        if !self.is_role_denied.load(Ordering::Relaxed) {
            match link.ask(cmd("ROLE"), self.answer_within).await {
                Ok(role) if is_primary(&role) => return Ok(()),
                Ok(_) => return Err(StoreError::Unavailable("it is no primary any more".into())),
                Err(failure) if failure.is_denial() => self.is_role_denied.store(true, Ordering::Relaxed),
                Err(failure) => return Err(failure.into()),
            }
        }
        link.ask(super::ping(), self.answer_within).await?;
        Ok(())
    }
}

/// Whether this answer to `ROLE` is a primary's.
fn is_primary(role: &Value) -> bool {
    matches!(role, Value::Array(fields) if fields.first().and_then(text).as_deref() == Some("master"))
}

impl Link {
    async fn ask(&self, command: Cmd, answer_within: Duration) -> Result<Value, Failure> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        let mut connection = self.connection.clone();
        let answer = timeout(answer_within, connection.send_packed_commands(&pipeline, 0, 1)).await;
        let answer = answer.map_err(|_| {
            Failure::Away(format!("no answer within {} ms on the link that tells changes", answer_within.as_millis()))
        })?;
        match answer.map_err(|error| Failure::of_lost(&error))?.pop() {
            Some(Value::ServerError(error)) => Err(Failure::Answered(error)),
            answer => Ok(answer.unwrap_or(Value::Nil)),
        }
    }
}

impl Told {
    /// Called in the order in which Redis wrote, and before the answers that it wrote later are seen.
    fn take(&self, push: PushInfo) {
        let mut news = self.news.lock();
        match push.kind {
            PushKind::Invalidate => match push.data.into_iter().next() {
                Some(Value::Array(keys)) if !news.is_everything => {
                    news.keys.extend(keys.into_iter().filter_map(|key| match key {
                        Value::BulkString(key) => Some(Bytes::from(key)),
                        _ => None,
                    }));
                    if news.keys.len() > WAITING_KEYS_MAX {
                        news.is_everything = true;
                        news.keys = Vec::new();
                    }
                }
                Some(Value::Array(_)) => {}
                // All keys of a database were forgotten at once.
                _ => {
                    news.is_everything = true;
                    news.keys = Vec::new();
                }
            },
            PushKind::Disconnection => news.is_lost = true,
            _ => return,
        }
        drop(news);
        self.is_there.notify_one();
    }
}

async fn connect(
    router: &Router,
    address: Address,
    prefixes: &[Bytes],
    answer_within: Duration,
    told: Arc<Told>,
) -> Result<Link, StoreError> {
    let client = router.client(&address);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(router.connect_timeout()))
        .set_response_timeout(None)
        .set_push_sender(move |push: PushInfo| {
            told.take(push);
            Ok::<(), ()>(())
        });
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let connection = timeout(router.connect_timeout(), connecting)
        .await
        .map_err(|_| StoreError::Unavailable("no connection in time".into()))?
        .map_err(|error| StoreError::from(Failure::of_connecting(&error)))?;
    let link = Link { connection, address };
    let mut tracking = cmd("CLIENT");
    tracking.arg("TRACKING").arg("ON").arg("BCAST");
    if prefixes.iter().all(|prefix| !prefix.is_empty()) {
        for prefix in prefixes {
            tracking.arg("PREFIX").arg(&prefix[..]);
        }
    }
    link.ask(tracking, answer_within).await?;
    Ok(link)
}

/// Which primaries there are, by the first node that tells.
async fn ask_primaries(router: &Router, addresses: &[Address]) -> Result<Vec<Primary>, StoreError> {
    let mut last = Failure::Away("no node answers".into());
    for address in addresses {
        match router.on(address, vec![cmd("CLUSTER").arg("NODES").take()]).await {
            Ok(mut answer) => {
                let nodes = answer.pop().as_ref().and_then(text);
                if let Some(primaries) = nodes.and_then(|nodes| primaries(&nodes, address)) {
                    return Ok(primaries);
                }
            }
            Err(failure) => last = failure,
        }
    }
    Err(last.into())
}
