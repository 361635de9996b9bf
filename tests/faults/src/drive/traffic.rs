//! Made-up events: visitors, bots, accounts; some late, some ahead, some wrong, some twice.

use std::collections::VecDeque;

use fastrand::Rng;
use uuid::Uuid;

use super::now_ms;
use super::sender::Draft;
use crate::event::{Body, Event, Fate, Stream};

/// Users of a lane, besides its bot.
const USERS: usize = 24;
/// Accounts of a lane.
const ACCOUNTS: usize = 12;
const PAGES: u32 = 40;
/// Page views of a bot in one second: more than the ten that count.
const BURST: i64 = 14;
/// Events of a lane that may be sent a second time.
const REMEMBERED_MAX: usize = 400;
const MINUTE_US: i64 = 60_000_000;

/// Events of users and accounts that nobody else sends.
pub(super) struct Traffic {
    rng: Rng,
    lane: usize,
    remembered: [VecDeque<Event>; 2],
}

impl Traffic {
    pub(super) fn new(seed: u64, lane: usize) -> Self {
        let rng = Rng::with_seed(seed ^ (lane as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { rng, lane, remembered: Default::default() }
    }

    /// Some page events of now.
    pub(super) fn pages(&mut self) -> Vec<Draft> {
        let mut drafts = Vec::new();
        let now_us = now_ms() * 1000;
        for _ in 0..self.rng.usize(3..9) {
            let user = format!("user-{}-{}", self.lane, self.rng.usize(..USERS));
            let (time_us, fate) = self.time(now_us);
            let what = if self.rng.u32(..3) > 0 { "page_view" } else { "click" };
            drafts.push(self.page(user, what, time_us, fate));
        }
        if self.rng.u32(..8) == 0 {
            let second_us = now_us - now_us.rem_euclid(1_000_000);
            let bot = format!("bot-{}", self.lane);
            for n in 0..BURST {
                drafts.push(self.page(bot.clone(), "page_view", second_us + n * 1000, Fate::Stored));
            }
        }
        drafts
    }

    /// Some transactions of now.
    pub(super) fn moves(&mut self) -> Vec<Draft> {
        let now_us = now_ms() * 1000;
        (0..self.rng.usize(1..5))
            .map(|_| {
                let (time_us, fate) = self.time(now_us);
                let account = format!("account-{}-{}", self.lane, self.rng.usize(..ACCOUNTS));
                let hundredths = self.rng.i64(-50_000..100_000);
                let (stream, body) = (Stream::Transactions, Body::Money { account, hundredths });
                Draft { stream, id: Uuid::now_v7().to_string(), time_us, fate, body }
            })
            .collect()
    }

    /// Remembers what was sent, and gives back some of what was sent before, to be sent once more.
    pub(super) fn again(&mut self, sent: &[Event]) -> Vec<Event> {
        let Some(stream) = sent.first().map(|event| event.stream) else { return Vec::new() };
        let remembered = &mut self.remembered[stream as usize];
        remembered.extend(sent.iter().filter(|event| event.fate == Fate::Stored).cloned());
        while remembered.len() > REMEMBERED_MAX {
            remembered.pop_front();
        }
        if remembered.is_empty() || self.rng.u32(..6) > 0 {
            return Vec::new();
        }
        (0..self.rng.usize(1..4)).map(|_| remembered[self.rng.usize(..remembered.len())].clone()).collect()
    }

    fn page(&mut self, user: String, what: &str, time_us: i64, fate: Fate) -> Draft {
        let session = format!("{user} visit {}", self.rng.u32(..3));
        let page = format!("/page/{}", self.rng.u32(..PAGES));
        let mut id = Uuid::now_v7().to_string();
        if fate == Fate::Refused {
            id.insert_str(0, "no uuid ");
        }
        Draft {
            stream: Stream::PageEvents,
            id,
            time_us,
            fate,
            body: Body::Page { user, what: what.to_owned(), page, session },
        }
    }

    /// When something happened, and what becomes of it: mostly just now, and stored.
    fn time(&mut self, now_us: i64) -> (i64, Fate) {
        match self.rng.u32(..200) {
            0..2 => (now_us, Fate::Refused),
            2 => (now_us + 10 * MINUTE_US, Fate::Dead),
            3 => (now_us + MINUTE_US, Fate::Stored),
            4..7 => (now_us - self.rng.i64(MINUTE_US..180 * MINUTE_US), Fate::Stored),
            7 => (now_us - 30 * 60 * MINUTE_US, Fate::Stored),
            _ => (now_us, Fate::Stored),
        }
    }
}
