use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::commands::quantities::spelled;

/// Milliseconds up to which they are told: of what is longer nobody wants to know them.
const MILLIS_TOLD_MAX: u64 = 10_000;

/// Bytes as a text that is safe to show: escaped as in Rust (`\xff`, `\n`) where they are no UTF-8, have control characters,
/// or would break a line.
pub(super) fn on_a_line(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Digits of bytes, two each, in lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of digits, two each.
pub(super) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("{text:?} is not hexadecimal: write the etag as `headwater cache get` tells it");
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())).collect()
}

/// Bytes as a member of an object: `name` where they are UTF-8, else `name_base64`.
pub(super) fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => object.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}

/// A time to live for people.
pub(super) fn span(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if millis >= MILLIS_TOLD_MAX {
        return spelled(Duration::from_secs(millis.saturating_add(500) / 1000));
    }
    spelled(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_on_a_line_and_come_back_from_hexadecimal() {
        for (bytes, text) in [
            (&b"caf\xc3\xa9"[..], "café"),
            (b"a\nb", "a\\nb"),
            (b"\x1b[2J", "\\x1b[2J"),
            (b"caf\xe9", "caf\\xe9"),
            (b"", ""),
        ] {
            assert_eq!(on_a_line(bytes), text);
        }
        assert_eq!(from_hex(&hex(&[0, 0xab, 0xff])), Ok(vec![0, 0xab, 0xff]));
        for text in ["", "a", "zz", "+1", "é9", "0x12"] {
            assert!(from_hex(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_is_as_exact_as_anybody_wants() {
        for (millis, text) in [(250, "0.25s"), (9999, "9.999s"), (59_600, "1m"), (3_599_999, "1h"), (0, "0s")] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }
}
