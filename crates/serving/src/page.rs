//! Pages of a list: how many, and where the page before ended.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use headwater_domain::Reason;

use crate::problem::Problem;

/// Entries of a page where the caller names no number.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Entries of a page at most.
pub const PAGE_SIZE_MAX: usize = 1000;

/// The size of a page that was asked for.
///
/// # Errors
/// `INVALID_REQUEST` where it is negative or over the maximum.
pub fn size(asked: i32) -> Result<usize, Problem> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) if size <= PAGE_SIZE_MAX => Ok(size),
        _ => Err(Problem::invalid_request(
            "page_size",
            "int32.range",
            format!("{asked} is not between 0 and {PAGE_SIZE_MAX}; 0 is {PAGE_SIZE_DEFAULT}"),
        )),
    }
}

/// A token for the page after `last`, good only for the same `query`: a text that names the method and what was asked.
pub fn token(query: &str, last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{query}\n{last}"))
}

/// Where the page before ended; none for the first page.
///
/// # Errors
/// `INVALID_PAGE_TOKEN` where the token was not made by this query.
pub fn after(query: &str, token: &str) -> Result<Option<String>, Problem> {
    if token.is_empty() {
        return Ok(None);
    }
    let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let last = decoded.as_deref().and_then(|text| text.strip_prefix(query)?.strip_prefix('\n').map(str::to_owned));
    last.map(Some).ok_or_else(|| {
        Problem::new(
            Reason::InvalidPageToken,
            "the page token was not made by this method for this query; leave it empty to begin anew",
        )
        .with_violation("page_token", "headwater.page_token", "not a token of this query")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_query() {
        let made = token("List a", "x\ny");
        assert_eq!(after("List a", &made).ok(), Some(Some("x\ny".to_owned())));
        assert_eq!(after("List a", "").ok(), Some(None));
        for (query, text) in [("List b", made.as_str()), ("List a", "###"), ("List a", &made[1..])] {
            assert_eq!(after(query, text).err().map(|problem| problem.reason), Some(Reason::InvalidPageToken));
        }
    }

    #[test]
    fn a_size_has_a_default_and_bounds() {
        assert_eq!((size(0).ok(), size(7).ok(), size(1000).ok()), (Some(100), Some(7), Some(1000)));
        assert!(size(-1).is_err() && size(1001).is_err());
    }
}
