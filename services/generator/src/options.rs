use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// A stream that events can be made up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStream {
    /// `page-events`
    PageEvents,
    /// `transactions`
    Transactions,
}

/// What to make up.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceOptions {
    /// For which stream.
    pub stream: SourceStream,
    /// Same seed, same events.
    pub seed: u64,
    /// The moment of the first event, in whole seconds since 1970.
    pub start_s: i64,
    /// Events in a second of their own time, above 0.
    pub rate: f64,
    /// Different users, at least 1; a tenth as many accounts, at least 20.
    pub users: u32,
    /// Part of the events, 0 to 1, that come from users who view more than 10 pages in one second. Page events only.
    pub bots: f64,
    /// Part of the events, 0 to 1, that the contract refuses.
    pub invalid: f64,
    /// Part of the events, 0 to 1, that were sent before, byte for byte.
    pub duplicates: f64,
    /// Part of the events, 0 to 1, that happened earlier, by up to `late_by_max`.
    pub late: f64,
    /// How much earlier late events happened at most.
    pub late_by_max: Duration,
}

/// An option that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{option}: {problem}")]
pub struct OptionsError {
    /// Which one.
    pub option: &'static str,
    /// A sentence for people.
    pub problem: String,
}

impl SourceOptions {
    /// 5000 users, nothing but good events at 100/s, from 1970 on.
    pub fn new(stream: SourceStream, seed: u64) -> Self {
        Self {
            stream,
            seed,
            start_s: 0,
            rate: 100.0,
            users: 5000,
            bots: 0.0,
            invalid: 0.0,
            duplicates: 0.0,
            late: 0.0,
            late_by_max: Duration::from_secs(2 * 3600),
        }
    }

    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let wrong = |option, problem: &str| Err(OptionsError { option, problem: problem.to_owned() });
        if !(self.rate > 0.0 && self.rate <= 10_000_000.0) {
            return wrong("rate", "between 0 and 10,000,000 events/s, not 0");
        }
        if self.users == 0 {
            return wrong("users", "at least 1");
        }
        let parts =
            [("bots", self.bots), ("invalid", self.invalid), ("duplicates", self.duplicates), ("late", self.late)];
        for (option, part) in parts {
            if !(0.0..=1.0).contains(&part) {
                return wrong(option, "between 0% and 100%");
            }
        }
        if parts.iter().map(|(_, part)| part).sum::<f64>() > 1.0 + 1e-9 {
            return wrong("bots", "together with invalid, duplicates and late more than 100%");
        }
        if self.stream == SourceStream::Transactions && self.bots > 0.0 {
            return wrong("bots", "there are none in transactions");
        }
        Ok(())
    }
}

impl SourceStream {
    /// Name of the stream.
    pub fn name(self) -> &'static str {
        match self {
            Self::PageEvents => "page-events",
            Self::Transactions => "transactions",
        }
    }

    /// Full name of its message.
    pub fn message_type(self) -> &'static str {
        match self {
            Self::PageEvents => "headwater.event.v1.PageEvent",
            Self::Transactions => "headwater.event.v1.Transaction",
        }
    }
}

impl fmt::Display for SourceStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SourceStream {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, OptionsError> {
        [Self::PageEvents, Self::Transactions].into_iter().find(|stream| stream.name() == text).ok_or_else(|| {
            OptionsError {
                option: "stream",
                problem: format!("events can be made up for page-events and transactions, not for {text:?}"),
            }
        })
    }
}
