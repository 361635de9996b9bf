//! The engine's answers in the contract's words.

use bytes::Bytes;
use headwater_cache::{Answer, CacheError, Forward, Layer, Outcome, QueuedState, Refusal, WriteDone, Written, etag_of};
use headwater_contracts::v1::cache as proto;

use crate::problems::{answer_full, key_error, refusal};

pub(crate) fn status(answer: &Answer) -> proto::CacheStatus {
    let outcome = match answer.outcome {
        Outcome::Hit => proto::Outcome::Hit,
        Outcome::Miss => proto::Outcome::Miss,
        Outcome::Stale => proto::Outcome::Stale,
    };
    let layer = match answer.layer {
        Layer::L1 => proto::Layer::L1,
        Layer::L2 => proto::Layer::L2,
        Layer::Loader => proto::Layer::Loader,
    };
    let fwd = match answer.forward {
        None => proto::Forward::Unspecified,
        Some(Forward::Miss) => proto::Forward::Miss,
        Some(Forward::Stale) => proto::Forward::Stale,
        Some(Forward::Request) => proto::Forward::Request,
        Some(Forward::Bypass) => proto::Forward::Bypass,
    };
    proto::CacheStatus {
        outcome: outcome.into(),
        layer: layer.into(),
        fwd: fwd.into(),
        ttl_ms: answer.ttl_ms,
        collapsed: answer.is_collapsed,
        detail: answer.detail.clone().unwrap_or_default(),
    }
}

pub(crate) fn get(answer: Answer, with_etag: bool) -> proto::GetResponse {
    proto::GetResponse {
        status: Some(status(&answer)),
        etag: etag(&answer, with_etag),
        lease: answer.lease.unwrap_or_default(),
        value: answer.value,
    }
}

/// What a result takes beside its value, at most.
const RESULT_BYTES: usize = 64;

/// The results of a batch, with values of so many bytes at most in all.
pub(crate) fn get_results(
    results: Vec<Result<Answer, CacheError>>,
    with_etag: bool,
    bytes_max: usize,
) -> Vec<proto::BatchGetResult> {
    let mut bytes = 0_usize;
    let mut is_first = true;
    let within = |result: Result<Answer, CacheError>| {
        let value = result.as_ref().ok().and_then(|answer| answer.value.as_ref());
        let size = value.map_or(0, Bytes::len) + RESULT_BYTES;
        // The first is answered whatever its size, so that who asks for the rest apart comes to an end.
        if std::mem::take(&mut is_first) || bytes.saturating_add(size) <= bytes_max {
            bytes = bytes.saturating_add(size);
            return get_result(result, with_etag);
        }
        let error = proto::batch_get_result::Result::Error(answer_full(bytes_max));
        proto::BatchGetResult { result: Some(error) }
    };
    results.into_iter().map(within).collect()
}

fn get_result(result: Result<Answer, CacheError>, with_etag: bool) -> proto::BatchGetResult {
    use proto::batch_get_result::Result as Kind;
    let result = match result {
        Ok(answer) => {
            let (status, etag) = (Some(status(&answer)), etag(&answer, with_etag));
            Kind::Found(proto::Found { value: answer.value, status, etag })
        }
        Err(error) => Kind::Error(key_error(error)),
    };
    proto::BatchGetResult { result: Some(result) }
}

pub(crate) fn set_result(result: Result<Written, CacheError>) -> proto::BatchSetResult {
    use proto::batch_set_result::Result as Kind;
    let result = match result {
        Ok(done) => Kind::Written(written(&done)),
        Err(error) => Kind::Error(key_error(error)),
    };
    proto::BatchSetResult { result: Some(result) }
}

pub(crate) fn delete_result(result: Result<Written, CacheError>) -> proto::BatchDeleteResult {
    use proto::batch_delete_result::Result as Kind;
    let result = match result {
        Ok(done) => Kind::Forgotten(proto::Forgotten { found: existed(&done), written: Some(written(&done)) }),
        Err(error) => Kind::Error(key_error(error)),
    };
    proto::BatchDeleteResult { result: Some(result) }
}

pub(crate) fn written(written: &Written) -> proto::Written {
    match written {
        Written::Done(done) => write_done(done),
        Written::Queued(id) => proto::Written { write_id: id.clone(), ..Default::default() },
    }
}

/// Whether the key had a value, as far as that is known yet.
pub(crate) fn existed(written: &Written) -> bool {
    matches!(written, Written::Done(done) if done.existed)
}

/// The sum, where it is known yet.
pub(crate) fn number(written: &Written) -> i64 {
    match written {
        Written::Done(done) => done.number.unwrap_or_default(),
        Written::Queued(_) => 0,
    }
}

pub(crate) fn queued(state: QueuedState) -> proto::GetWriteResponse {
    let response = proto::GetWriteResponse::default();
    match state {
        QueuedState::Waiting => proto::GetWriteResponse { state: proto::WriteState::Queued.into(), ..response },
        QueuedState::Applied(done) => proto::GetWriteResponse {
            state: proto::WriteState::Applied.into(),
            found: done.existed,
            value: done.number,
            written: Some(write_done(&done)),
            ..response
        },
        QueuedState::Refused(why) => proto::GetWriteResponse {
            state: proto::WriteState::Refused.into(),
            found: has_value(&why),
            error: Some(refusal(why)),
            ..response
        },
    }
}

/// Whether the key of a refused write has a value.
fn has_value(why: &Refusal) -> bool {
    match why {
        Refusal::NotMet { current } => current.is_some(),
        Refusal::Exists | Refusal::NotANumber | Refusal::Overflow => true,
    }
}

fn write_done(done: &WriteDone) -> proto::Written {
    proto::Written {
        write_id: String::new(),
        etag: done.etag.map(|etag| Bytes::copy_from_slice(&etag)).unwrap_or_default(),
        ttl_ms: done.ttl_ms,
        replaced: done.existed,
        evicted: done.evicted,
    }
}

/// The value's etag, where it was asked for.
fn etag(answer: &Answer, is_wanted: bool) -> Bytes {
    let value = answer.value.as_ref().filter(|_| is_wanted);
    value.map(|value| Bytes::copy_from_slice(&etag_of(value))).unwrap_or_default()
}
