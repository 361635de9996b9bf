use std::fmt::Write;

use sha2::{Digest, Sha256};

/// An id for an event that came without one: the same for the same content, whoever derives it and however often.
///
/// * `stream`: the stream's name.
/// * `time_ms`: the event's time, in milliseconds since 1970; negative ones count as 0.
/// * `content`: the event without its id, written in one canonical way.
/// * `ordinal`: which of the events of equal content within their source this is, from 0: they are different events.
///
/// The id is a UUID of version 8 (RFC 9562, section 5.8). Its first 48 bits are the time, so that ids grow with time
/// and are as cheap to store as UUIDv7; the other 74 are the first ones of
/// SHA-256("headwater-event-id-1" 00 stream 00 ordinal content), the ordinal as 8 bytes, most significant first.
pub fn derive_event_id(stream: &str, time_ms: i64, content: &[u8], ordinal: u64) -> String {
    let mut hash = Sha256::new();
    hash.update(b"headwater-event-id-1\0");
    hash.update(stream.as_bytes());
    hash.update([0]);
    hash.update(ordinal.to_be_bytes());
    hash.update(content);
    let digest = hash.finalize();
    let mut bytes = [0_u8; 16];
    bytes[..6].copy_from_slice(&time_ms.max(0).to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&digest[..10]);
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_they_were() {
        // Fixed for good: a file that was published by an older release must count once.
        let id = derive_event_id("page-events", 1_710_513_000_000, br#"{"user_id":"usr_789"}"#, 0);
        assert_eq!(id, "018e4285-0e40-84eb-b099-2b8b4a6714d4");
    }

    #[test]
    fn all_that_goes_in_makes_a_difference() {
        let id = derive_event_id("s", 1, b"c", 0);
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'8');
        for other in [
            derive_event_id("t", 1, b"c", 0),
            derive_event_id("s", 2, b"c", 0),
            derive_event_id("s", 1, b"d", 0),
            derive_event_id("s", 1, b"c", 1),
        ] {
            assert_ne!(id, other);
        }
        assert_eq!(&derive_event_id("s", -5, b"c", 0)[..13], "00000000-0000");
    }
}
