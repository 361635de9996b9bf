use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;

/// What a publish made certain: per partition of a stream, the offset after the last accepted record.
///
/// As text: base64 (URL alphabet, no padding) of `v1:stream:partition=next,…`. Callers pass it on and look not inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsistencyToken {
    /// Name of the stream.
    pub stream: String,
    /// Partition to the offset after the last accepted record.
    pub next: BTreeMap<i32, i64>,
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a consistency token of Publish")]
pub struct TokenError;

impl ConsistencyToken {
    /// An empty token of a stream.
    pub fn new(stream: &str) -> Self {
        Self { stream: stream.to_owned(), next: BTreeMap::new() }
    }

    /// Takes in that the record at `offset` was accepted.
    pub fn add(&mut self, partition: i32, offset: i64) {
        let next = self.next.entry(partition).or_insert(0);
        *next = (*next).max(offset + 1);
    }

    /// The token as text. Empty when nothing was accepted.
    pub fn encode(&self) -> String {
        if self.next.is_empty() {
            return String::new();
        }
        let parts: Vec<String> = self.next.iter().map(|(partition, next)| format!("{partition}={next}")).collect();
        URL_SAFE_NO_PAD.encode(format!("v1:{}:{}", self.stream, parts.join(",")))
    }

    /// The token that the text is of.
    ///
    /// # Errors
    /// Where the text was not made by `encode`.
    pub fn decode(text: &str) -> Result<Self, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError)?;
        let text = String::from_utf8(bytes).map_err(|_| TokenError)?;
        let (stream, parts) = text.strip_prefix("v1:").and_then(|rest| rest.split_once(':')).ok_or(TokenError)?;
        let mut next = BTreeMap::new();
        for part in parts.split(',') {
            let (partition, offset) = part.split_once('=').ok_or(TokenError)?;
            let partition = partition.parse().map_err(|_| TokenError)?;
            next.insert(partition, offset.parse().map_err(|_| TokenError)?);
        }
        Ok(Self { stream: stream.to_owned(), next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_and_garbage_does_not() {
        let mut token = ConsistencyToken::new("page-events");
        assert_eq!(token.encode(), "");
        token.add(3, 41);
        token.add(3, 7);
        token.add(0, 0);
        assert_eq!(ConsistencyToken::decode(&token.encode()), Ok(token.clone()));
        assert_eq!(token.next[&3], 42);
        for garbage in ["", "x", "djE6", &token.encode()[1..]] {
            assert_eq!(ConsistencyToken::decode(garbage), Err(TokenError), "{garbage}");
        }
    }
}
