use headwater_domain::Reason;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::Problem;
use crate::settings::Secret;

/// Asks for the token, where there is one.
#[derive(Debug)]
pub(super) struct Auth {
    expected: Option<Secret>,
}

impl Auth {
    pub(super) fn new(token: Option<Secret>) -> Self {
        Self { expected: token.map(|token| Secret::new(format!("Bearer {}", &*token))) }
    }

    /// Whether the call may pass.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(expected) = &self.expected else { return Ok(()) };
        match headers.get(AUTHORIZATION) {
            Some(given) if is_same(given.as_bytes(), expected.as_bytes()) => Ok(()),
            Some(_) => Err(Problem::new(Reason::Unauthenticated, "the token in `authorization` is another one")),
            None => Err(Problem::new(
                Reason::Unauthenticated,
                "a token is asked for: send the header `authorization: Bearer TOKEN`",
            )),
        }
    }
}

/// Compares in a time that does not tell how much of the token was right.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    given.len() == expected.len() && given.iter().zip(expected).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}
