//! The methods that make, show and change namespaces.

use headwater_cache::{CacheError, Capacity, Eviction, NamespaceInfo, Overwrite, PolicyPatch, WriteMode};
use headwater_contracts::v1::cache as proto;
use headwater_domain::Reason;
use headwater_serving::{Problem, page};

use crate::problems::{of_namespace, problem};
use crate::service::CacheFront;

/// What page tokens of ListNamespaces are made for.
const LIST: &str = "ListNamespaces";

/// A field that a mask may name, and what it takes over from the request.
type Field = (&'static str, TakeOver);

type TakeOver = fn(&mut PolicyPatch, &PolicyPatch);

/// The fields of a namespace that can be changed. Both of `capacity` stand for it.
const FIELDS: [Field; 14] = [
    ("entries_max", |patch, new| patch.capacity = new.capacity),
    ("bytes_max", |patch, new| patch.capacity = new.capacity),
    ("eviction", |patch, new| patch.eviction = new.eviction),
    ("ttl_ms", |patch, new| patch.ttl_ms = new.ttl_ms),
    ("ttl_max_ms", |patch, new| patch.ttl_max_ms = new.ttl_max_ms),
    ("ttl_jitter_percent", |patch, new| patch.ttl_jitter_percent = new.ttl_jitter_percent),
    ("stale_while_revalidate_ms", |patch, new| patch.stale_while_revalidate_ms = new.stale_while_revalidate_ms),
    ("stale_if_error_ms", |patch, new| patch.stale_if_error_ms = new.stale_if_error_ms),
    ("negative_ttl_ms", |patch, new| patch.negative_ttl_ms = new.negative_ttl_ms),
    ("write_mode", |patch, new| patch.write_mode = new.write_mode),
    ("overwrite", |patch, new| patch.overwrite = new.overwrite),
    ("key_bytes_max", |patch, new| patch.key_bytes_max = new.key_bytes_max),
    ("value_bytes_max", |patch, new| patch.value_bytes_max = new.value_bytes_max),
    ("queue_max", |patch, new| patch.queue_max = new.queue_max),
];

impl CacheFront {
    pub(crate) async fn answer_create(
        &self,
        asked: proto::CreateNamespaceRequest,
    ) -> Result<proto::CreateNamespaceResponse, Problem> {
        let asked = required(asked.namespace)?;
        let info = self.cache.create(&asked.name, patch(&asked)?).await.map_err(of_namespace)?;
        Ok(proto::CreateNamespaceResponse { namespace: Some(namespace(&info)) })
    }

    pub(crate) async fn answer_get_namespace(
        &self,
        asked: proto::GetNamespaceRequest,
    ) -> Result<proto::GetNamespaceResponse, Problem> {
        let found = self.cache.namespace(&asked.name).map_err(problem)?;
        let usage = match self.cache.usage(&found).await {
            Ok(usage) => Some(proto::Usage {
                l1_entries: count(usage.l1_entries),
                l1_bytes: count(usage.l1_bytes),
                store_entries: usage.store_entries.map(count),
                queued_writes: count(usage.queued_writes),
                durability: self.cache.durability(),
            }),
            // Its rules are known all the same.
            Err(CacheError::Unavailable(_) | CacheError::Refused(_)) => None,
            Err(error) => return Err(problem(error)),
        };
        Ok(proto::GetNamespaceResponse { namespace: Some(namespace(&found.info)), usage })
    }

    pub(crate) fn answer_list(
        &self,
        asked: &proto::ListNamespacesRequest,
    ) -> Result<proto::ListNamespacesResponse, Problem> {
        let size = page::size(asked.page_size)?;
        let after = page::after(LIST, &asked.page_token)?;
        let mut rest =
            self.cache.list().into_iter().filter(|info| after.as_deref().is_none_or(|after| &*info.name > after));
        let namespaces: Vec<proto::Namespace> = rest.by_ref().take(size).map(|info| namespace(&info)).collect();
        let next_page_token = match (namespaces.last(), rest.next()) {
            (Some(last), Some(_)) => page::token(LIST, &last.name),
            _ => String::new(),
        };
        Ok(proto::ListNamespacesResponse { namespaces, next_page_token })
    }

    pub(crate) async fn answer_update(
        &self,
        asked: proto::UpdateNamespaceRequest,
    ) -> Result<proto::UpdateNamespaceResponse, Problem> {
        let new = required(asked.namespace)?;
        let fields = masked(asked.update_mask.as_ref().map_or(&[][..], |mask| &mask.paths))?;
        let patch = patch(&new)?;
        let revision = match new.revision {
            0 => None,
            revision if revision > 0 => Some(revision),
            revision => return Err(negative("revision", revision)),
        };
        let change = |old: &PolicyPatch| match &fields {
            Some(fields) => {
                let mut changed = old.clone();
                fields.iter().for_each(|take_over| take_over(&mut changed, &patch));
                changed
            }
            None => with_what_is_set(old, &patch),
        };
        let info = self.cache.update(&new.name, revision, change).await.map_err(of_namespace)?;
        Ok(proto::UpdateNamespaceResponse { namespace: Some(namespace(&info)) })
    }

    pub(crate) async fn answer_flush(
        &self,
        asked: proto::FlushNamespaceRequest,
    ) -> Result<proto::FlushNamespaceResponse, Problem> {
        let found = self.cache.namespace(&asked.name).map_err(problem)?;
        if found.info.store_prefix.is_empty() {
            let detail = format!(
                "the namespace {:?} has the plain keys of the store: flushing it would empty the store",
                found.info.name
            );
            return Err(Problem::new(Reason::NamespaceFixed, detail));
        }
        let keys = self.cache.flush(&found).await.map_err(problem)?;
        Ok(proto::FlushNamespaceResponse { keys: count(keys) })
    }
}

fn required(namespace: Option<proto::Namespace>) -> Result<proto::Namespace, Problem> {
    namespace.ok_or_else(|| Problem::invalid_request("namespace", "required", "say which, by its name"))
}

/// The fields that a mask names; none where it is empty, which is every field that is set.
fn masked(paths: &[String]) -> Result<Option<Vec<TakeOver>>, Problem> {
    if paths.is_empty() {
        return Ok(None);
    }
    if paths.iter().any(|path| path == "*") {
        return Ok(Some(FIELDS.iter().map(|(_, take_over)| *take_over).collect()));
    }
    let find = |path: &String| {
        let found = FIELDS.iter().find(|(name, _)| name == path).map(|(_, take_over)| *take_over);
        found.ok_or_else(|| {
            let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
            let expected = format!("{path:?} is no field that can be changed; those are {}", names.join(", "));
            Problem::invalid_request("update_mask", "field_mask.in", expected)
        })
    };
    paths.iter().map(find).collect::<Result<_, _>>().map(Some)
}

fn with_what_is_set(old: &PolicyPatch, new: &PolicyPatch) -> PolicyPatch {
    PolicyPatch {
        capacity: new.capacity.or(old.capacity),
        eviction: new.eviction.or(old.eviction),
        ttl_ms: new.ttl_ms.or(old.ttl_ms),
        ttl_max_ms: new.ttl_max_ms.or(old.ttl_max_ms),
        ttl_jitter_percent: new.ttl_jitter_percent.or(old.ttl_jitter_percent),
        stale_while_revalidate_ms: new.stale_while_revalidate_ms.or(old.stale_while_revalidate_ms),
        stale_if_error_ms: new.stale_if_error_ms.or(old.stale_if_error_ms),
        negative_ttl_ms: new.negative_ttl_ms.or(old.negative_ttl_ms),
        write_mode: new.write_mode.or(old.write_mode),
        overwrite: new.overwrite.or(old.overwrite),
        key_bytes_max: new.key_bytes_max.or(old.key_bytes_max),
        value_bytes_max: new.value_bytes_max.or(old.value_bytes_max),
        queue_max: new.queue_max.or(old.queue_max),
    }
}

/// What a request sets of a namespace.
fn patch(asked: &proto::Namespace) -> Result<PolicyPatch, Problem> {
    let eviction = match known("eviction", asked.eviction)? {
        proto::Eviction::Unspecified => None,
        proto::Eviction::TinyLfu => Some(Eviction::TinyLfu),
        proto::Eviction::Lru => Some(Eviction::Lru),
        proto::Eviction::Rank => Some(Eviction::Rank),
    };
    let write_mode = match known("write_mode", asked.write_mode)? {
        proto::WriteMode::Unspecified => None,
        proto::WriteMode::AtOnce => Some(WriteMode::AtOnce),
        proto::WriteMode::Queued => Some(WriteMode::Queued),
    };
    let overwrite = match known("overwrite", asked.overwrite)? {
        proto::Overwrite::Unspecified => None,
        proto::Overwrite::Allowed => Some(Overwrite::Allowed),
        proto::Overwrite::Refused => Some(Overwrite::Refused),
    };
    let capacity = match asked.capacity {
        None => None,
        Some(proto::namespace::Capacity::EntriesMax(n)) => Some(Capacity::EntriesMax(number("entries_max", n)?)),
        Some(proto::namespace::Capacity::BytesMax(n)) => Some(Capacity::BytesMax(number("bytes_max", n)?)),
    };
    let optional = |field: &str, given: Option<i64>| given.map(|given| number(field, given)).transpose();
    Ok(PolicyPatch {
        capacity,
        eviction,
        ttl_ms: optional("ttl_ms", asked.ttl_ms)?,
        ttl_max_ms: optional("ttl_max_ms", asked.ttl_max_ms)?,
        ttl_jitter_percent: optional("ttl_jitter_percent", asked.ttl_jitter_percent.map(i64::from))?,
        stale_while_revalidate_ms: optional("stale_while_revalidate_ms", asked.stale_while_revalidate_ms)?,
        stale_if_error_ms: optional("stale_if_error_ms", asked.stale_if_error_ms)?,
        negative_ttl_ms: optional("negative_ttl_ms", asked.negative_ttl_ms)?,
        write_mode,
        overwrite,
        key_bytes_max: optional("key_bytes_max", asked.key_bytes_max)?,
        value_bytes_max: optional("value_bytes_max", asked.value_bytes_max)?,
        queue_max: optional("queue_max", asked.queue_max)?,
    })
}

fn known<T: TryFrom<i32>>(field: &str, given: i32) -> Result<T, Problem> {
    T::try_from(given).map_err(|_| {
        let expected = format!("{given} is no value of it that this version knows");
        Problem::invalid_request(format!("namespace.{field}"), "enum.defined_only", expected)
    })
}

fn number(field: &str, given: i64) -> Result<u64, Problem> {
    u64::try_from(given).map_err(|_| negative(field, given))
}

fn negative(field: &str, given: i64) -> Problem {
    Problem::invalid_request(format!("namespace.{field}"), "int64.gte", format!("is {given}, must be 0 or more"))
}

/// A namespace with everything set.
fn namespace(info: &NamespaceInfo) -> proto::Namespace {
    let policy = &info.policy;
    let eviction = match policy.eviction {
        Eviction::TinyLfu => proto::Eviction::TinyLfu,
        Eviction::Lru => proto::Eviction::Lru,
        Eviction::Rank => proto::Eviction::Rank,
    };
    let write_mode = match policy.write_mode {
        WriteMode::AtOnce => proto::WriteMode::AtOnce,
        WriteMode::Queued => proto::WriteMode::Queued,
    };
    let overwrite = match policy.overwrite {
        Overwrite::Allowed => proto::Overwrite::Allowed,
        Overwrite::Refused => proto::Overwrite::Refused,
    };
    let capacity = match policy.capacity {
        Capacity::EntriesMax(n) => proto::namespace::Capacity::EntriesMax(count(n)),
        Capacity::BytesMax(n) => proto::namespace::Capacity::BytesMax(count(n)),
    };
    proto::Namespace {
        name: info.name.to_string(),
        capacity: Some(capacity),
        eviction: eviction.into(),
        ttl_ms: Some(count(policy.ttl_ms)),
        ttl_max_ms: Some(count(policy.ttl_max_ms)),
        ttl_jitter_percent: Some(i32::try_from(policy.ttl_jitter_percent).unwrap_or(i32::MAX)),
        stale_while_revalidate_ms: Some(count(policy.stale_while_revalidate_ms)),
        stale_if_error_ms: Some(count(policy.stale_if_error_ms)),
        negative_ttl_ms: Some(count(policy.negative_ttl_ms)),
        write_mode: write_mode.into(),
        overwrite: overwrite.into(),
        key_bytes_max: Some(count(policy.key_bytes_max)),
        value_bytes_max: Some(count(policy.value_bytes_max)),
        queue_max: Some(count(policy.queue_max)),
        origin: if info.is_declared { proto::Origin::Settings } else { proto::Origin::Api }.into(),
        revision: info.revision,
        store_prefix: info.store_prefix.clone(),
    }
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
