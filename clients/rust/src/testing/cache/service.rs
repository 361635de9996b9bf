use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream as FutureStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::refused::Refused;
use super::store::{Done, Op, Seen};
use super::{Change, namespaces};
use crate::testing::Shared;
use crate::v1::cache::cache_service_server::CacheService;
use crate::v1::cache::{
    BatchDeleteRequest, BatchDeleteResponse, BatchDeleteResult, BatchGetRequest, BatchGetResponse, BatchGetResult,
    BatchSetRequest, BatchSetResponse, BatchSetResult, CreateNamespaceRequest, CreateNamespaceResponse, DeleteRequest,
    DeleteResponse, FlushNamespaceRequest, FlushNamespaceResponse, Forgotten, Found, GetNamespaceRequest,
    GetNamespaceResponse, GetRequest, GetResponse, GetWriteRequest, GetWriteResponse, IncrementRequest,
    IncrementResponse, KeyState, ListNamespacesRequest, ListNamespacesResponse, Resync, SetIfRequest, SetIfResponse,
    SetRequest, SetResponse, TouchRequest, TouchResponse, UpdateNamespaceRequest, UpdateNamespaceResponse,
    WatchRequest, WatchResponse, WriteState, batch_delete_result, batch_get_result, batch_set_result, watch_response,
};
use crate::v1::error::Reason;

const BATCH_KEYS_MAX: usize = 1000;
/// Bytes of the values of one BatchGet; the first is there whatever it has.
const BATCH_BYTES_MAX: usize = 4 << 20;
const LEASE_MS_DEFAULT: u64 = 10_000;

#[derive(Debug)]
pub(in crate::testing) struct Cache(pub(in crate::testing) Arc<Shared>);

impl Shared {
    fn write(&self, namespace: &str, key: &Bytes, op: Op) -> Result<Done, Refused> {
        let done = self.cache.store().write(namespace, key, op)?;
        let name = if namespace.is_empty() { "default" } else { namespace };
        self.cache.tell(Change::Key(name.to_owned(), key.clone()));
        Ok(done)
    }

    fn state(&self, request: &WatchRequest, key: &Bytes) -> Result<WatchResponse, Refused> {
        let mut store = self.cache.store();
        let entry = store.space(&request.namespace)?.fresh(key);
        let state = KeyState {
            key: key.clone(),
            found: entry.is_some(),
            value: entry.filter(|_| request.values).map(|entry| entry.value.clone()),
            etag: entry.map(|entry| entry.etag()).unwrap_or_default(),
            ttl_ms: entry.and_then(|entry| entry.ttl_ms()),
        };
        Ok(WatchResponse { event: Some(watch_response::Event::State(state)) })
    }

    fn states(&self, request: &WatchRequest) -> Result<Vec<WatchResponse>, Refused> {
        request.keys.iter().map(|key| self.state(request, key)).collect()
    }

    /// What a change means to a watch; none where it ends, with the status to end with.
    fn told(
        &self,
        request: &WatchRequest,
        change: Result<Change, RecvError>,
    ) -> Result<Vec<WatchResponse>, Option<Status>> {
        let resync = |detail: String| -> Result<Vec<WatchResponse>, Option<Status>> {
            let mut events = vec![WatchResponse { event: Some(watch_response::Event::Resync(Resync { detail })) }];
            events.extend(self.states(request).map_err(|refused| Some(refused.into()))?);
            Ok(events)
        };
        let name = if request.namespace.is_empty() { "default" } else { &request.namespace };
        match change {
            Ok(Change::Key(namespace, key)) => {
                let prefixed = request.prefix.as_ref().is_some_and(|prefix| key.starts_with(prefix));
                if namespace != name || !(prefixed || request.keys.contains(&key)) {
                    return Ok(Vec::new());
                }
                self.state(request, &key).map(|state| vec![state]).map_err(|refused| Some(refused.into()))
            }
            Ok(Change::Resync(detail)) => resync(detail),
            Err(RecvError::Lagged(_)) => resync("changes were missed".into()),
            Ok(Change::End(status)) => Err(status),
            Err(RecvError::Closed) => Err(None),
        }
    }
}

fn batch(length: usize) -> Result<(), Refused> {
    match length {
        0 => Err(Refused::new(Reason::EmptyBatch, "a batch has at least one key")),
        1..=BATCH_KEYS_MAX => Ok(()),
        more => Err(Refused::new(Reason::BatchTooLarge, format!("{more} keys: at most {BATCH_KEYS_MAX}"))),
    }
}

