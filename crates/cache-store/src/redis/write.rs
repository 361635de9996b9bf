use std::collections::HashMap;

use ::redis::{Cmd, Value, cmd};

use super::{
    TIME_MAX_MS,
    answer::Fields,
    keys::{Keys, Pair},
    router::Router,
    script::WRITE,
    unreadable,
    way::Call,
};
use crate::{Condition, Done, Layout, Op, Outcome, Refusal, Space, StoreError, Write};

/// A write as the scripts take it: what to do, and four arguments.
pub(super) type Encoded<'a> = (&'static str, [Arg<'a>; 4]);

/// An argument of a write.
#[derive(Clone)]
pub(super) enum Arg<'a> {
    Bytes(&'a [u8]),
    Text(String),
}

impl Arg<'_> {
    const NONE: Self = Self::Bytes(b"");

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }
}

pub(super) async fn write(router: &Router, space: &Space, writes: &[Write]) -> Vec<Result<Outcome, StoreError>> {
    let keys = Keys::of(space);
    let mut counts: HashMap<&[u8], usize> = HashMap::new();
    if writes.len() > 1 {
        for write in writes {
            *counts.entry(&write.key[..]).or_default() += 1;
        }
    }
    let calls = writes.iter().map(|write| {
        let pair = keys.pair(&write.key);
        let of_key = counts.get_mut(&write.key[..]);
        let is_alone = of_key.as_ref().is_none_or(|count| **count == 1);
        if is_alone && let Some(commands) = simple(space, &pair, write) {
            return Call::transaction(pair.slot, commands);
        }
        let mut command = script(&keys, &pair, write);
        // Where Redis does not know the script, the first of several writes of a key must not be later than the next.
        if let Some(count) = of_key
            && *count > 1
        {
            *count = 0;
            command = WRITE.whole(&command);
        }
        Call::once(pair.slot, &WRITE, command)
    });
    let mut outcomes = Vec::with_capacity(writes.len());
    let answers = router.run_all(calls.collect()).await;
    for (answer, write) in answers.into_iter().zip(writes) {
        outcomes.push(match answer {
            Err(failure) if failure.is_of_moving() => {
                let pair = keys.pair(&write.key);
                let call = Call::once(pair.slot, &WRITE, script(&keys, &pair, write));
                router.run(call).await.map_err(StoreError::from).and_then(|answer| outcome(space, write, answer))
            }
            answer => answer.map_err(StoreError::from).and_then(|answer| outcome(space, write, answer)),
        });
    }
    outcomes
}

/// A put that nothing depends on: a transaction takes Redis a third of the time that the script does. What it replaces is
/// told to have existed even where it is no string: to ask for that would cost every put.
fn simple(space: &Space, pair: &Pair, write: &Write) -> Option<Vec<Cmd>> {
    let Op::Put { value, ttl_ms, condition: Condition::Any } = &write.op else { return None };
    if space.layout != Layout::Spread || space.is_overwrite_refused {
        return None;
    }
    let mut set = cmd("SET");
    set.arg(&pair.value).arg(&value[..]);
    if let Some(ttl_ms) = *ttl_ms {
        set.arg("PX").arg(ttl_ms.clamp(1, TIME_MAX_MS) + space.kept_stale_ms.min(TIME_MAX_MS));
    }
    let before = cmd("PTTL").arg(&pair.value).take();
    Some(vec![cmd("MULTI"), before, set, cmd("UNLINK").arg(&pair.beside).take(), cmd("EXEC")])
}

fn script(keys: &Keys<'_>, pair: &Pair, write: &Write) -> Cmd {
    let mut command = WRITE.call(&keys.with_index(&[&pair.value, &pair.beside]));
    keys.describe(&mut command);
    let (op, args) = encode(write);
    command.arg(op);
    for arg in &args {
        command.arg(arg.as_bytes());
    }
    command
}

/// What came of a write: of the script, or of the transaction.
fn outcome(space: &Space, write: &Write, mut answers: Vec<Value>) -> Result<Outcome, StoreError> {
    let is_simple = answers.len() > 1;
    let mut fields = Fields::of(answers.pop().unwrap_or(Value::Nil))?;
    match &write.op {
        Op::Put { ttl_ms, .. } if is_simple => {
            let left_ms = fields.number()?;
            let kept_ms = space.kept_stale_ms.min(TIME_MAX_MS) as i64;
            let ttl_ms = ttl_ms.map(|ttl_ms| ttl_ms.clamp(1, TIME_MAX_MS) as i64);
            Ok(Outcome::Done(Done { existed: left_ms == -1 || left_ms > kept_ms, ttl_ms, ..Done::default() }))
        }
        _ => decode(&mut fields),
    }
}

/// The arguments that the scripts take for a write.
pub(super) fn encode(write: &Write) -> Encoded<'_> {
    match &write.op {
        Op::Put { value, ttl_ms, condition } => {
            let (condition, given) = match condition {
                Condition::Any => ("*", Arg::NONE),
                Condition::Absent => ("a", Arg::NONE),
                Condition::Present => ("p", Arg::NONE),
                Condition::Etag(etag) => ("e", Arg::Text(hex(etag))),
                Condition::Lease(token) => ("l", Arg::Bytes(token)),
            };
            ("p", [Arg::Bytes(value), time(*ttl_ms), Arg::Bytes(condition.as_bytes()), given])
        }
        Op::Add { delta, initial, ttl_ms, new_ttl_ms } => {
            let sum = initial.checked_add(*delta).map_or(Arg::NONE, |sum| Arg::Text(sum.to_string()));
            ("a", [Arg::Text(delta.to_string()), sum, time(*ttl_ms), time(*new_ttl_ms)])
        }
        Op::Touch { ttl_ms } => ("t", [time(*ttl_ms), Arg::NONE, Arg::NONE, Arg::NONE]),
        Op::Delete => ("d", [Arg::NONE; 4]),
    }
}

/// What the scripts answer of a write.
pub(super) fn decode(fields: &mut Fields) -> Result<Outcome, StoreError> {
    Ok(match fields.text()?.as_str() {
        "d" => Outcome::Done(Done {
            existed: fields.number()? == 1,
            ttl_ms: fields.maybe_number()?,
            evicted: u32::try_from(fields.number()?).unwrap_or(u32::MAX),
            number: fields.maybe_number()?,
        }),
        "e" => Outcome::Refused(Refusal::Exists),
        "m" => Outcome::Refused(Refusal::NotMet { current: unhex(&fields.text()?) }),
        "n" => Outcome::Refused(Refusal::NotANumber),
        "o" => Outcome::Refused(Refusal::Overflow),
        _ => return Err(unreadable(&Value::Okay)),
    })
}

fn time(ttl_ms: Option<u64>) -> Arg<'static> {
    ttl_ms.map_or(Arg::NONE, |ttl_ms| Arg::Text(ttl_ms.clamp(1, TIME_MAX_MS).to_string()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 20]> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok()
}
