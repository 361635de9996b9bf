//! The Confluent frame of a Protobuf message: a zero byte, the schema's id (4 bytes, big-endian), the path to the message
//! within the schema (a count and that many indexes, each a zigzag varint; `[0]`, the first message, is written as one
//! zero byte) and then the message itself.
//!
//! The library for Rust hides this behind decoders that ask the registry by themselves; here reading a frame does no I/O
//! and allocates nothing.

use std::ops::Deref;

use thiserror::Error;

/// The byte that every frame begins with.
pub const MAGIC: u8 = 0;
/// Messages may be nested that deep, at most.
pub const MESSAGE_INDEXES_MAX: usize = 16;
/// Bytes of a varint of 32 bits, at most.
const VARINT_BYTES_MAX: usize = 5;

/// The path to a message within a schema: 1 to [`MESSAGE_INDEXES_MAX`] indexes. Read it as a slice.
#[derive(Clone, Copy)]
pub struct MessageIndexes {
    count: u8,
    indexes: [i32; MESSAGE_INDEXES_MAX],
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// They end within the frame's own fields.
    #[error("the frame is cut off after {bytes} bytes")]
    Truncated {
        /// How many there are.
        bytes: usize,
    },
    /// They do not begin with a zero.
    #[error("the frame begins with the byte {0}, not with 0")]
    Magic(u8),
    /// The path to the message is negative, too long or not a number.
    #[error("the frame's message indexes are not valid")]
    Indexes,
}

/// What goes before a message: of the first message of the schema where `message_indexes` is empty.
pub fn prefix(schema_id: u32, message_indexes: &[i32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(6 + VARINT_BYTES_MAX * message_indexes.len());
    bytes.push(MAGIC);
    bytes.extend_from_slice(&schema_id.to_be_bytes());
    if matches!(message_indexes, [] | [0]) {
        bytes.push(0);
        return bytes;
    }
    put_varint(&mut bytes, message_indexes.len() as i32);
    for &index in message_indexes {
        put_varint(&mut bytes, index);
    }
    bytes
}

/// Takes a frame apart: the schema's id in the registry, which message of the schema it is (the index of the message in
/// the file, then of the one nested in it, and so on), and the encoded message.
///
/// # Errors
/// All of `FrameError`; the payload itself is not looked at.
pub fn parse(bytes: &[u8]) -> Result<(u32, MessageIndexes, &[u8]), FrameError> {
    let truncated = FrameError::Truncated { bytes: bytes.len() };
    let Some((&magic, mut rest)) = bytes.split_first() else { return Err(truncated) };
    if magic != MAGIC {
        return Err(FrameError::Magic(magic));
    }
    let Some((id, after)) = rest.split_first_chunk::<4>() else { return Err(truncated) };
    rest = after;
    let count = take_varint(&mut rest, truncated)?;
    let count = usize::try_from(count).ok().filter(|&n| n <= MESSAGE_INDEXES_MAX).ok_or(FrameError::Indexes)?;
    let mut message_indexes = MessageIndexes { count: count.max(1) as u8, indexes: [0; MESSAGE_INDEXES_MAX] };
    for index in &mut message_indexes.indexes[..count] {
        *index = take_varint(&mut rest, truncated)?;
        if *index < 0 {
            return Err(FrameError::Indexes);
        }
    }
    Ok((u32::from_be_bytes(*id), message_indexes, rest))
}

impl Deref for MessageIndexes {
    type Target = [i32];

    fn deref(&self) -> &[i32] {
        &self.indexes[..usize::from(self.count)]
    }
}

impl PartialEq for MessageIndexes {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for MessageIndexes {}

impl std::fmt::Debug for MessageIndexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self[..].fmt(f)
    }
}

