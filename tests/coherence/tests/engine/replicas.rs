//! Replicas of the cache in this process, each with a way of its own to one store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use headwater_cache::{
    Answer, Ask, Cache, CacheError, CacheOptions, Condition, Declared, Layer, LoadError, Loaded, Loader, OpAsk,
    Outcome, PolicyPatch, WriteAsk, Written, etag_of,
};
use headwater_cache_store::memory::{MemoryStore, MemoryStoreOptions};
use headwater_coherence::drive::{Key, Kind, Replicas};
use headwater_coherence::history::{self, Call, Ended, Line, Operation, Recorder};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::metrics::noop::NoopMeterProvider;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::link::{Link, Notices};

/// The namespace that is read through a loader.
pub(crate) const LOADED: &str = "loaded";
/// How long the right to fill a key holds.
const LEASE_MS: u64 = 300;
const NEGATIVE_TTL_MS: u64 = 40;

/// All replicas.
pub(crate) struct Engine {
    store: MemoryStore,
    pub(crate) is_store_paused: watch::Sender<bool>,
    slots: Vec<Slot>,
    recorder: Arc<Recorder>,
    rng: Mutex<Rng>,
}

struct Slot {
    notices: watch::Sender<Notices>,
    running: Mutex<Option<Running>>,
}

struct Running {
    cache: Cache,
    run: JoinHandle<()>,
    /// Whoever waits for an answer of it sees its end.
    lives: watch::Sender<()>,
}

impl Engine {
    /// Replicas that run.
    pub(crate) fn start(count: usize, recorder: &Arc<Recorder>, seed: u64) -> Self {
        let engine = Self {
            store: MemoryStore::new(MemoryStoreOptions::default()),
            is_store_paused: watch::Sender::new(false),
            slots: (0..count)
                .map(|_| Slot { notices: watch::Sender::new(Notices::Told), running: Mutex::new(None) })
                .collect(),
            recorder: Arc::clone(recorder),
            rng: Mutex::new(Rng::with_seed(seed)),
        };
        for number in 0..count {
            engine.start_one(number);
        }
        engine
    }

    /// A replica comes, with nothing in its memory.
    pub(crate) fn start_one(&self, number: usize) {
        let seed = || self.rng.lock().unwrap().u64(..);
        let slot = &self.slots[number];
        let link = Link::new(&self.store, &slot.notices, &self.is_store_paused, seed());
        let loader = SlowLoader {
            replica: self.name(number),
            recorder: Arc::clone(&self.recorder),
            rng: Mutex::new(Rng::with_seed(seed())),
        };
        let patch = PolicyPatch { ttl_ms: Some(0), negative_ttl_ms: Some(NEGATIVE_TTL_MS), ..PolicyPatch::default() };
        let declared = vec![
            Declared { patch: patch.clone(), ..Declared::new("default") },
            Declared { patch, loader: Some(Arc::new(loader)), ..Declared::new(LOADED) },
        ];
        let meter = NoopMeterProvider::new().meter("coherence");
        let cache = Cache::new(link, CacheOptions::default(), declared, &meter).unwrap();
        let runs = cache.clone();
        let run = tokio::spawn(async move { runs.run(|_: &str, _: Option<String>| {}).await });
        *slot.running.lock().unwrap() = Some(Running { cache, run, lives: watch::Sender::new(()) });
    }

    /// A replica ends in the middle of whatever it does; what it has sent is on its way.
    pub(crate) fn kill(&self, number: usize) {
        if let Some(running) = self.slots[number].running.lock().unwrap().take() {
            running.run.abort();
        }
    }

    pub(crate) fn set_notices(&self, number: usize, notices: Notices) {
        self.slots[number].notices.send_replace(notices);
    }
}

#[async_trait]
impl Replicas for Engine {
    fn count(&self) -> usize {
        self.slots.len()
    }

    fn name(&self, replica: usize) -> String {
        format!("replica-{}", replica + 1)
    }

    async fn ask(&self, replica: usize, key: &Key, call: &Call) -> Ended {
        let (cache, mut lives) = match &*self.slots[replica].running.lock().unwrap() {
            Some(running) => (running.cache.clone(), running.lives.subscribe()),
            None => return Ended::Failed { why: "nobody is there".into() },
        };
        tokio::select! {
            ended = answered(&cache, key, call) => ended,
            _ = lives.changed() => Ended::Unknown { why: "it was killed".into() },
        }
    }
}

