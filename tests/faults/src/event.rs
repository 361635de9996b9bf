//! What is sent: page events and transactions.

use headwater_client::v1::event::{PageEvent, Transaction};
use headwater_client::v1::ingest::Record;
use prost::Message;
use prost_types::Timestamp;
use serde::{Deserialize, Serialize};

/// A stream that ships with the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// What visitors did.
    PageEvents,
    /// Movements of money.
    Transactions,
}

/// What must become of an event by what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is stored, whether it counts or is flagged.
    Stored,
    /// Its time lies 10 minutes ahead: a dead letter.
    Dead,
    /// It breaks the contract: ingest refuses it.
    Refused,
}

/// An event as it was made up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number within the run, from 0.
    pub n: u64,
    /// Where it is sent to.
    pub stream: Stream,
    /// Identifies it, with its time.
    pub id: String,
    /// When it happened, in microseconds since the Unix epoch.
    pub time_us: i64,
    /// What must become of it.
    pub fate: Fate,
    /// The rest.
    pub body: Body,
}

/// The fields of an event besides id and time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// Of a page event.
    Page {
        /// `user_id`, the key.
        user: String,
        /// `event_type`
        what: String,
        /// `page_url`
        page: String,
        /// `session_id`
        session: String,
    },
    /// Of a transaction.
    Money {
        /// `account_number`, the key.
        account: String,
        /// `amount`, in hundredths.
        hundredths: i64,
    },
}

impl Stream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::PageEvents, Self::Transactions];

    /// The name of the stream and of its topic.
    pub fn name(self) -> &'static str {
        match self {
            Self::PageEvents => "page-events",
            Self::Transactions => "transactions",
        }
    }

    /// The stream of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }
}

impl Event {
    /// What its order and its partition go by.
    pub fn key(&self) -> &str {
        match &self.body {
            Body::Page { user, .. } => user,
            Body::Money { account, .. } => account,
        }
    }

    /// The record that is published.
    pub fn record(&self) -> Record {
        let time = Some(Timestamp {
            seconds: self.time_us.div_euclid(1_000_000),
            nanos: i32::try_from(self.time_us.rem_euclid(1_000_000) * 1000).unwrap_or(0),
        });
        match &self.body {
            Body::Page { user, what, page, session } => {
                let message = PageEvent {
                    event_id: self.id.clone(),
                    timestamp: time,
                    user_id: user.clone(),
                    event_type: what.clone(),
                    page_url: page.clone(),
                    session_id: session.clone(),
                };
                headwater_client::record("headwater.event.v1.PageEvent", message.encode_to_vec())
            }
            Body::Money { account, hundredths } => {
                // A thousandth is not of the scale.
                let too_fine = if self.fate == Fate::Refused { 0.001 } else { 0.0 };
                let message = Transaction {
                    transaction_id: self.id.clone(),
                    account_number: account.clone(),
                    transaction_reference: String::new(),
                    transaction_datetime: time,
                    amount: *hundredths as f64 / 100.0 + too_fine,
                };
                headwater_client::record("headwater.event.v1.Transaction", message.encode_to_vec())
            }
        }
    }
}

/// Id and time of the message in a record of the topic, behind the frame of one schema with one message: a zero, the
/// schema's id in 4 bytes, and a zero for the first message. None where the bytes are something else.
pub fn identity_of_framed(stream: Stream, bytes: &[u8]) -> Option<(String, i64)> {
    let message = bytes.strip_prefix(&[0])?.get(4..)?.strip_prefix(&[0])?;
    let (id, time) = match stream {
        Stream::PageEvents => {
            let event = PageEvent::decode(message).ok()?;
            (event.event_id, event.timestamp?)
        }
        Stream::Transactions => {
            let event = Transaction::decode(message).ok()?;
            (event.transaction_id, event.transaction_datetime?)
        }
    };
    Some((id, time.seconds * 1_000_000 + i64::from(time.nanos) / 1000))
}
