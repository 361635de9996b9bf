use super::refused::Refused;
use super::store::{Store, whole};
use crate::v1::cache::{Eviction, Namespace, Origin, namespace::Capacity};
use crate::v1::error::Reason;

/// Changes the fields of a namespace that are named; those that are set, where none is.
pub(super) fn update(store: &mut Store, asked: Namespace, paths: &[String]) -> Result<Namespace, Refused> {
    let fixed = |detail: &str| Refused::new(Reason::NamespaceFixed, detail);
    let space = store.space(&asked.name)?;
    let mut now = space.settings.clone();
    if now.origin() == Origin::Settings {
        return Err(fixed("the settings declare it, and change it"));
    }
    if asked.revision != 0 && asked.revision != now.revision {
        return Err(fixed("it was changed meanwhile: its revision is another"));
    }
    let named = |path: &str, set: bool| paths.iter().any(|named| named == path) || (paths.is_empty() && set);
    let was_ranked = now.eviction() == Eviction::Rank;
    macro_rules! take {
        ($($field:ident $set:expr),* $(,)?) => {
            $(if named(stringify!($field), $set) { now.$field = asked.$field; })*
        };
    }
    take!(
        eviction asked.eviction != 0,
        ttl_ms asked.ttl_ms.is_some(),
        ttl_max_ms asked.ttl_max_ms.is_some(),
        ttl_jitter_percent asked.ttl_jitter_percent.is_some(),
        stale_while_revalidate_ms asked.stale_while_revalidate_ms.is_some(),
        stale_if_error_ms asked.stale_if_error_ms.is_some(),
        negative_ttl_ms asked.negative_ttl_ms.is_some(),
        overwrite asked.overwrite != 0,
        key_bytes_max asked.key_bytes_max.is_some(),
        value_bytes_max asked.value_bytes_max.is_some(),
        queue_max asked.queue_max.is_some(),
    );
    let (entries, bytes) = match asked.capacity {
        Some(Capacity::EntriesMax(_)) => (true, false),
        Some(Capacity::BytesMax(_)) => (false, true),
        None => (false, false),
    };
    if named("entries_max", entries) || named("bytes_max", bytes) {
        now.capacity = asked.capacity;
    }
    let known = [
        "eviction",
        "ttl_ms",
        "ttl_max_ms",
        "ttl_jitter_percent",
        "stale_while_revalidate_ms",
        "stale_if_error_ms",
        "negative_ttl_ms",
        "overwrite",
        "key_bytes_max",
        "value_bytes_max",
        "queue_max",
        "entries_max",
        "bytes_max",
        "write_mode",
    ];
    if let Some(path) = paths.iter().find(|path| !known.contains(&path.as_str())) {
        return Err(Refused::field("update_mask", &format!("a namespace has no field {path:?} that can be changed")));
    }
    if named("write_mode", asked.write_mode != 0) && asked.write_mode != now.write_mode {
        return Err(fixed("the write mode cannot be changed: the keys lie elsewhere"));
    }
    now.revision += 1;
    let now = whole(now, Origin::Api);
    if was_ranked != (now.eviction() == Eviction::Rank) {
        return Err(fixed("from or to eviction by rank it cannot be changed: the keys lie elsewhere"));
    }
    space.settings = now.clone();
    Ok(now)
}
