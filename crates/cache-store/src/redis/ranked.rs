use ::redis::cmd;
use bytes::Bytes;

use super::{
    answer::Fields,
    keys::Keys,
    router::Router,
    script::{RAISE, SHRINK},
    way::Call,
};
use crate::{Held, Space, StoreError};

/// Keys whose ranks one script raises, at most.
const RAISED_AT_ONCE: usize = 256;

/// Keys that one step of shrinking looks at, about.
const STEP_KEYS: usize = 500;

/// Steps of one call of `shrink`.
const STEPS_MAX: usize = 1_000_000;

pub(super) async fn raise(router: &Router, space: &Space, reads: &[(Bytes, u64)]) -> Result<(), StoreError> {
    let keys = Keys::of(space);
    if keys.entries_max().is_none() {
        return Ok(());
    }
    let calls = reads.chunks(RAISED_AT_ONCE).map(|reads| {
        let mut command = RAISE.call(&keys.with_index(&[]));
        keys.describe(&mut command);
        for (key, count) in reads {
            command.arg(&key[..]).arg(*count);
        }
        Call::once(keys.own_slot(), &RAISE, command)
    });
    for answer in router.run_all(calls.collect()).await {
        answer?;
    }
    Ok(())
}

pub(super) async fn shrink(router: &Router, space: &Space) -> Result<u64, StoreError> {
    let keys = Keys::of(space);
    if keys.entries_max().is_none() {
        return Ok(0);
    }
    let mut cursor = "0".to_owned();
    let mut left = 0;
    for _ in 0..STEPS_MAX {
        let mut command = SHRINK.call(&keys.with_index(&[]));
        keys.describe(&mut command);
        command.arg(&cursor).arg(STEP_KEYS);
        let mut fields = Fields::new(router.run(Call::repeatable(keys.own_slot(), &SHRINK, command)).await?).list()?;
        cursor = fields.text()?;
        left += fields.number()?.max(0) as u64;
        let is_too_large = fields.number()? == 1;
        if cursor == "0" && !is_too_large {
            break;
        }
    }
    Ok(left)
}

pub(super) async fn held(router: &Router, space: &Space) -> Result<Held, StoreError> {
    let keys = Keys::of(space);
    let [reads, _, times, ..] = keys.index();
    let mut commands = vec![cmd("XLEN").arg(keys.queue()).take()];
    if keys.entries_max().is_some() {
        let mut time = Fields::new(router.run(Call::read(keys.own_slot(), vec![cmd("TIME")])).await?).list()?;
        let now_ms = time.number()? * 1000 + time.number()? / 1000;
        let gone_ms = now_ms.saturating_sub_unsigned(space.kept_stale_ms);
        commands.push(cmd("ZCARD").arg(&reads).take());
        commands.push(cmd("ZCOUNT").arg(&times).arg("-inf").arg(gone_ms).take());
    }
    let mut answers = Fields::new(router.run(Call::read(keys.own_slot(), commands)).await?);
    let queued = answers.number()?.max(0) as u64;
    let entries = match keys.entries_max() {
        Some(_) => Some((answers.number()? - answers.number()?).max(0) as u64),
        None => None,
    };
    Ok(Held { entries, queued })
}