fn put_varint(bytes: &mut Vec<u8>, value: i32) {
    let mut zigzag = ((value << 1) ^ (value >> 31)) as u32;
    while zigzag >= 0x80 {
        bytes.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    bytes.push(zigzag as u8);
}

fn take_varint(rest: &mut &[u8], truncated: FrameError) -> Result<i32, FrameError> {
    let mut zigzag = 0_u32;
    for place in 0..VARINT_BYTES_MAX {
        let Some((&byte, after)) = rest.split_first() else { return Err(truncated) };
        *rest = after;
        let bits = u32::from(byte & 0x7f);
        // The fifth byte has room for four bits.
        if place == VARINT_BYTES_MAX - 1 && bits > 0xf {
            return Err(FrameError::Indexes);
        }
        zigzag |= bits << (7 * place);
        if byte < 0x80 {
            return Ok((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32));
        }
    }
    Err(FrameError::Indexes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schema_registry_converter::schema_registry_common::{BytesResult, get_bytes_result, get_payload};

    use super::*;

    #[test]
    fn frames_are_as_confluent_writes_them() {
        assert_eq!(prefix(1, &[0]), [0, 0, 0, 0, 1, 0]);
        assert_eq!(prefix(1, &[]), [0, 0, 0, 0, 1, 0]);
        assert_eq!(prefix(0x0102_0304, &[1]), [0, 1, 2, 3, 4, 2, 2]);
        assert_eq!(prefix(7, &[0, 0]), [0, 0, 0, 0, 7, 4, 0, 0]);
        assert_eq!(prefix(7, &[2, 1, 64]), [0, 0, 0, 0, 7, 6, 4, 2, 0x80, 1]);
    }

    #[test]
    fn the_first_message_may_be_written_in_full() {
        let (id, indexes, payload) = parse(&[0, 0, 0, 0, 1, 2, 0, 9]).expect("a frame");
        assert_eq!((id, &indexes[..], payload), (1, &[0][..], &[9_u8][..]));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(parse(&[]), Err(FrameError::Truncated { bytes: 0 }));
        assert_eq!(parse(&[0, 0, 0, 0, 1]), Err(FrameError::Truncated { bytes: 5 }));
        assert_eq!(parse(&[0, 0, 0, 0, 1, 4, 0]), Err(FrameError::Truncated { bytes: 7 }));
        assert_eq!(parse(b"{\"id\":1}"), Err(FrameError::Magic(b'{')));
        assert_eq!(parse(&[0, 0, 0, 0, 1, 1]), Err(FrameError::Indexes), "a count of -1");
        assert_eq!(parse(&[0, 0, 0, 0, 1, 34]), Err(FrameError::Indexes), "a count of 17");
        assert_eq!(parse(&[0, 0, 0, 0, 1, 2, 1]), Err(FrameError::Indexes), "an index of -1");
        assert_eq!(parse(&[0, 0, 0, 0, 1, 2, 0xff, 0xff, 0xff, 0xff, 0x1f]), Err(FrameError::Indexes), "33 bits");
        assert_eq!(parse(&[0, 0, 0, 0, 1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Err(FrameError::Indexes), "no end");
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read_back(
            id: u32,
            indexes in prop::collection::vec(0..=i32::MAX, 1..=MESSAGE_INDEXES_MAX),
            payload: Vec<u8>,
        ) {
            let mut bytes = prefix(id, &indexes);
            bytes.extend_from_slice(&payload);
            let (read_id, read_indexes, read_payload) = parse(&bytes).expect("a frame");
            prop_assert_eq!(read_id, id);
            prop_assert_eq!(&read_indexes[..], &indexes[..]);
            prop_assert_eq!(read_payload, &payload[..]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_indexes_make_it_panic(rest: Vec<u8>) {
            let mut bytes = vec![0, 0, 0, 0, 1];
            bytes.extend_from_slice(&rest);
            if let Ok((_, indexes, payload)) = parse(&bytes) {
                prop_assert!(indexes.iter().all(|&index| index >= 0));
                prop_assert!(bytes.ends_with(payload));
            }
        }

        #[test]
        fn the_library_agrees(id: u32, payload: Vec<u8>) {
            let mut ours = prefix(id, &[0]);
            ours.extend_from_slice(&payload);
            let mut with_indexes = vec![0];
            with_indexes.extend_from_slice(&payload);
            prop_assert_eq!(&ours, &get_payload(id, with_indexes));
            prop_assert_eq!(get_bytes_result(Some(&ours)), BytesResult::Valid(id, &ours[5..]));
        }
    }
}
