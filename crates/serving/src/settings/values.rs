use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

/// What is shown in place of something secret.
pub(super) const MASKED: &str = "***";

/// A text that is not to be shown whole: it holds a token, or a URL with a password. Reads as a `str`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

/// Properties for a library, by name, handed on as they are. Reads as a map.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much of a setting's value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    /// All of it.
    None,
    /// Nothing of it.
    Whole,
    /// All but passwords in URLs.
    Url,
    /// All but the values of properties whose names speak of secrets.
    Properties,
}

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASKED)
    }
}

impl Properties {
    pub(super) fn new(pairs: BTreeMap<String, String>) -> Self {
        Self(pairs)
    }
}

impl Deref for Properties {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        f.write_str(&Mask::Properties.apply(&text))
    }
}

impl Mask {
    /// The value as it may be shown.
    pub(super) fn apply(self, text: &str) -> String {
        match self {
            _ if text.is_empty() => String::new(),
            Self::None => text.to_owned(),
            Self::Whole => MASKED.to_owned(),
            Self::Url => text.split(',').map(mask_url).collect::<Vec<_>>().join(","),
            Self::Properties => text.split(',').map(mask_property).collect::<Vec<_>>().join(","),
        }
    }
}

/// Hides the password before the `@`, and parameters whose names speak of secrets.
fn mask_url(url: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let mut masked = match base.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((login, host)) => {
                let login =
                    login.split_once(':').map_or_else(|| login.to_owned(), |(name, _)| format!("{name}:{MASKED}"));
                format!("{scheme}://{login}@{host}")
            }
            None => base.to_owned(),
        },
        None => base.to_owned(),
    };
    if let Some(query) = query {
        masked.push('?');
        masked.push_str(&query.split('&').map(mask_property).collect::<Vec<_>>().join("&"));
    }
    masked
}

/// Hides the value of `name=value` where the name speaks of a secret.
fn mask_property(pair: &str) -> String {
    const WORDS: [&str; 6] = ["password", "secret", "token", "key", "jaas", "credential"];
    match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && WORDS.iter().any(|word| name.to_lowercase().contains(word)) => {
            format!("{name}={MASKED}")
        }
        _ => pair.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (mask, text, shown) in [
            (Mask::Url, "postgres://me:pa%40ss@db:5432/x", "postgres://me:***@db:5432/x"),
            (Mask::Url, "postgres://me:pa@ss@db/x", "postgres://me:***@db/x"),
            (Mask::Url, "redis://:pw@a:1,redis://:pw@b:2", "redis://:***@a:1,redis://:***@b:2"),
            (Mask::Url, "postgres://db/x?user=me&password=pw", "postgres://db/x?user=me&password=***"),
            (Mask::Url, "http://127.0.0.1:8081", "http://127.0.0.1:8081"),
            (Mask::Url, "postgres://me@db/x", "postgres://me@db/x"),
            (Mask::Properties, "sasl.username=me,sasl.password=pw", "sasl.username=me,sasl.password=***"),
            (Mask::Whole, "t0ken", "***"),
            (Mask::Whole, "", ""),
            (Mask::None, "plain", "plain"),
        ] {
            assert_eq!(mask.apply(text), shown);
        }
        assert_eq!(format!("{:?}", Secret::new("t0ken")), "***");
        let properties = Properties::new(BTreeMap::from([("ssl.key.password".to_owned(), "pw".to_owned())]));
        assert_eq!(format!("{properties:?}"), "ssl.key.password=***");
    }
}
