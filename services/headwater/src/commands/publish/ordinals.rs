use std::collections::HashMap;

/// Counts lines of equal content, so that each of them gets an id of its own and the same one each time.
///
/// It keeps 16 bytes of each content's first id and a count, in a table of at most `distinct_max` entries; a file with more
/// different lines is refused rather than counted wrong.
#[derive(Debug)]
pub(super) struct Ordinals {
    counts: HashMap<[u8; 16], u32>,
    distinct_max: usize,
}

/// The table is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub(super) distinct_max: usize,
}

impl Ordinals {
    pub(super) fn new(distinct_max: usize) -> Self {
        Self { counts: HashMap::new(), distinct_max }
    }

    /// How many lines of this content there were before. `first_id`: the id of the first one.
    pub(super) fn next(&mut self, first_id: &str) -> Result<u64, TooMany> {
        let mut key = [0; 16];
        let digits: Vec<u8> =
            first_id.bytes().filter_map(|digit| char::from(digit).to_digit(16)).map(|d| d as u8).collect();
        for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
        }
        if self.counts.len() >= self.distinct_max && !self.counts.contains_key(&key) {
            return Err(TooMany { distinct_max: self.distinct_max });
        }
        let count = self.counts.entry(key).or_default();
        let ordinal = u64::from(*count);
        *count += 1;
        Ok(ordinal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_are_counted_and_different_ones_bounded() {
        let (a, b) = ("018e4285-0e40-84eb-b099-2b8b4a6714d4", "018e4285-0e40-84eb-b099-2b8b4a6714d5");
        let mut ordinals = Ordinals::new(1);
        assert_eq!([ordinals.next(a), ordinals.next(a)], [Ok(0), Ok(1)]);
        assert_eq!(ordinals.next(b), Err(TooMany { distinct_max: 1 }));
        assert_eq!(ordinals.next(a), Ok(2));
    }
}
