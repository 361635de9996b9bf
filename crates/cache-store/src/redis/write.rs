use std::collections::HashMap;

use ::redis::Value;

use super::{TIME_MAX_MS, answer::Fields, keys::Keys, router::Router, script::WRITE, unreadable, way::Call};
use crate::{Condition, Done, Op, Outcome, Refusal, Space, StoreError, Write};

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
        let mut command = WRITE.call(&keys.with_index(&[&pair.value, &pair.beside]));
        keys.describe(&mut command);
        let (op, args) = encode(write);
        command.arg(op);
        for arg in &args {
            command.arg(arg.as_bytes());
        }
        // Where Redis does not know the script, the first of several writes of a key must not be later than the next.
        if counts.remove(&write.key[..]).is_some_and(|count| count > 1) {
            command = WRITE.whole(&command);
        }
        Call::once(pair.slot, &WRITE, command)
    });
    let answers = router.run_all(calls.collect()).await;
    answers
        .into_iter()
        .map(|answer| {
            let mut fields = Fields::new(answer?).list()?;
            decode(&mut fields)
        })
        .collect()
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
