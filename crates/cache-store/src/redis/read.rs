use ::redis::{Cmd, Value, cmd};
use bytes::Bytes;

use super::{
    TIME_MAX_MS,
    answer::Fields,
    failure::Failure,
    keys::{Keys, Pair},
    router::Router,
    script::{GET, READ},
    slot::slot_of,
    way::{Answer, Call},
};
use crate::{Entry, Got, Layout, LeaseAsk, Space, StoreError};

/// Keys that one call of a script reads, at most.
const SCRIPT_KEYS_MAX: usize = 128;

pub(super) async fn get(
    router: &Router,
    space: &Space,
    key: &[u8],
    lease: Option<&LeaseAsk>,
) -> Result<Got, StoreError> {
    let keys = Keys::of(space);
    let pair = keys.pair(key);
    if lease.is_some() || keys.entries_max().is_some() {
        return get_whole(router, space, &pair, lease).await;
    }
    let commands = vec![
        cmd("PTTL").arg(&pair.value).take(),
        cmd("GET").arg(&pair.value).take(),
        cmd("GET").arg(&pair.beside).take(),
    ];
    let mut answers = match router.run(Call::read(pair.slot, commands)).await {
        Ok(answers) => Fields::new(answers),
        Err(failure) if is_no_string(&failure) => return get_whole(router, space, &pair, None).await,
        Err(failure) => return Err(failure.into()),
    };
    let left_ms = answers.number()?;
    match (Seen::new(space, left_ms, answers.maybe_bytes()?), answers.maybe_bytes()?) {
        (Seen::Nothing, Some(beside)) if beside.first() == Some(&b'n') => get_whole(router, space, &pair, None).await,
        (Seen::Nothing, _) => Ok(Got::default()),
        (Seen::Fresh(entry), _) => Ok(Got { entry: Some(entry), ..Got::default() }),
        (Seen::Unsure, _) => get_whole(router, space, &pair, None).await,
    }
}

/// Reads a key and what is beside it in one step.
async fn get_whole(router: &Router, space: &Space, pair: &Pair, lease: Option<&LeaseAsk>) -> Result<Got, StoreError> {
    let keys = Keys::of(space);
    let mut command = GET.call(&keys.with_index(&[&pair.value, &pair.beside]));
    keys.describe(&mut command);
    if let Some(lease) = lease {
        command.arg(&lease.token[..]).arg(lease.for_ms.clamp(1, TIME_MAX_MS));
    }
    let call = Call::repeatable(pair.slot, &GET, command);
    let mut fields = Fields::new(router.run(call).await?).list()?;
    let (value, left_ms) = (fields.maybe_bytes()?, fields.number()?);
    let is_leased = fields.number()? == 1;
    let why = fields.maybe_bytes()?;
    let why_ms = fields.number()?;
    Ok(Got {
        entry: value.and_then(|value| entry(space, left_ms, value)),
        denied: why.map(|why| (why, why_ms.max(0))),
        is_leased,
    })
}

pub(super) async fn batch_get(
    router: &Router,
    space: &Space,
    keys: &[Bytes],
) -> Vec<Result<Option<Entry>, StoreError>> {
    if keys.is_empty() {
        return Vec::new();
    }
    match space.layout {
        Layout::Ranked { .. } => read_ranked(router, space, keys).await,
        // In a slot that moves, some keys are here and some there.
        Layout::Spread | Layout::Slot if router.is_cluster() => read_spread(router, space, keys).await,
        Layout::Spread | Layout::Slot => read_together(router, space, keys).await,
    }
}

/// Reads keys of one node.
async fn read_together(router: &Router, space: &Space, keys: &[Bytes]) -> Vec<Result<Option<Entry>, StoreError>> {
    // A script that reads all times, to one answer, takes Redis longer than it spares here.
    let mut commands = Vec::with_capacity(keys.len() + 1);
    let bytes = keys.iter().map(|key| space.prefix.len() + key.len()).sum::<usize>();
    let mut values = Cmd::with_capacity(keys.len() + 1, bytes + 4);
    values.arg("MGET");
    let mut stored = Vec::new();
    for key in keys {
        stored.clear();
        stored.extend_from_slice(&space.prefix);
        stored.extend_from_slice(key);
        values.arg(&stored[..]);
        let mut time = Cmd::with_capacity(2, stored.len() + 4);
        time.arg("PTTL").arg(&stored[..]);
        commands.push(time);
    }
    commands.push(values);
    // Of one node, or of the slot that all are in.
    let answer = router.run(Call::read(slot_of(&space.stored_key(&keys[0])), commands)).await;
    let read = answer.map_err(StoreError::from).and_then(|mut times| {
        let values = Fields::of(times.pop().unwrap_or(Value::Nil))?;
        Ok((Fields::new(times), values))
    });
    let (mut times, mut values) = match read {
        Ok(read) => read,
        Err(error) => return vec![Err(error); keys.len()],
    };
    let seen = keys.iter().map(|_| Ok(Seen::new(space, times.number()?, values.maybe_bytes()?))).collect();
    be_sure(router, space, keys, seen).await
}

