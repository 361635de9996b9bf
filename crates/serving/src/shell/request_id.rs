use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that a caller may name its call with, and that answers with an error carry.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of a caller's id at most; a longer one is replaced.
const LENGTH_MAX: usize = 64;

/// What a call is called in logs, and in the answer where it fails. In the request's extensions of every call.
#[derive(Clone, Debug)]
pub struct RequestId(Id);

#[derive(Clone, Debug)]
enum Id {
    Given(HeaderValue),
    Number(u64),
}

/// Tells processes apart.
static PROCESS: LazyLock<u32> = LazyLock::new(|| {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    // The low bits change most between two starts.
    (nanos ^ (nanos >> 32)) as u32 ^ std::process::id().rotate_left(16)
});
static NEXT: AtomicU64 = AtomicU64::new(1);

impl RequestId {
    /// The caller's id, or a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(HEADER).filter(|value| {
            (1..=LENGTH_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        Self(given.map_or_else(|| Id::Number(NEXT.fetch_add(1, Ordering::Relaxed)), |value| Id::Given(value.clone())))
    }

    /// The id as a header.
    pub(super) fn to_header(&self) -> HeaderValue {
        match &self.0 {
            Id::Given(value) => value.clone(),
            Id::Number(_) => HeaderValue::from_str(&self.to_string()).expect("hexadecimal digits and a hyphen"),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Given(value) => f.write_str(value.to_str().unwrap_or_default()),
            Id::Number(n) => write!(f, "{:08x}-{n:x}", *PROCESS),
        }
    }
}
