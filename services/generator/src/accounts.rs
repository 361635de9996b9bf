use headwater_contracts::v1::error::Reason;
use headwater_contracts::v1::event::Transaction;
use prost::Message;
use prost_types::Timestamp;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::SourceOptions;
use crate::id::event_id_from;
use crate::visitors::timestamp;

const ACCOUNTS_MIN: u32 = 20;
/// What moves money: text of the statement, weight in percent, least and greatest amount in cents.
const MOVEMENTS: [(&str, u32, i64, i64); 6] = [
    ("Card payment", 60, -25_000, -99),
    ("Direct debit", 12, -90_000, -500),
    ("Transfer out", 8, -200_000, -1_000),
    ("Transfer in", 10, 1_000, 200_000),
    ("Refund", 5, 99, 25_000),
    ("Salary", 5, 150_000, 600_000),
];

/// Customers whose accounts money comes to and goes from, both in whole cents.
#[derive(Debug)]
pub(crate) struct Accounts {
    start_us: i64,
    accounts: u32,
}

impl Accounts {
    pub(crate) fn new(options: &SourceOptions) -> Self {
        Self { start_us: options.start_s * 1_000_000, accounts: (options.users / 10).max(ACCOUNTS_MIN) }
    }

    pub(crate) fn good(&mut self, rng: &mut ChaCha8Rng, offset_us: i64) -> Vec<u8> {
        self.transaction(rng, offset_us).encode_to_vec()
    }

    /// A transaction that the contract refuses, and why.
    pub(crate) fn invalid(&mut self, rng: &mut ChaCha8Rng, offset_us: i64) -> (Vec<u8>, Reason) {
        let mut transaction = self.transaction(rng, offset_us);
        let mut reason = Reason::InvalidField;
        match rng.random_range(0..7) {
            0 => transaction.transaction_id.clear(),
            1 => transaction.account_number.clear(),
            2 => transaction.transaction_datetime = None,
            3 => transaction.amount = f64::INFINITY,
            4 => {
                transaction.amount = 0.001;
                reason = Reason::NotInScale;
            }
            5 => {
                transaction.transaction_datetime = Some(Timestamp { seconds: 915_148_800, nanos: 0 });
                reason = Reason::TimeAncient;
            }
            _ => {
                let mut bytes = transaction.encode_to_vec();
                bytes.truncate(bytes.len() - 1);
                return (bytes, Reason::Malformed);
            }
        }
        (transaction.encode_to_vec(), reason)
    }

    fn transaction(&self, rng: &mut ChaCha8Rng, offset_us: i64) -> Transaction {
        let time_us = self.start_us + offset_us;
        let (reference, cents) = movement(rng);
        Transaction {
            transaction_id: event_id_from(rng, time_us.div_euclid(1000)),
            account_number: format!("ACC-{:06}", rng.random_range(0..self.accounts) + 1),
            transaction_reference: format!("{reference} {:04}", rng.random_range(0..10_000)),
            transaction_datetime: Some(timestamp(time_us)),
            // The division rounds to the double that is nearest to the amount.
            amount: cents as f64 / 100.0,
        }
    }
}

fn movement(rng: &mut ChaCha8Rng) -> (&'static str, i64) {
    let mut draw = rng.random_range(0..100);
    for (reference, percent, least, greatest) in MOVEMENTS {
        if draw < percent {
            return (reference, rng.random_range(least..=greatest));
        }
        draw -= percent;
    }
    ("Fee", -100)
}
