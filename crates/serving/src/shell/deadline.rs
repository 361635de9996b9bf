use std::time::Duration;

use headwater_domain::Reason;
use http::HeaderMap;
use tokio::time::Instant;

use crate::Problem;
use crate::settings::RpcSettings;

/// When a call must be answered: in the request's extensions of every call that has a deadline. Pass on what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// The deadline of a request; none for a stream that brought none.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get().copied()
    }

    /// What is left of it; nothing where it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// A deadline with what there is to say when it passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) at: Instant,
    allowed: Duration,
    source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Caller,
    Default,
    Max,
}

impl Limit {
    /// The deadline of a call that begins now. A stream has only the one it brings.
    pub(super) fn of(headers: &HeaderMap, is_unary: bool, rpc: &RpcSettings, now: Instant) -> Option<Self> {
        let given = grpc_timeout(headers);
        let (allowed, source) = if is_unary {
            let max = Duration::from_millis(rpc.deadline_max_ms);
            match given {
                Some(given) if given <= max => (given, Source::Caller),
                Some(_) => (max, Source::Max),
                None => (Duration::from_millis(rpc.deadline_default_ms), Source::Default),
            }
        } else {
            (given?, Source::Caller)
        };
        Some(Self { at: now.checked_add(allowed)?, allowed, source })
    }

    /// What to say when it has passed.
    pub(super) fn problem(self) -> Problem {
        let source = match self.source {
            Source::Caller => "the call's own deadline",
            Source::Default => "rpc.deadline_default_ms, as the call brought no deadline",
            Source::Max => "rpc.deadline_max_ms, as the call asked for more",
        };
        let allowed_ms = self.allowed.as_millis();
        Problem::new(Reason::DeadlineExceeded, format!("no answer within {allowed_ms} ms ({source})"))
            .with_metadata("allowed_ms", allowed_ms.to_string())
    }
}

/// What `grpc-timeout` says: up to eight digits and a unit. Anything else is taken as absent.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn headers(timeout: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), timeout.parse().expect("a value"))])
    }

    #[test]
    fn the_header_is_read_as_the_protocol_says() {
        for (text, timeout) in [
            ("3H", Some(Duration::from_secs(10_800))),
            ("2M", Some(Duration::from_secs(120))),
            ("42S", Some(Duration::from_secs(42))),
            ("13m", Some(Duration::from_millis(13))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("0n", Some(Duration::ZERO)),
            ("999999999S", None),
            ("+1S", None),
            ("S", None),
            ("1s", None),
            ("", None),
            ("1", None),
        ] {
            assert_eq!(grpc_timeout(&headers(text)), timeout, "{text:?}");
        }
    }

    #[test]
    fn unary_calls_are_bounded_and_streams_are_not() {
        let rpc = Settings::default().rpc;
        let now = Instant::now();
        let after = |headers: &HeaderMap, is_unary| {
            Limit::of(headers, is_unary, &rpc, now).map(|limit| (limit.at - now).as_millis())
        };
        assert_eq!(after(&HeaderMap::new(), true), Some(10_000));
        assert_eq!(after(&headers("5S"), true), Some(5_000));
        assert_eq!(after(&headers("5H"), true), Some(60_000));
        assert_eq!(after(&HeaderMap::new(), false), None);
        assert_eq!(after(&headers("5H"), false), Some(18_000_000));
    }
}