/// Reads keys wherever they are.
async fn read_spread(router: &Router, space: &Space, keys: &[Bytes]) -> Vec<Result<Option<Entry>, StoreError>> {
    let calls = keys.iter().map(|key| {
        let pair = Keys::of(space).pair(key);
        Call::read(pair.slot, vec![cmd("PTTL").arg(&pair.value).take(), cmd("GET").arg(&pair.value).take()])
    });
    let answers = router.run_all(calls.collect()).await;
    let seen = answers.into_iter().map(|answer| {
        let mut fields = match answer {
            Err(failure) if is_no_string(&failure) => return Ok(Seen::Nothing),
            answer => Fields::new(answer?),
        };
        Ok(Seen::new(space, fields.number()?, fields.maybe_bytes()?))
    });
    be_sure(router, space, keys, seen.collect()).await
}

async fn read_ranked(router: &Router, space: &Space, keys: &[Bytes]) -> Vec<Result<Option<Entry>, StoreError>> {
    let own = Keys::of(space);
    let calls = keys.chunks(SCRIPT_KEYS_MAX).map(|keys| {
        let stored: Vec<Vec<u8>> = keys.iter().map(|key| space.stored_key(key)).collect();
        let stored: Vec<&[u8]> = stored.iter().map(Vec::as_slice).collect();
        let mut command = READ.call(&own.with_index(&stored));
        own.describe(&mut command);
        Call::repeatable(own.own_slot(), &READ, command)
    });
    let answers = router.run_all(calls.collect()).await;
    let mut entries = Vec::with_capacity(keys.len());
    for (answer, keys) in answers.into_iter().zip(keys.chunks(SCRIPT_KEYS_MAX)) {
        match read_list(space, answer, keys.len()) {
            Ok(read) => entries.extend(read.into_iter().map(Ok)),
            Err(error) => entries.extend(vec![Err(error); keys.len()]),
        }
    }
    entries
}

fn read_list(space: &Space, answer: Answer, count: usize) -> Result<Vec<Option<Entry>>, StoreError> {
    let mut fields = Fields::new(answer?).list()?;
    (0..count)
        .map(|_| {
            let (value, left_ms) = (fields.maybe_bytes()?, fields.number()?);
            Ok(value.and_then(|value| entry(space, left_ms, value)))
        })
        .collect()
}

/// Reads again, each in one step, what was seen in two that do not fit.
async fn be_sure(
    router: &Router,
    space: &Space,
    keys: &[Bytes],
    seen: Vec<Result<Seen, StoreError>>,
) -> Vec<Result<Option<Entry>, StoreError>> {
    let mut unsure = Vec::new();
    let mut entries: Vec<Result<Option<Entry>, StoreError>> = Vec::with_capacity(keys.len());
    for (index, seen) in seen.into_iter().enumerate() {
        entries.push(match seen {
            Ok(Seen::Fresh(entry)) => Ok(Some(entry)),
            Ok(Seen::Nothing) => Ok(None),
            Ok(Seen::Unsure) => {
                unsure.push(index);
                Ok(None)
            }
            Err(error) => Err(error),
        });
    }
    if !unsure.is_empty() {
        let calls = unsure.iter().map(|index| {
            let own = Keys::of(space);
            let pair = own.pair(&keys[*index]);
            let mut command = GET.call(&[&pair.value, &pair.beside]);
            own.describe(&mut command);
            Call::repeatable(pair.slot, &GET, command)
        });
        let answers = router.run_all(calls.collect()).await;
        for (index, answer) in unsure.into_iter().zip(answers) {
            entries[index] = one_of_list(space, answer);
        }
    }
    entries
}

fn one_of_list(space: &Space, answer: Answer) -> Result<Option<Entry>, StoreError> {
    Ok(read_list(space, answer, 1)?.pop().flatten())
}

/// Whether another program put something at a key that is no string, and so no value.
fn is_no_string(failure: &Failure) -> bool {
    matches!(failure, Failure::Answered(error) if error.code() == "WRONGTYPE")
}

/// What was seen of a key whose remaining time was read before its value, and not in one step with it.
enum Seen {
    /// A value that was fresh when its time was read, or one that was written since.
    Fresh(Entry),
    Nothing,
    /// A stale value, or one that was written over it since: which of them is not known.
    Unsure,
}

impl Seen {
    fn new(space: &Space, left_ms: i64, value: Option<Bytes>) -> Self {
        match value {
            None => Self::Nothing,
            Some(value) => match entry(space, left_ms, value) {
                Some(entry) if entry.is_fresh() => Self::Fresh(entry),
                _ => Self::Unsure,
            },
        }
    }
}

/// A value of which so much time is left as PTTL says. None where it is past all its time.
fn entry(space: &Space, left_ms: i64, value: Bytes) -> Option<Entry> {
    let kept_ms = space.kept_stale_ms.min(TIME_MAX_MS) as i64;
    match left_ms {
        -1 => Some(Entry { value, ttl_ms: None }),
        left_ms if left_ms < 0 || (left_ms == 0 && kept_ms == 0) => None,
        left_ms => Some(Entry { value, ttl_ms: Some(left_ms - kept_ms) }),
    }
}
