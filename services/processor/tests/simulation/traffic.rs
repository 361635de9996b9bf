//! What is published: events, duplicates, bots and garbage, by the seed.

use std::sync::Arc;
use std::time::Duration;

use headwater_contracts::v1::event::{PageEvent, Transaction};
use headwater_event_log::frame;
use prost::Message;
use tokio::time::sleep;

use crate::brokers::{Brokers, Position};
use crate::world::World;

pub(crate) const PAGES: &str = "page-events";
pub(crate) const MONEY: &str = "transactions";

/// Page events at least, in every simulation.
const EVENTS: u64 = 520;

/// A record of the log, as its sender knows it.
pub(crate) struct Sent {
    pub(crate) at: Position,
    /// None is garbage.
    pub(crate) event: Option<Sample>,
}

/// An event.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) id: String,
    pub(crate) time_us: i64,
    /// The user or the account.
    pub(crate) key: String,
    pub(crate) what: What,
}

/// What is counted of it.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Page { kind: &'static str, url: String, session: String },
    Money { cents: i64 },
}

impl Sample {
    fn topic(&self) -> &'static str {
        match self.what {
            What::Page { .. } => PAGES,
            What::Money { .. } => MONEY,
        }
    }

    fn framed(&self) -> Vec<u8> {
        let time = prost_types::Timestamp {
            seconds: self.time_us.div_euclid(1_000_000),
            nanos: (self.time_us.rem_euclid(1_000_000) * 1000) as i32,
        };
        let (schema, bytes) = match &self.what {
            What::Page { kind, url, session } => {
                let event = PageEvent {
                    event_id: self.id.clone(),
                    timestamp: Some(time),
                    user_id: self.key.clone(),
                    event_type: (*kind).to_owned(),
                    page_url: url.clone(),
                    session_id: session.clone(),
                };
                (1, event.encode_to_vec())
            }
            What::Money { cents } => {
                let event = Transaction {
                    transaction_id: self.id.clone(),
                    account_number: self.key.clone(),
                    transaction_reference: "simulated".into(),
                    transaction_datetime: Some(time),
                    amount: *cents as f64 / 100.0,
                };
                (2, event.encode_to_vec())
            }
        };
        [frame::prefix(schema, &[0]), bytes].concat()
    }
}

/// Publishes everything, over half a minute or so, and returns what was sent.
pub(crate) async fn publish(world: Arc<World>, brokers: Arc<Brokers>) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut events: Vec<Sample> = Vec::new();
    let mut put = |sample: &Sample, key: &str| {
        let at = brokers.put(sample.topic(), key.as_bytes(), Some(sample.framed()));
        sent.push(Sent { at, event: Some(sample.clone()) });
    };
    let mut pages = 0;
    let mut garbage = Vec::new();
    while pages < EVENTS {
        sleep(Duration::from_millis(world.below(120))).await;
        let burst = if world.chance(60) { 8 + world.below(20) } else { 1 };
        let user = world.below(15);
        for _ in 0..burst {
            let number = events.len() as u64;
            let sample = if burst == 1 && world.chance(150) {
                transaction(&world, number)
            } else {
                page(&world, number, user, burst > 1)
            };
            pages += u64::from(sample.topic() == PAGES);
            put(&sample, &sample.key);
            if world.fault("log", "record doubled", 20) {
                put(&sample, &sample.key);
            }
            events.push(sample);
        }
        if world.fault("sender", "sent again", 60) {
            let again = events[world.below(events.len() as u64) as usize].clone();
            put(&again, &again.key);
        }
        // A foreign producer, who chooses partitions by something else.
        if world.fault("sender", "sent again to another partition", 15) {
            let again = events[world.below(events.len() as u64) as usize].clone();
            put(&again, &format!("other {}", world.below(9)));
        }
        if world.fault("sender", "garbage", 50) {
            garbage.push(Sent { at: rubbish(&world, &brokers, events.len() as u64), event: None });
        }
    }
    sent.extend(garbage);
    sent
}

fn page(world: &World, number: u64, user: u64, bot: bool) -> Sample {
    let now_us = world.now_ms() * 1000;
    let time_us = match world.below(100) {
        _ if bot => now_us - world.below(300_000) as i64,
        0..=2 => now_us - world.below(3 * 86_400_000_000) as i64,
        3..=5 => now_us + world.below(60_000_000) as i64,
        _ => now_us - world.below(3_000_000) as i64,
    };
    Sample {
        id: format!("00000000-0000-4000-8000-{number:012x}"),
        time_us,
        key: format!("user {user}"),
        what: What::Page {
            kind: if bot || world.chance(600) { "page_view" } else { "click" },
            url: format!("/page/{}", world.below(12)),
            session: format!("session {}", world.below(40)),
        },
    }
}

fn transaction(world: &World, number: u64) -> Sample {
    let cents = world.below(200_000) as i64 - 100_000;
    Sample {
        id: format!("transaction {number}"),
        time_us: world.now_ms() * 1000 - world.below(5_000_000) as i64,
        key: format!("account {}", world.below(6)),
        what: What::Money { cents },
    }
}

/// A record that is no event of its stream.
fn rubbish(world: &World, brokers: &Brokers, number: u64) -> Position {
    let key = format!("rubbish {}", world.below(9));
    let mut sample = page(world, number, 0, false);
    let (topic, value) = match world.below(7) {
        0 => (PAGES, None),
        1 => (PAGES, Some(b"{\"event_id\":1}".to_vec())),
        2 => (MONEY, Some(sample.framed())),
        3 => (PAGES, Some([frame::prefix(99, &[0]), vec![1, 2, 3]].concat())),
        4 => (PAGES, Some([frame::prefix(1, &[0]), vec![0x0a, 0x7f, 1]].concat())),
        5 => {
            sample.time_us = world.now_ms() * 1000 + 3_600_000_000;
            (PAGES, Some(sample.framed()))
        }
        _ => {
            sample.key = String::new();
            (PAGES, Some(sample.framed()))
        }
    };
    brokers.put(topic, key.as_bytes(), value)
}
