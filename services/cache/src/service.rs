use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_cache::{Ask, Cache, CacheError, Condition, Namespace, OpAsk, WriteAsk, Written};
use headwater_contracts::v1::cache as proto;
use headwater_contracts::v1::cache::cache_service_server::CacheService;
use headwater_serving::{Deadline, Problem};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::problems::problem;
use crate::{answers, watch};

/// How long a lease holds where the call does not say, in milliseconds.
const LEASE_DEFAULT_MS: u64 = 10_000;
/// What is left of a deadline for the answer itself, where a call waits for a queued write.
const ANSWER_TIME: Duration = Duration::from_millis(50);
/// How long a queued write is waited for at most where the call has no deadline.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The bounds of a call. Each is a setting of the cache by the same name.
#[derive(Clone, Copy, Debug)]
pub struct CacheFrontOptions {
    /// Keys of a batch at most.
    pub batch_keys_max: usize,
    /// Bytes of the values that a BatchGet answers with at most.
    pub batch_bytes_max: usize,
    /// Keys that a Watch may name at most.
    pub watch_keys_max: usize,
}

/// CacheService. Clones share it.
#[derive(Clone)]
pub struct CacheFront {
    pub(crate) cache: Cache,
    pub(crate) options: CacheFrontOptions,
    pub(crate) drain: CancellationToken,
}

impl CacheFront {
    /// The service over a cache; watches end when `drain` is cancelled.
    pub fn new(cache: Cache, options: CacheFrontOptions, drain: CancellationToken) -> Self {
        Self { cache, options, drain }
    }

    fn namespace(&self, name: &str) -> Result<Arc<Namespace>, Problem> {
        self.cache.namespace(name).map_err(problem)
    }

    /// Does one write.
    async fn write(&self, namespace: &str, key: Bytes, op: OpAsk) -> Result<Result<Written, CacheError>, Problem> {
        let namespace = self.namespace(namespace)?;
        let results = self.cache.write(&namespace, vec![WriteAsk { key, op }]).await;
        Ok(results.into_iter().next().unwrap_or_else(|| Err(CacheError::Internal("a write has no result".into()))))
    }

    /// Whether a batch is neither empty nor too large.
    fn check_batch(&self, field: &str, keys: usize) -> Result<(), Problem> {
        let most = self.options.batch_keys_max;
        if (1..=most).contains(&keys) {
            return Ok(());
        }
        let rule = if keys == 0 { "repeated.min_items" } else { "repeated.max_items" };
        Err(Problem::invalid_request(field, rule, format!("has {keys}, must have 1 to {most} (cache.batch_keys_max)")))
    }
}

#[tonic::async_trait]
impl CacheService for CacheFront {
    type WatchStream = watch::Answers;

    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<proto::GetResponse>, Status> {
        let asked = request.into_inner();
        let namespace = self.namespace(&asked.namespace)?;
        let lease_ms = match (asked.lease, u64::try_from(asked.lease_ms)) {
            (false, _) => None,
            (true, Ok(0)) => Some(LEASE_DEFAULT_MS),
            (true, Ok(lease_ms)) => Some(lease_ms),
            (true, Err(_)) => {
                let expected = format!("is {}, must be 0 or more", asked.lease_ms);
                return Err(Problem::invalid_request("lease_ms", "int64.gte", expected).into());
            }
        };
        let ask = Ask { no_cache: asked.no_cache, lease_ms };
        let answer = self.cache.get(&namespace, &asked.key, &ask).await.map_err(problem)?;
        Ok(Response::new(answers::get(answer, asked.etag)))
    }

    async fn batch_get(
        &self,
        request: Request<proto::BatchGetRequest>,
    ) -> Result<Response<proto::BatchGetResponse>, Status> {
        let asked = request.into_inner();
        let namespace = self.namespace(&asked.namespace)?;
        self.check_batch("keys", asked.keys.len())?;
        let results = self.cache.batch_get(&namespace, &asked.keys, asked.no_cache).await;
        let results = answers::get_results(results, asked.etag, self.options.batch_bytes_max);
        Ok(Response::new(proto::BatchGetResponse { results }))
    }

