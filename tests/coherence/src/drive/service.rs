use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use headwater_client::v1::cache::cache_service_client::CacheServiceClient;
use headwater_client::v1::cache::condition::Condition as Asked;
use headwater_client::v1::cache::{
    Condition, DeleteRequest, GetNamespaceRequest, GetRequest, GetResponse, IncrementRequest, Layer, Outcome,
    SetIfRequest, SetRequest, Written,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::direct::Direct;
use super::{Key, Replicas};
use crate::history::{self, Call, DIRECT, Ended};

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long the right to fill a key holds, in milliseconds.
const LEASE_MS: i64 = 400;

type Client = CacheServiceClient<Channel>;

/// The cache's replicas over gRPC; after the last of them the store itself, without the cache, where it can be reached.
pub struct Service {
    replicas: Vec<Client>,
    direct: Option<Direct>,
    /// What stands for values, as the cache said.
    etags: Mutex<HashMap<String, Bytes>>,
}

impl Service {
    /// Clients of replicas at these endpoints (`http://host:port`), and of the Redis at this URL. Nothing is connected yet.
    ///
    /// # Errors
    /// Where an endpoint is none.
    pub fn new(endpoints: &[String], redis_url: Option<&str>) -> Result<Self> {
        let client = |endpoint: &String| {
            let endpoint = Endpoint::from_shared(endpoint.clone()).with_context(|| endpoint.clone())?;
            anyhow::Ok(Client::new(endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true).connect_lazy()))
        };
        let replicas = endpoints.iter().map(client).collect::<Result<_>>()?;
        let direct = redis_url.map(Direct::new).transpose()?;
        Ok(Self { replicas, direct, etags: Mutex::default() })
    }

    /// Learns from a replica where a namespace's keys lie in the store.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn learn_prefix(&mut self, namespace: &str) -> Result<()> {
        let request = GetNamespaceRequest { name: namespace.to_owned() };
        let mut client = self.replicas.first().context("no replica")?.clone();
        let namespace = client.get_namespace(request).await?.into_inner().namespace.context("no namespace")?;
        if let Some(direct) = &mut self.direct {
            direct.set_prefix(&namespace.store_prefix);
        }
        Ok(())
    }

    async fn answered(&self, mut client: Client, key: &Key, call: &Call) -> Result<Ended, Status> {
        let (namespace, name) = (key.namespace.clone(), bytes(&key.name));
        match call {
            Call::Get { no_cache, lease } => {
                let (no_cache, lease) = (*no_cache, *lease);
                let lease_ms = if lease { LEASE_MS } else { 0 };
                let request = GetRequest { namespace, key: name, no_cache, lease, lease_ms, etag: true };
                let answer = client.get(request).await?.into_inner();
                if let Some(value) = &answer.value {
                    self.remember(&text(value), &answer.etag);
                }
                Ok(read(answer))
            }
            Call::Set { value } => {
                let request = SetRequest { namespace, key: name, value: bytes(value), ttl_ms: None };
                let written = client.set(request).await?.into_inner().written;
                Ok(self.wrote(Some(value), written, None))
            }
            Call::SetIf { value, condition, .. } => {
                let condition = match condition {
                    history::Condition::Absent => Asked::Absent(true),
                    history::Condition::Present => Asked::Absent(false),
                    history::Condition::Value(of) => match self.etag(of) {
                        Some(etag) => Asked::Etag(etag),
                        None => return Ok(Ended::Failed { why: "nobody told the value's etag".to_owned() }),
                    },
                    history::Condition::Lease(token) => Asked::Lease(unhex(token)),
                };
                let condition = Some(Condition { condition: Some(condition) });
                let request = SetIfRequest { namespace, key: name, value: bytes(value), ttl_ms: None, condition };
                let answer = client.set_if(request).await?.into_inner();
                match answer.met {
                    true => Ok(self.wrote(Some(value), answer.written, None)),
                    false => Ok(Ended::Wrote { is_done: false, existed: None, sum: None }),
                }
            }
            Call::Increment { delta } => {
                let request = IncrementRequest { namespace, key: name, delta: *delta, initial: 0, ttl_ms: None };
                let answer = client.increment(request).await?.into_inner();
                Ok(self.wrote(None, answer.written, Some(answer.value)))
            }
            Call::Delete => {
                let answer = client.delete(DeleteRequest { namespace, key: name }).await?.into_inner();
                Ok(Ended::Wrote { is_done: true, existed: Some(answer.found), sum: None })
            }
            Call::Load { .. } => Ok(Ended::Failed { why: "no client asks for it".to_owned() }),
        }
    }

    fn wrote(&self, value: Option<&str>, written: Option<Written>, sum: Option<i64>) -> Ended {
        let Some(written) = written else { return Ended::Unknown { why: "nothing is said of the write".to_owned() } };
        if let Some(value) = value {
            self.remember(value, &written.etag);
        }
        Ended::Wrote { is_done: true, existed: Some(written.replaced), sum }
    }

    fn remember(&self, value: &str, etag: &Bytes) {
        self.etags.lock().unwrap_or_else(PoisonError::into_inner).insert(value.to_owned(), etag.clone());
    }

    fn etag(&self, value: &str) -> Option<Bytes> {
        self.etags.lock().unwrap_or_else(PoisonError::into_inner).get(value).cloned()
    }
}

#[async_trait]
impl Replicas for Service {
    fn count(&self) -> usize {
        self.replicas.len() + usize::from(self.direct.is_some())
    }

    fn name(&self, replica: usize) -> String {
        if replica < self.replicas.len() { format!("replica-{}", replica + 1) } else { DIRECT.to_owned() }
    }

    fn can(&self, replica: usize, call: &Call) -> bool {
        replica < self.replicas.len() || self.direct.as_ref().is_some_and(|direct| direct.can(call))
    }

    async fn ask(&self, replica: usize, key: &Key, call: &Call) -> Ended {
        match (self.replicas.get(replica), &self.direct) {
            (Some(client), _) => match self.answered(client.clone(), key, call).await {
                Ok(ended) => ended,
                Err(status) => failed(&status),
            },
            (None, Some(direct)) => direct.ask(key, call).await,
            (None, None) => Ended::Failed { why: "there is no such replica".to_owned() },
        }
    }
}

/// What is known of a call that failed.
fn failed(status: &Status) -> Ended {
    let why = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition => {
            Ended::Failed { why }
        }
        Code::ResourceExhausted | Code::OutOfRange | Code::Unauthenticated => Ended::Failed { why },
        _ if never_sent(status) => Ended::Failed { why: "nobody is there".to_owned() },
        _ => Ended::Unknown { why },
    }
}

/// Whether there was not even a connection.
fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.to_string().contains("tcp connect error") {
            return true;
        }
        source = error.source();
    }
    false
}

fn read(answer: GetResponse) -> Ended {
    let status = answer.status.unwrap_or_default();
    Ended::Read {
        value: answer.value.map(|value| text(&value)),
        layer: match status.layer() {
            Layer::L1 => history::Layer::L1,
            Layer::Loader => history::Layer::Loader,
            Layer::L2 | Layer::Unspecified => history::Layer::L2,
        },
        is_stale: status.outcome() == Outcome::Stale,
        is_collapsed: status.collapsed,
        lease: (!answer.lease.is_empty()).then(|| answer.lease.iter().map(|byte| format!("{byte:02x}")).collect()),
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).filter_map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
