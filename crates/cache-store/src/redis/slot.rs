use std::{io::Write, sync::LazyLock};

/// Hash slots of a Cluster.
const SLOTS: usize = 16_384;

/// The hash slot of a key: of what is between its first `{` and the next `}`, where that is something.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').map(|close| &rest[..close])
    });
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % SLOTS as u16
}

/// A hash tag of a slot, for a key that has to lie beside another one: a number, in hexadecimal digits. The same in every
/// version: keys are found by it.
pub(super) fn tag_of(slot: u16) -> u32 {
    static TAGS: LazyLock<Vec<u32>> = LazyLock::new(|| {
        const MISSING: u32 = u32::MAX;
        let mut tags = vec![MISSING; SLOTS];
        let mut missing = SLOTS;
        let mut digits = Vec::with_capacity(8);
        for number in 0.. {
            if missing == 0 {
                break;
            }
            digits.clear();
            // Into memory, which takes it.
            let _ = write!(digits, "{number:x}");
            let found = &mut tags[usize::from(slot_of(&digits))];
            if *found == MISSING {
                *found = number;
                missing -= 1;
            }
        }
        tags
    });
    TAGS[usize::from(slot) % SLOTS]
}

/// CRC-16/XMODEM, as Redis uses it.
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut crc = (index as u16) << 8;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
                bit += 1;
            }
            table[index] = crc;
            index += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // As CLUSTER KEYSLOT answers.
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"a{foo}b{bar}"), 12182);
        assert_eq!(slot_of(b"foo{}{bar}"), 8363);
        assert_eq!(slot_of(b"{foo"), slot_of(b"{foo"));
        assert_eq!(slot_of(b""), 0);
    }

    #[test]
    fn every_slot_has_a_tag_of_its_own() {
        for slot in 0..SLOTS as u16 {
            assert_eq!(slot_of(format!("x:{{{:x}}}:y", tag_of(slot)).as_bytes()), slot);
        }
    }
}