async fn answered(cache: &Cache, key: &Key, call: &Call) -> Ended {
    let namespace = cache.namespace(&key.namespace).unwrap();
    let name = bytes(&key.name);
    let op = match call {
        Call::Get { no_cache, lease } => {
            let ask = Ask { no_cache: *no_cache, lease_ms: lease.then_some(LEASE_MS) };
            return match cache.get(&namespace, &name, &ask).await {
                Ok(answer) => read(answer),
                Err(error) => Ended::Failed { why: error.to_string() },
            };
        }
        Call::Set { value } => put(value, Condition::Any),
        Call::SetIf { value, condition, .. } => match condition {
            history::Condition::Absent => put(value, Condition::Absent),
            history::Condition::Present => put(value, Condition::Present),
            history::Condition::Value(of) => put(value, Condition::Etag(etag_of(of.as_bytes()))),
            history::Condition::Lease(token) => put(value, Condition::Lease(unhex(token))),
        },
        Call::Increment { delta } => OpAsk::Add { delta: *delta, initial: 0, ttl_ms: None },
        Call::Delete => OpAsk::Delete,
        Call::Load { .. } => unreachable!("no client asks for it"),
    };
    let written = cache.write(&namespace, vec![WriteAsk { key: name, op }]).await.pop().unwrap();
    match written {
        Ok(Written::Done(done)) => Ended::Wrote { is_done: true, existed: Some(done.existed), sum: done.number },
        Err(CacheError::NotMet { .. }) => Ended::Wrote { is_done: false, existed: None, sum: None },
        Err(CacheError::Unavailable(why)) => Ended::Unknown { why },
        other => Ended::Failed { why: format!("{other:?}") },
    }
}

fn put(value: &str, condition: Condition) -> OpAsk {
    OpAsk::Put { value: bytes(value), ttl_ms: None, condition }
}

fn read(answer: Answer) -> Ended {
    Ended::Read {
        value: answer.value.map(|value| String::from_utf8(value.to_vec()).unwrap()),
        layer: match answer.layer {
            Layer::L1 => history::Layer::L1,
            Layer::L2 => history::Layer::L2,
            Layer::Loader => history::Layer::Loader,
        },
        is_stale: answer.outcome == Outcome::Stale,
        is_collapsed: answer.is_collapsed,
        lease: answer.lease.map(|lease| lease.iter().map(|byte| format!("{byte:02x}")).collect()),
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A loader that takes its value first, and its time then.
struct SlowLoader {
    replica: String,
    recorder: Arc<Recorder>,
    rng: Mutex<Rng>,
}

#[async_trait]
impl Loader for SlowLoader {
    async fn load(&self, key: &[u8]) -> Result<Option<Loaded>, LoadError> {
        let (value, takes, how) = {
            let mut rng = self.rng.lock().unwrap();
            let takes_ms = if rng.u32(..4) == 0 { rng.u64(..600) } else { rng.u64(..20) };
            (format!("load-{:016x}", rng.u64(..)), Duration::from_millis(takes_ms), rng.u32(..100))
        };
        let now_us = self.recorder.now_us();
        if how >= 12 {
            let operation = Operation {
                client: "loader".into(),
                replica: self.replica.clone(),
                namespace: LOADED.into(),
                key: String::from_utf8(key.to_vec()).unwrap(),
                call: Call::Load { value: value.clone() },
                ended: Ended::Unknown { why: "whether it is kept nobody says".into() },
                invoked_at_us: now_us,
                returned_at_us: now_us,
            };
            self.recorder.add(&Line::Operation(operation)).unwrap();
        }
        tokio::time::sleep(takes).await;
        match how {
            0..4 => Err(LoadError("it fails now and then".into())),
            4..12 => Ok(None),
            _ => Ok(Some(Loaded { value: bytes(&value), ttl_ms: None })),
        }
    }
}

/// The keys that clients share.
pub(crate) fn keys() -> Vec<Key> {
    let key = |namespace: &str, name: &str, kind| Key { namespace: namespace.into(), name: name.into(), kind };
    vec![
        key("default", "text-1", Kind::Text),
        key(LOADED, "loaded-1", Kind::Loaded),
        key("default", "number", Kind::Number),
        key("default", "text-2", Kind::Text),
        key(LOADED, "loaded-2", Kind::Loaded),
    ]
}
