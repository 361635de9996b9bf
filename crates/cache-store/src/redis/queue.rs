use ::redis::{Value, cmd};

use super::{
    answer::Fields,
    keys::Keys,
    router::Router,
    script::{APPLY, ENQUEUE, HEAD},
    way::Call,
    write,
};
use crate::{Applied, EnqueueError, Holder, Layout, QueuedWrite, Space, StoreError, Write};

/// Writes that one script applies, at most: it holds Redis up for a few milliseconds.
const APPLIED_AT_ONCE: u64 = 64;

/// Outcomes that are kept, at least, and how long.
const OUTCOMES_KEPT: u64 = 10_000;
const OUTCOMES_KEPT_MS: u64 = 3_600_000;

pub(super) async fn enqueue(router: &Router, space: &Space, writes: &[Write]) -> Result<Vec<String>, EnqueueError> {
    if space.layout == Layout::Spread {
        return Err(StoreError::Refused("writes of a spread layout cannot be queued".into()).into());
    }
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let keys = Keys::of(space);
    let mut command = ENQUEUE.call(&[keys.queue()]);
    command.arg(space.queue_max);
    for queued in writes {
        let (op, args) = write::encode(queued);
        command.arg(&queued.key[..]).arg(op);
        for arg in &args {
            command.arg(arg.as_bytes());
        }
    }
    let answer = router.run(Call::once(keys.own_slot(), &ENQUEUE, command)).await.map_err(StoreError::from)?;
    match answer.into_iter().next() {
        Some(Value::Int(waiting)) => Err(EnqueueError::Full { waiting: waiting.max(0) as u64 }),
        ids => {
            let mut ids = Fields::of(ids.unwrap_or(Value::Nil))?;
            Ok(writes.iter().map(|_| ids.text()).collect::<Result<_, _>>()?)
        }
    }
}

pub(super) async fn apply(
    router: &Router,
    space: &Space,
    holder: &Holder,
    writes_max: u64,
) -> Result<Applied, StoreError> {
    let (mut count, mut last_waiting) = (0, 0);
    loop {
        let left = writes_max.saturating_sub(count);
        match apply_some(router, space, holder, left.min(APPLIED_AT_ONCE)).await {
            Ok(Applied::Ended { count: more, waiting }) => {
                count += more;
                last_waiting = waiting;
                if more == 0 || waiting == 0 || count >= writes_max {
                    return Ok(Applied::Ended { count, waiting });
                }
            }
            // What was applied before is told first.
            Err(_) if count > 0 => return Ok(Applied::Ended { count, waiting: last_waiting }),
            other => return other,
        }
    }
}

async fn apply_some(router: &Router, space: &Space, holder: &Holder, most: u64) -> Result<Applied, StoreError> {
    let keys = Keys::of(space);
    let lease_ms = i64::try_from(holder.lease_ms).unwrap_or(i64::MAX).max(1);
    let (queue, outcomes, holds) = (keys.queue(), keys.outcomes(), keys.holder());
    // Which keys the next writes are for, so that the script says them: only then a Cluster that moves the slot refuses it
    // before anything is done.
    let command = HEAD.call(&[&queue, &holds]).arg(most.max(1)).take();
    let mut head = Fields::new(router.run(Call::repeatable(keys.own_slot(), &HEAD, command)).await?).list()?;
    let current = head.maybe_bytes()?;
    let held_ms = head.number()?;
    let waiting = head.number()?.max(0) as u64;
    match current {
        Some(current) if current != holder.id.as_bytes() => return Ok(Applied::HeldByOther),
        Some(_) if waiting == 0 && held_ms > lease_ms / 2 => return Ok(Applied::Ended { count: 0, waiting }),
        _ => {}
    }
    let mut pairs = Vec::new();
    let mut ids = Vec::new();
    while most > 0 && !head.is_empty() {
        ids.push(head.text()?);
        pairs.push(keys.pair(&head.maybe_bytes()?.unwrap_or_default()));
    }
    let mut named: Vec<&[u8]> = vec![queue.as_bytes(), outcomes.as_bytes(), holds.as_bytes()];
    named.extend(pairs.iter().flat_map(|pair| [&pair.value[..], &pair.beside[..]]));
    let mut command = APPLY.call(&keys.with_index(&named));
    keys.describe(&mut command);
    command.arg(&holder.id).arg(lease_ms).arg(OUTCOMES_KEPT).arg(OUTCOMES_KEPT_MS);
    for id in &ids {
        command.arg(id);
    }
    match router.run(Call::once(keys.own_slot(), &APPLY, command)).await?.pop() {
        Some(Value::Nil) => Ok(Applied::HeldByOther),
        answer => {
            let mut fields = Fields::of(answer.unwrap_or(Value::Nil))?;
            let (count, waiting) = (fields.number()?, fields.number()?);
            Ok(Applied::Ended { count: count.max(0) as u64, waiting: waiting.max(0) as u64 })
        }
    }
}

pub(super) async fn queued(router: &Router, space: &Space, id: &str) -> Result<Option<QueuedWrite>, StoreError> {
    // Redis would take other spellings of an id, and parts of one, too.
    let is_number = |text: &str| text.parse().is_ok_and(|number: u64| number.to_string() == text);
    if !id.split_once('-').is_some_and(|(time, number)| is_number(time) && is_number(number)) {
        return Ok(None);
    }
    let keys = Keys::of(space);
    // The queue first: what left it in between has its outcome by then.
    let commands = [keys.queue(), keys.outcomes()].map(|stream| cmd("XRANGE").arg(stream).arg(id).arg(id).take());
    let mut answers = Fields::new(router.run(Call::read(keys.own_slot(), commands.to_vec())).await?);
    if !answers.list()?.is_empty() {
        return Ok(Some(QueuedWrite::Waiting));
    }
    let mut entries = answers.list()?;
    if entries.is_empty() {
        return Ok(None);
    }
    let mut entry = entries.list()?;
    entry.value();
    let mut fields = entry.list()?;
    fields.value();
    let outcome = fields.text()?;
    let outcome = outcome.split('|').map(|field| Value::BulkString(field.as_bytes().to_vec()));
    let outcome = write::decode(&mut Fields::new(outcome.collect()))?;
    Ok(Some(QueuedWrite::Ended(outcome)))
}
