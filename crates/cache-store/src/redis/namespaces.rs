use ::redis::{Value, cmd};
use bytes::Bytes;

use super::{answer::Fields, router::Router, script::NAMESPACE, slot::slot_of, unreadable, way::Call};
use crate::{Expected, Saved, StoreError, StoredNamespace};

pub(super) async fn all(router: &Router, root: &str) -> Result<Vec<StoredNamespace>, StoreError> {
    let key = key(root);
    let slot = slot_of(key.as_bytes());
    let answer = router.run(Call::read(slot, vec![cmd("HGETALL").arg(&key).take()])).await?.pop();
    let pairs = match answer {
        Some(Value::Map(pairs)) => pairs,
        other => return Err(unreadable(&other.unwrap_or(Value::Nil))),
    };
    let mut namespaces = Vec::with_capacity(pairs.len());
    for (name, saved) in pairs {
        let mut fields = Fields::new(vec![name, saved]);
        let (name, saved) = (fields.text()?, fields.maybe_bytes()?.unwrap_or_default());
        let end = saved.iter().position(|byte| *byte == b' ');
        let revision = end.and_then(|end| std::str::from_utf8(&saved[..end]).ok()?.parse().ok());
        let (Some(end), Some(revision)) = (end, revision) else {
            return Err(StoreError::Refused(format!("the namespace {name:?} was not saved by this program")));
        };
        namespaces.push(StoredNamespace { name, revision, body: Bytes::copy_from_slice(&saved[end + 1..]) });
    }
    namespaces.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(namespaces)
}

pub(super) async fn save(
    router: &Router,
    root: &str,
    name: &str,
    body: &[u8],
    expected: Expected,
    namespaces_max: usize,
) -> Result<Saved, StoreError> {
    let key = key(root);
    let slot = slot_of(key.as_bytes());
    let expected = match expected {
        Expected::Absent => String::new(),
        Expected::Revision(revision) => revision.to_string(),
    };
    let command = NAMESPACE.call(&[&key]).arg(name).arg(body).arg(expected).arg(namespaces_max).take();
    let mut fields = Fields::new(router.run(Call::once(slot, &NAMESPACE, command)).await?).list()?;
    let (how, revision) = (fields.text()?, fields.maybe_number()?);
    match (how.as_str(), revision) {
        ("saved", Some(revision)) => Ok(Saved::Revision(revision)),
        ("differs", revision) => Ok(Saved::Differs(revision)),
        ("many", _) => Ok(Saved::TooMany),
        _ => Err(unreadable(&Value::Okay)),
    }
}

fn key(root: &str) -> String {
    format!("{root}:x:namespaces")
}