    async fn set(&self, request: Request<proto::SetRequest>) -> Result<Response<proto::SetResponse>, Status> {
        let asked = request.into_inner();
        let op = OpAsk::Put { value: asked.value, ttl_ms: asked.ttl_ms, condition: Condition::Any };
        let written = self.write(&asked.namespace, asked.key, op).await?.map_err(problem)?;
        Ok(Response::new(proto::SetResponse { written: Some(answers::written(&written)) }))
    }

    async fn batch_set(
        &self,
        request: Request<proto::BatchSetRequest>,
    ) -> Result<Response<proto::BatchSetResponse>, Status> {
        let asked = request.into_inner();
        let namespace = self.namespace(&asked.namespace)?;
        self.check_batch("items", asked.items.len())?;
        let put = |item: proto::BatchSetItem| WriteAsk {
            key: item.key,
            op: OpAsk::Put { value: item.value, ttl_ms: item.ttl_ms, condition: Condition::Any },
        };
        let results = self.cache.write(&namespace, asked.items.into_iter().map(put).collect()).await;
        let results = results.into_iter().map(answers::set_result).collect();
        Ok(Response::new(proto::BatchSetResponse { results }))
    }

    async fn set_if(&self, request: Request<proto::SetIfRequest>) -> Result<Response<proto::SetIfResponse>, Status> {
        let asked = request.into_inner();
        let condition = condition(asked.condition)?;
        let op = OpAsk::Put { value: asked.value, ttl_ms: asked.ttl_ms, condition };
        let response = match self.write(&asked.namespace, asked.key, op).await? {
            Ok(written) => proto::SetIfResponse {
                met: matches!(written, Written::Done(_)),
                written: Some(answers::written(&written)),
                current_etag: Bytes::new(),
            },
            Err(CacheError::NotMet { current }) => proto::SetIfResponse {
                met: false,
                written: Some(proto::Written::default()),
                current_etag: current.map(|etag| Bytes::copy_from_slice(&etag)).unwrap_or_default(),
            },
            Err(error) => return Err(problem(error).into()),
        };
        Ok(Response::new(response))
    }

    async fn increment(
        &self,
        request: Request<proto::IncrementRequest>,
    ) -> Result<Response<proto::IncrementResponse>, Status> {
        let asked = request.into_inner();
        let op = OpAsk::Add { delta: asked.delta, initial: asked.initial, ttl_ms: asked.ttl_ms };
        let written = self.write(&asked.namespace, asked.key, op).await?.map_err(problem)?;
        let value = answers::number(&written);
        Ok(Response::new(proto::IncrementResponse { value, written: Some(answers::written(&written)) }))
    }

    async fn touch(&self, request: Request<proto::TouchRequest>) -> Result<Response<proto::TouchResponse>, Status> {
        let asked = request.into_inner();
        let op = OpAsk::Touch { ttl_ms: asked.ttl_ms };
        let written = self.write(&asked.namespace, asked.key, op).await?.map_err(problem)?;
        let found = answers::existed(&written);
        Ok(Response::new(proto::TouchResponse { found, written: Some(answers::written(&written)) }))
    }

    async fn delete(&self, request: Request<proto::DeleteRequest>) -> Result<Response<proto::DeleteResponse>, Status> {
        let asked = request.into_inner();
        let written = self.write(&asked.namespace, asked.key, OpAsk::Delete).await?.map_err(problem)?;
        let found = answers::existed(&written);
        Ok(Response::new(proto::DeleteResponse { found, written: Some(answers::written(&written)) }))
    }

