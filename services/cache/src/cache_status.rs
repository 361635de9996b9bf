//! The header `Cache-Status` (RFC 9211) of an answer.

use headwater_cache::{Answer, Forward, Layer, Outcome};

/// Bytes of a detail at most.
const DETAIL_BYTES_MAX: usize = 200;

/// The caches that handled a read, the one that is nearest to the caller last: `headwater-l2` is the store that all replicas
/// share, `headwater-l1` the memory of the replica.
pub(crate) fn of(answer: &Answer) -> String {
    let hit = match (answer.outcome, answer.ttl_ms) {
        (Outcome::Miss, _) => None,
        // In seconds, and stale where negative: what has less than a second left is still fresh.
        (_, Some(ttl_ms)) => Some(format!("; hit; ttl={}", ttl_ms.div_euclid(1000))),
        (_, None) => Some("; hit".to_owned()),
    };
    let l2 = match (answer.layer, &hit) {
        (Layer::L1, _) => None,
        (Layer::L2, Some(hit)) => Some(hit.as_str()),
        (Layer::L2, None) | (Layer::Loader, _) => Some("; fwd=uri-miss"),
    };
    let mut l1 = match answer.forward {
        _ if answer.layer == Layer::L1 => hit.clone().unwrap_or_default(),
        None => String::new(),
        Some(Forward::Miss) => "; fwd=uri-miss".to_owned(),
        Some(Forward::Stale) => "; fwd=stale".to_owned(),
        Some(Forward::Request) => "; fwd=request".to_owned(),
        Some(Forward::Bypass) => "; fwd=bypass".to_owned(),
    };
    if answer.is_collapsed {
        l1.push_str("; collapsed");
    }
    if let Some(detail) = &answer.detail {
        l1.push_str(&format!("; detail=\"{}\"", quoted(detail)));
    }
    match l2 {
        Some(l2) => format!("headwater-l2{l2}, headwater-l1{l1}"),
        None => format!("headwater-l1{l1}"),
    }
}

/// A text as a string of RFC 8941: printable ASCII, with backslashes before quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars().take(DETAIL_BYTES_MAX) {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(outcome: Outcome, layer: Layer, forward: Option<Forward>, ttl_ms: Option<i64>) -> Answer {
        Answer { value: None, outcome, layer, forward, ttl_ms, is_collapsed: false, lease: None, detail: None }
    }

    #[test]
    fn each_cache_says_what_it_did() {
        let l1 = answer(Outcome::Hit, Layer::L1, None, Some(2900));
        assert_eq!(of(&l1), "headwater-l1; hit; ttl=2");
        let l2 = Answer { is_collapsed: true, ..answer(Outcome::Hit, Layer::L2, Some(Forward::Miss), None) };
        assert_eq!(of(&l2), "headwater-l2; hit, headwater-l1; fwd=uri-miss; collapsed");
        let miss = answer(Outcome::Miss, Layer::L2, Some(Forward::Bypass), None);
        assert_eq!(of(&miss), "headwater-l2; fwd=uri-miss, headwater-l1; fwd=bypass");
        let loaded = answer(Outcome::Hit, Layer::Loader, Some(Forward::Stale), Some(5000));
        assert_eq!(of(&loaded), "headwater-l2; fwd=uri-miss, headwater-l1; fwd=stale");
        let stale = answer(Outcome::Stale, Layer::L1, Some(Forward::Bypass), Some(-1500));
        let stale = Answer { detail: Some("no \"answer\" – ü".into()), ..stale };
        assert_eq!(of(&stale), r#"headwater-l1; hit; ttl=-2; detail="no \"answer\" ? ?""#);
    }
}
