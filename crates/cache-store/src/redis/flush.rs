use ::redis::{Cmd, cmd};

use super::{answer::Fields, keys::Keys, router::Router, script::FORGET, topology::Address, way::Call};
use crate::{Layout, Space, StoreError};

/// Keys of Redis that one step looks at, about.
const STEP_KEYS: usize = 1_000;

/// Keys that one command forgets, at most.
const FORGOTTEN_AT_ONCE: usize = 200;

/// Steps on one node of one flush.
const STEPS_MAX: usize = 10_000_000;

/// Forgets leases and what is denied first: whatever was being loaded then is not written any more.
pub(super) async fn flush(router: &Router, space: &Space, root: &str) -> Result<u64, StoreError> {
    let keys = Keys::of(space);
    match space.layout {
        Layout::Spread => {
            let (begin, name) = keys.spread_besides();
            let pattern = format!("{}*{}*", escaped(begin.as_bytes()), escaped(name.as_bytes()));
            let is_beside = |key: &[u8]| {
                let rest = key.strip_prefix(begin.as_bytes());
                let tag_end = rest.and_then(|rest| rest.iter().position(|byte| *byte == b'}'));
                matches!((rest, tag_end), (Some(rest), Some(end)) if rest[end..].starts_with(name.as_bytes()))
            };
            each_step(router, &pattern, is_beside, Forget::Keys).await?;
        }
        Layout::Slot | Layout::Ranked { .. } => {
            let besides = keys.besides();
            let is_beside = |key: &[u8]| key.starts_with(besides.as_bytes());
            each_step(router, &format!("{}*", escaped(besides.as_bytes())), is_beside, Forget::Keys).await?;
        }
    }
    // A namespace that has all keys does not have those of the others, nor the store's own.
    let others = format!("{root}:");
    let is_among_others = space.prefix.starts_with(others.as_bytes());
    let is_value =
        |key: &[u8]| key.starts_with(&space.prefix) && (is_among_others || !key.starts_with(others.as_bytes()));
    let how = if keys.entries_max().is_some() { Forget::Ranked(space) } else { Forget::Keys };
    let count = each_step(router, &format!("{}*", escaped(&space.prefix)), is_value, how).await?;
    // What the index has left are keys that are gone.
    if keys.entries_max().is_some() {
        super::ranked::shrink(router, space).await?;
    }
    Ok(count)
}

#[derive(Clone, Copy)]
enum Forget<'a> {
    Keys,
    Ranked(&'a Space),
}

async fn each_step(
    router: &Router,
    pattern: &str,
    is_wanted: impl Fn(&[u8]) -> bool + Sync,
    how: Forget<'_>,
) -> Result<u64, StoreError> {
    let view = router.view().await?;
    let topology = &view.topology;
    let nodes = topology.primaries.iter().map(|address| on_node(router, address, pattern, &is_wanted, how));
    let counts = futures::future::join_all(nodes).await;
    counts.into_iter().sum()
}

async fn on_node(
    router: &Router,
    address: &Address,
    pattern: &str,
    is_wanted: &(impl Fn(&[u8]) -> bool + Sync),
    how: Forget<'_>,
) -> Result<u64, StoreError> {
    let mut cursor = "0".to_owned();
    let mut count = 0;
    for _ in 0..STEPS_MAX {
        let scan = cmd("SCAN").arg(&cursor).arg("MATCH").arg(pattern.as_bytes()).arg("COUNT").arg(STEP_KEYS).take();
        let mut step = Fields::new(router.on(address, vec![scan]).await?).list()?;
        cursor = step.text()?;
        let mut found = step.list()?;
        let mut keys = Vec::new();
        while !found.is_empty() {
            keys.extend(found.maybe_bytes()?.filter(|key| is_wanted(key)));
        }
        for keys in keys.chunks(FORGOTTEN_AT_ONCE) {
            count += match how {
                Forget::Keys => {
                    let commands: Vec<Cmd> = keys.iter().map(|key| cmd("UNLINK").arg(&key[..]).take()).collect();
                    let mut answers = Fields::new(router.on(address, commands).await?);
                    keys.iter().map(|_| answers.number()).sum::<Result<i64, _>>()?
                }
                Forget::Ranked(space) => {
                    let own = Keys::of(space);
                    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
                    let mut command = FORGET.call(&own.with_index(&keys));
                    own.describe(&mut command);
                    let call = Call::repeatable(own.own_slot(), &FORGET, command);
                    Fields::new(router.run(call).await?).number()?
                }
            }
            .max(0) as u64;
        }
        if cursor == "0" {
            return Ok(count);
        }
    }
    Err(StoreError::Unavailable("Redis has more keys than a flush looks at".into()))
}

/// A pattern of `SCAN` that is these bytes. What is not ASCII stands for one byte of any kind.
fn escaped(bytes: &[u8]) -> String {
    let mut pattern = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'*' | b'?' | b'[' | b']' | b'^' | b'-' | b'\\' => {
                pattern.push('\\');
                pattern.push(char::from(*byte));
            }
            byte if byte.is_ascii() => pattern.push(char::from(*byte)),
            _ => pattern.push('?'),
        }
    }
    pattern
}