    async fn batch_delete(
        &self,
        request: Request<proto::BatchDeleteRequest>,
    ) -> Result<Response<proto::BatchDeleteResponse>, Status> {
        let asked = request.into_inner();
        let namespace = self.namespace(&asked.namespace)?;
        self.check_batch("keys", asked.keys.len())?;
        let delete = |key| WriteAsk { key, op: OpAsk::Delete };
        let results = self.cache.write(&namespace, asked.keys.into_iter().map(delete).collect()).await;
        let results = results.into_iter().map(answers::delete_result).collect();
        Ok(Response::new(proto::BatchDeleteResponse { results }))
    }

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(self.answer_watch(request.into_inner())?))
    }

    async fn get_write(
        &self,
        request: Request<proto::GetWriteRequest>,
    ) -> Result<Response<proto::GetWriteResponse>, Status> {
        let deadline = Deadline::of(&request).map_or_else(|| Instant::now() + WAIT_MAX, |deadline| deadline.0.into());
        let asked = request.into_inner();
        let namespace = self.namespace(&asked.namespace)?;
        if asked.write_id.is_empty() {
            let problem =
                Problem::invalid_request("write_id", "string.min_len", "name the write that Set answered with");
            return Err(problem.into());
        }
        let wait = match asked.wait {
            None => Duration::ZERO,
            Some(wait) => Duration::try_from(wait)
                .map_err(|_| Problem::invalid_request("wait", "duration.gte", "must be 0 or more"))?,
        };
        let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(ANSWER_TIME);
        let state = self.cache.queued(&namespace, &asked.write_id, wait.min(left)).await.map_err(problem)?;
        Ok(Response::new(answers::queued(state)))
    }

    async fn create_namespace(
        &self,
        request: Request<proto::CreateNamespaceRequest>,
    ) -> Result<Response<proto::CreateNamespaceResponse>, Status> {
        Ok(Response::new(self.answer_create(request.into_inner()).await?))
    }

    async fn get_namespace(
        &self,
        request: Request<proto::GetNamespaceRequest>,
    ) -> Result<Response<proto::GetNamespaceResponse>, Status> {
        Ok(Response::new(self.answer_get_namespace(request.into_inner()).await?))
    }

    async fn list_namespaces(
        &self,
        request: Request<proto::ListNamespacesRequest>,
    ) -> Result<Response<proto::ListNamespacesResponse>, Status> {
        Ok(Response::new(self.answer_list(&request.into_inner())?))
    }

    async fn update_namespace(
        &self,
        request: Request<proto::UpdateNamespaceRequest>,
    ) -> Result<Response<proto::UpdateNamespaceResponse>, Status> {
        Ok(Response::new(self.answer_update(request.into_inner()).await?))
    }

    async fn flush_namespace(
        &self,
        request: Request<proto::FlushNamespaceRequest>,
    ) -> Result<Response<proto::FlushNamespaceResponse>, Status> {
        Ok(Response::new(self.answer_flush(request.into_inner()).await?))
    }
}

/// The condition that was asked for.
fn condition(asked: Option<proto::Condition>) -> Result<Condition, Problem> {
    use proto::condition::Condition as Kind;
    match asked.and_then(|asked| asked.condition) {
        Some(Kind::Absent(true)) => Ok(Condition::Absent),
        Some(Kind::Absent(false)) => Ok(Condition::Present),
        Some(Kind::Etag(etag)) => (&*etag).try_into().map(Condition::Etag).map_err(|_| {
            let expected = format!("has {} bytes, must be the 20 of an etag that was answered", etag.len());
            Problem::invalid_request("condition.etag", "bytes.len", expected)
        }),
        Some(Kind::Lease(lease)) if (1..=LEASE_BYTES_MAX).contains(&lease.len()) => Ok(Condition::Lease(lease)),
        Some(Kind::Lease(_)) => {
            Err(Problem::invalid_request("condition.lease", "bytes.len", "must be a lease that Get gave"))
        }
        None => Err(Problem::invalid_request("condition", "required", "say what must hold: absent, etag or lease")),
    }
}

/// Bytes of a lease at most.
const LEASE_BYTES_MAX: usize = 64;
