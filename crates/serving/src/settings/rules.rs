//! What a value must be: each rule reads a value, or says what is expected.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

use super::values::{LogFormat, Properties, Secret};

/// A value as a source gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// A text, a number or a list, as text.
    Text(String),
    /// A TOML table of texts.
    Table(BTreeMap<String, String>),
    /// Something that no setting is.
    Other(String),
}

/// Reads a value, or says what is expected.
pub(super) type Reading<T> = Result<T, String>;

/// A whole number in a range.
pub(super) fn between<T: FromStr + PartialOrd + Display>(least: T, most: T) -> impl Fn(&Given) -> Reading<T> {
    let expected = format!("a whole number from {least} to {most}");
    text_rule(expected, move |text| text.parse().ok().filter(|n: &T| *n >= least && *n <= most))
}

/// 0, or a whole number in a range.
pub(super) fn zero_or(least: u64, most: u64) -> impl Fn(&Given) -> Reading<u64> {
    let expected = format!("0, or a whole number from {least} to {most}");
    text_rule(expected, move |text| text.parse().ok().filter(|n: &u64| *n == 0 || (least..=most).contains(n)))
}

/// `true` or `false`.
pub(super) fn switch() -> impl Fn(&Given) -> Reading<bool> {
    text_rule("true or false", |text| text.parse().ok())
}

/// An address to listen on.
pub(super) fn address() -> impl Fn(&Given) -> Reading<SocketAddr> {
    text_rule("an IP address and a port, for example 127.0.0.1:50051 or [::]:50051", |text| text.parse().ok())
}

/// One of a few words.
pub(super) fn one_of(words: &'static [&'static str]) -> impl Fn(&Given) -> Reading<String> {
    text_rule(format!("one of {}", words.join(", ")), |text| words.contains(&text).then(|| text.to_owned()))
}

/// `text` or `json`.
pub(super) fn log_format() -> impl Fn(&Given) -> Reading<LogFormat> {
    text_rule("text or json", |text| match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    })
}

/// What tracing-subscriber takes as a filter.
pub(super) fn log_filter() -> impl Fn(&Given) -> Reading<String> {
    text_rule("a filter such as info or warn,headwater_processor=debug", |text| {
        (!text.is_empty() && EnvFilter::try_new(text).is_ok()).then(|| text.to_owned())
    })
}

/// A text of 1 to 200 visible characters.
pub(super) fn name() -> impl Fn(&Given) -> Reading<String> {
    text_rule("1 to 200 characters without spaces", |text| {
        let fits = (1..=200).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
        fits.then(|| text.to_owned())
    })
}

/// A part of a Kafka topic's name.
pub(super) fn topic_part() -> impl Fn(&Given) -> Reading<String> {
    text_rule("1 to 100 letters, digits, dots, hyphens and underscores", |text| {
        let fits = (1..=100).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        fits.then(|| text.to_owned())
    })
}

/// A SQL name that needs no quotes.
pub(super) fn sql_name() -> impl Fn(&Given) -> Reading<String> {
    text_rule("1 to 63 lower-case letters, digits and underscores, beginning with a letter", |text| {
        let fits = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        fits.then(|| text.to_owned())
    })
}

/// Hosts with ports, separated by commas.
pub(super) fn hosts() -> impl Fn(&Given) -> Reading<String> {
    text_rule("host:port, or several separated by commas", |text| {
        let is_host = |host: &str| {
            host.trim().rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
        };
        text.split(',').all(is_host).then(|| text.split(',').map(str::trim).collect::<Vec<_>>().join(","))
    })
}

/// A URL, or several separated by commas, with one of these schemes.
pub(super) fn url(schemes: &'static [&'static str]) -> impl Fn(&Given) -> Reading<Secret> {
    text_rule(format!("a URL that begins with {}://", schemes.join(":// or ")), |text| {
        let is_url = |url: &str| {
            url.split_once("://").is_some_and(|(scheme, rest)| {
                schemes.contains(&scheme) && !rest.is_empty() && rest.chars().all(|c| !c.is_whitespace())
            })
        };
        text.split(',').filter(|part| part.contains("://")).all(is_url).then_some(())?;
        is_url(text).then(|| Secret::new(text))
    })
}

/// A URL as of [`url`]; empty is none.
pub(super) fn optional_url(schemes: &'static [&'static str]) -> impl Fn(&Given) -> Reading<Option<Secret>> {
    let url = url(schemes);
    move |given| match given {
        Given::Text(text) if text.trim().is_empty() => Ok(None),
        given => url(given).map(Some),
    }
}

/// A name of a namespace of the cache; empty is none.
pub(super) fn namespace_name() -> impl Fn(&Given) -> Reading<String> {
    let expected = format!("{NAMESPACE_NAME}, or nothing");
    text_rule(expected, |text| (text.is_empty() || is_namespace_name(text)).then(|| text.to_owned()))
}

/// What a namespace's name must be, for people.
pub(super) const NAMESPACE_NAME: &str = "1 to 64 of a-z, 0-9, \"-\", \"_\" and \".\", beginning with a letter";

/// Whether a namespace of the cache can have the name.
pub(super) fn is_namespace_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
}

/// A token for an HTTP header; empty is none.
pub(super) fn token() -> impl Fn(&Given) -> Reading<Option<Secret>> {
    text_rule("8 or more visible ASCII characters without spaces, or nothing", |text| {
        let fits = text.is_empty() || (text.len() >= 8 && text.chars().all(|c| c.is_ascii_graphic()));
        fits.then(|| (!text.is_empty()).then(|| Secret::new(text)))
    })
}

/// A path; empty is none.
pub(super) fn path() -> impl Fn(&Given) -> Reading<Option<PathBuf>> {
    text_rule("a path", |text| Some((!text.is_empty()).then(|| PathBuf::from(text))))
}

/// `name=value` pairs separated by commas, or a TOML table.
pub(super) fn properties() -> impl Fn(&Given) -> Reading<Properties> {
    |given| {
        let pairs = match given {
            Given::Table(pairs) => Some(pairs.clone()),
            Given::Text(text) => text
                .split(',')
                .filter(|pair| !pair.trim().is_empty())
                .map(|pair| pair.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())))
                .collect(),
            Given::Other(_) => None,
        };
        pairs
            .filter(|pairs: &BTreeMap<String, String>| pairs.keys().all(|name| !name.is_empty()))
            .map(Properties::new)
            .ok_or_else(|| "name=value pairs separated by commas, or a TOML table".to_owned())
    }
}

fn text_rule<T>(expected: impl Into<String>, read: impl Fn(&str) -> Option<T>) -> impl Fn(&Given) -> Reading<T> {
    let expected = expected.into();
    move |given| match given {
        Given::Text(text) => read(text.trim()).ok_or_else(|| expected.clone()),
        Given::Table(_) | Given::Other(_) => Err(expected.clone()),
    }
}

impl Given {
    /// The value as it is shown, before masking.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) | Self::Other(text) => text.clone(),
            Self::Table(pairs) => {
                pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
            }
        }
    }
}
