use std::collections::VecDeque;

use headwater_client::record;
use headwater_contracts::v1::error::Reason;
use headwater_contracts::v1::ingest::Record;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::accounts::Accounts;
use crate::visitors::Visitors;
use crate::{OptionsError, SourceOptions, SourceStream};

/// Good events that are remembered, to send one of them again.
const REMEMBERED_MAX: usize = 1024;

/// An endless sequence of events: the same for the same options.
///
/// Event `i` stands at `start_s + i / rate` seconds: its own time is that or earlier, and its place in the sequence is
/// reserved for it even if it is skipped.
#[derive(Debug)]
pub struct Source {
    options: SourceOptions,
    rng: ChaCha8Rng,
    maker: Maker,
    index: u64,
    remembered: VecDeque<Vec<u8>>,
}

/// An event that was made up.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// What is to become of it.
    pub kind: Kind,
}

/// What is to become of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It counts.
    Good,
    /// It counts, and happened earlier than it is sent.
    Late,
    /// It is a bot's.
    Bot {
        /// True from the eleventh view of the bot in a second on, by order of making: stored and not counted.
        flagged: bool,
    },
    /// The contract refuses it, for this reason.
    Invalid(Reason),
    /// It was there before.
    Duplicate,
}

#[derive(Debug)]
enum Maker {
    Visitors(Visitors),
    Accounts(Accounts),
}

impl Kind {
    /// Its name, for figures by kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Late => "late",
            Self::Bot { .. } => "bot",
            Self::Invalid(_) => "invalid",
            Self::Duplicate => "duplicate",
        }
    }
}

impl Made {
    /// As a record to publish to the stream that it was made for.
    pub fn into_record(self, stream: SourceStream) -> Record {
        record(stream.message_type(), self.bytes)
    }
}

impl Source {
    /// Begins the sequence.
    ///
    /// # Errors
    /// An option that does not hold.
    pub fn new(options: SourceOptions) -> Result<Self, OptionsError> {
        options.check()?;
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let maker = match options.stream {
            SourceStream::PageEvents => Maker::Visitors(Visitors::new(&options, &mut rng)),
            SourceStream::Transactions => Maker::Accounts(Accounts::new(&options)),
        };
        Ok(Self { options, rng, maker, index: 0, remembered: VecDeque::new() })
    }

    /// Index of the event that comes next.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Leaves out events up to this index: what was not made in time is not made.
    pub fn skip_to(&mut self, index: u64) {
        self.index = self.index.max(index);
    }

    fn make(&mut self) -> Made {
        let offset_us = (self.index as f64 * 1e6 / self.options.rate) as i64;
        self.index += 1;
        let draw: f64 = self.rng.random();
        let SourceOptions { invalid, duplicates, late, .. } = self.options;
        if draw < invalid {
            let (bytes, reason) = match &mut self.maker {
                Maker::Visitors(visitors) => visitors.invalid(&mut self.rng, offset_us),
                Maker::Accounts(accounts) => accounts.invalid(&mut self.rng, offset_us),
            };
            return Made { bytes, kind: Kind::Invalid(reason) };
        }
        if draw < invalid + duplicates && !self.remembered.is_empty() {
            let place = self.rng.random_range(0..self.remembered.len());
            return Made { bytes: self.remembered[place].clone(), kind: Kind::Duplicate };
        }
        if draw >= 1.0 - late {
            let by_us = self.rng.random_range(0.0..=1.0) * self.options.late_by_max.as_micros() as f64;
            let offset_us = offset_us - by_us as i64;
            let bytes = match &mut self.maker {
                Maker::Visitors(visitors) => visitors.late(&mut self.rng, offset_us),
                Maker::Accounts(accounts) => accounts.good(&mut self.rng, offset_us),
            };
            return Made { bytes, kind: Kind::Late };
        }
        let (bytes, kind) = match &mut self.maker {
            Maker::Visitors(visitors) => visitors.next(&mut self.rng, offset_us),
            Maker::Accounts(accounts) => (accounts.good(&mut self.rng, offset_us), Kind::Good),
        };
        if kind == Kind::Good {
            if self.remembered.len() == REMEMBERED_MAX {
                self.remembered.pop_front();
            }
            self.remembered.push_back(bytes.clone());
        }
        Made { bytes, kind }
    }
}

impl Iterator for Source {
    type Item = Made;

    fn next(&mut self) -> Option<Made> {
        Some(self.make())
    }
}