#[tonic::async_trait]
impl CacheService for Cache {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.0.begin("Get", "", &request).await?;
        let GetRequest { namespace, key, no_cache, lease, lease_ms, etag: tell } = request.into_inner();
        let lease_ms = if lease_ms == 0 { LEASE_MS_DEFAULT } else { lease_ms.unsigned_abs() };
        let lease = lease.then(|| Duration::from_millis(lease_ms));
        let Seen { value, etag, status, lease } = self.0.cache.store().read(&namespace, &key, no_cache, lease)?;
        let etag = if tell { etag } else { Bytes::new() };
        Ok(Response::new(GetResponse { value, status: Some(status), etag, lease }))
    }

    async fn batch_get(&self, request: Request<BatchGetRequest>) -> Result<Response<BatchGetResponse>, Status> {
        self.0.begin("BatchGet", "", &request).await?;
        let BatchGetRequest { namespace, keys, no_cache, etag: tell } = request.into_inner();
        batch(keys.len())?;
        let mut store = self.0.cache.store();
        store.space(&namespace)?;
        let mut bytes = 0;
        let read = |key: &Bytes| match store.read(&namespace, key, no_cache, None) {
            Ok(Seen { value, etag, status, .. }) => {
                let length = value.as_ref().map_or(0, Bytes::len);
                if bytes > 0 && bytes + length > BATCH_BYTES_MAX {
                    let refused = Refused::new(Reason::BatchTooLarge, "the answer is full: ask for this key apart");
                    return batch_get_result::Result::Error(refused.into());
                }
                bytes += length;
                let etag = if tell { etag } else { Bytes::new() };
                batch_get_result::Result::Found(Found { value, status: Some(status), etag })
            }
            Err(refused) => batch_get_result::Result::Error(refused.into()),
        };
        let results = keys.iter().map(read).map(|result| BatchGetResult { result: Some(result) }).collect();
        Ok(Response::new(BatchGetResponse { results }))
    }

    async fn set(&self, request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        self.0.begin("Set", "", &request).await?;
        let SetRequest { namespace, key, value, ttl_ms } = request.into_inner();
        let done = self.0.write(&namespace, &key, Op::Put { value, ttl_ms, condition: None })?;
        Ok(Response::new(SetResponse { written: Some(done.written) }))
    }

    async fn batch_set(&self, request: Request<BatchSetRequest>) -> Result<Response<BatchSetResponse>, Status> {
        self.0.begin("BatchSet", "", &request).await?;
        let BatchSetRequest { namespace, items } = request.into_inner();
        batch(items.len())?;
        self.0.cache.store().space(&namespace)?;
        let mut results = Vec::new();
        for item in items {
            let op = Op::Put { value: item.value, ttl_ms: item.ttl_ms, condition: None };
            let result = match self.0.write(&namespace, &item.key, op) {
                Ok(done) => batch_set_result::Result::Written(done.written),
                Err(refused) => batch_set_result::Result::Error(refused.into()),
            };
            results.push(BatchSetResult { result: Some(result) });
        }
        Ok(Response::new(BatchSetResponse { results }))
    }

    async fn set_if(&self, request: Request<SetIfRequest>) -> Result<Response<SetIfResponse>, Status> {
        self.0.begin("SetIf", "", &request).await?;
        let SetIfRequest { namespace, key, value, ttl_ms, condition } = request.into_inner();
        let Some(condition) = condition.and_then(|condition| condition.condition) else {
            return Err(Refused::field("condition", "exactly one is set").into());
        };
        let done = self.0.write(&namespace, &key, Op::Put { value, ttl_ms, condition: Some(condition) })?;
        let met = done.not_met.is_none() && done.written.write_id.is_empty();
        let current_etag = done.not_met.unwrap_or_default();
        Ok(Response::new(SetIfResponse { met, written: Some(done.written), current_etag }))
    }

    async fn increment(&self, request: Request<IncrementRequest>) -> Result<Response<IncrementResponse>, Status> {
        self.0.begin("Increment", "", &request).await?;
        let IncrementRequest { namespace, key, delta, initial, ttl_ms } = request.into_inner();
        let done = self.0.write(&namespace, &key, Op::Add { delta, initial, ttl_ms })?;
        Ok(Response::new(IncrementResponse { value: done.value.unwrap_or(0), written: Some(done.written) }))
    }

    async fn touch(&self, request: Request<TouchRequest>) -> Result<Response<TouchResponse>, Status> {
        self.0.begin("Touch", "", &request).await?;
        let TouchRequest { namespace, key, ttl_ms } = request.into_inner();
        let mut done = self.0.write(&namespace, &key, Op::Touch { ttl_ms })?;
        done.written.etag = Bytes::new();
        done.written.replaced = false;
        Ok(Response::new(TouchResponse { found: done.found, written: Some(done.written) }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        self.0.begin("Delete", "", &request).await?;
        let DeleteRequest { namespace, key } = request.into_inner();
        let done = self.0.write(&namespace, &key, Op::Delete)?;
        Ok(Response::new(DeleteResponse { found: done.found, written: Some(done.written) }))
    }

    async fn batch_delete(
        &self,
        request: Request<BatchDeleteRequest>,
    ) -> Result<Response<BatchDeleteResponse>, Status> {
        self.0.begin("BatchDelete", "", &request).await?;
        let BatchDeleteRequest { namespace, keys } = request.into_inner();
        batch(keys.len())?;
        self.0.cache.store().space(&namespace)?;
        let delete = |key: &Bytes| match self.0.write(&namespace, key, Op::Delete) {
            Ok(Done { written, found, .. }) => {
                batch_delete_result::Result::Forgotten(Forgotten { found, written: Some(written) })
            }
            Err(refused) => batch_delete_result::Result::Error(refused.into()),
        };
        let results = keys.iter().map(delete).map(|result| BatchDeleteResult { result: Some(result) }).collect();
        Ok(Response::new(BatchDeleteResponse { results }))
    }

    type WatchStream = Pin<Box<dyn FutureStream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.0.begin("Watch", "", &request).await?;
        let (shared, request) = (Arc::clone(&self.0), request.into_inner());
        if request.keys.is_empty() && request.prefix.is_none() {
            return Err(Refused::field("keys", "name keys, or a prefix").into());
        }
        let mut changes = shared.cache.changes.subscribe();
        let mut events = shared.states(&request)?;
        let (answers, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let silent = shared.plan().silent;
                for event in events.into_iter().filter(|_| !silent) {
                    if answers.send(Ok(event)).await.is_err() {
                        return;
                    }
                }
                let change = tokio::select! {
                    change = changes.recv() => change,
                    () = answers.closed() => return,
                };
                events = match shared.told(&request, change) {
                    Ok(events) => events,
                    Err(status) => {
                        if let Some(status) = status {
                            // Whoever has gone needs no reason.
                            let _ = answers.send(Err(status)).await;
                        }
                        return;
                    }
                };
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_write(&self, request: Request<GetWriteRequest>) -> Result<Response<GetWriteResponse>, Status> {
        self.0.begin("GetWrite", "", &request).await?;
        let GetWriteRequest { namespace, write_id, wait } = request.into_inner();
        let wait = wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        let (end, mut changes) = (Instant::now() + wait, self.0.cache.changes.subscribe());
        loop {
            let answer = self.0.cache.store().space(&namespace)?.outcome(&write_id)?;
            let waits = answer.state() == WriteState::Queued;
            // A queue that is released tells its keys.
            if !waits || tokio::time::timeout_at(end, changes.recv()).await.is_err() {
                return Ok(Response::new(answer));
            }
        }
    }

    async fn create_namespace(
        &self,
        request: Request<CreateNamespaceRequest>,
    ) -> Result<Response<CreateNamespaceResponse>, Status> {
        self.0.begin("CreateNamespace", "", &request).await?;
        let namespace = self.0.cache.store().create(request.into_inner().namespace.unwrap_or_default())?;
        Ok(Response::new(CreateNamespaceResponse { namespace: Some(namespace) }))
    }

    async fn get_namespace(
        &self,
        request: Request<GetNamespaceRequest>,
    ) -> Result<Response<GetNamespaceResponse>, Status> {
        self.0.begin("GetNamespace", "", &request).await?;
        let mut store = self.0.cache.store();
        let space = store.space(&request.into_inner().name)?;
        let (namespace, usage) = (Some(space.settings.clone()), Some(space.usage()));
        Ok(Response::new(GetNamespaceResponse { namespace, usage }))
    }

    async fn list_namespaces(
        &self,
        request: Request<ListNamespacesRequest>,
    ) -> Result<Response<ListNamespacesResponse>, Status> {
        self.0.begin("ListNamespaces", "", &request).await?;
        // One a page, so that paging is exercised.
        let place: usize = request.into_inner().page_token.parse().unwrap_or(0);
        let all = self.0.cache.store().namespaces();
        let next_page_token = if place + 1 >= all.len() { String::new() } else { (place + 1).to_string() };
        let namespaces = all.into_iter().nth(place).into_iter().collect();
        Ok(Response::new(ListNamespacesResponse { namespaces, next_page_token }))
    }

    async fn update_namespace(
        &self,
        request: Request<UpdateNamespaceRequest>,
    ) -> Result<Response<UpdateNamespaceResponse>, Status> {
        self.0.begin("UpdateNamespace", "", &request).await?;
        let UpdateNamespaceRequest { namespace, update_mask } = request.into_inner();
        let paths = update_mask.unwrap_or_default().paths;
        let namespace = namespaces::update(&mut self.0.cache.store(), namespace.unwrap_or_default(), &paths)?;
        Ok(Response::new(UpdateNamespaceResponse { namespace: Some(namespace) }))
    }

    async fn flush_namespace(
        &self,
        request: Request<FlushNamespaceRequest>,
    ) -> Result<Response<FlushNamespaceResponse>, Status> {
        self.0.begin("FlushNamespace", "", &request).await?;
        let keys = self.0.cache.store().space(&request.into_inner().name)?.flush();
        Ok(Response::new(FlushNamespaceResponse { keys }))
    }
}
