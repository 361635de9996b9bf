use std::collections::{HashMap, VecDeque};

use headwater_contracts::v1::error::Reason;
use headwater_contracts::v1::event::PageEvent;
use prost::Message;
use prost_types::Timestamp;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::id::event_id_from;
use crate::zipf::Zipf;
use crate::{Kind, SourceOptions};

const PAGE_VIEW: &str = "page_view";
/// What people do else, by weight in percent.
const OTHER_TYPES: [(&str, u32); 4] = [("click", 55), ("scroll", 30), ("add_to_cart", 10), ("purchase", 5)];
const PAGE_VIEW_PERCENT: u32 = 60;
const SECTIONS: [&str; 8] = ["electronics", "books", "garden", "toys", "sports", "kitchen", "music", "outlet"];
const PAGES: usize = 200;
const PAGES_EXPONENT: f64 = 1.05;
/// Views of one user in one second that are still a person's.
const PERSON_VIEWS_MAX: u8 = 10;
/// Views of a bot in one visit, all within one second.
const BURST_MIN: u32 = 11;
const BURST_MAX: u32 = 30;
const SESSION_MIN_S: f64 = 30.0;
const SESSION_MAX_S: f64 = 1200.0;
/// Visits at a time; of more users, the others come later.
const SESSIONS_MAX: u32 = 100_000;
/// Part of the sessions that a user opens beside one that is open already.
const SECOND_SESSION: f64 = 0.1;
const SECOND_US: i64 = 1_000_000;

/// People who come, look at pages for some minutes and leave; and bots, who look at many within one second.
#[derive(Debug)]
pub(crate) struct Visitors {
    start_us: i64,
    users: u32,
    bots: u32,
    burst_chance: f64,
    pages: Zipf,
    urls: Vec<String>,
    sessions: Vec<Session>,
    /// Per user the second of the last views and how many they were.
    views: Vec<(i64, u8)>,
    burst: VecDeque<PageEvent>,
    burst_views: HashMap<u32, (i64, u32)>,
    bot_next: u32,
}

#[derive(Debug)]
struct Session {
    user: u32,
    id: String,
    page: usize,
    ends_us: i64,
}

impl Visitors {
    pub(crate) fn new(options: &SourceOptions, rng: &mut ChaCha8Rng) -> Self {
        // Of the draws that are left to people and bots, so many begin a burst that the bots' part of all comes out right.
        let rest = 1.0 - options.invalid - options.duplicates - options.late;
        let part = if rest > 0.0 { (options.bots / rest).min(1.0) } else { 0.0 };
        let burst_mean = f64::from(BURST_MIN + BURST_MAX) / 2.0;
        let mut visitors = Self {
            start_us: options.start_s * SECOND_US,
            users: options.users,
            bots: (options.users / 100).max(1),
            burst_chance: part / (burst_mean * (1.0 - part) + part),
            pages: Zipf::new(PAGES, PAGES_EXPONENT),
            urls: (0..PAGES).map(url).collect(),
            sessions: Vec::new(),
            views: vec![(i64::MIN, 0); options.users as usize],
            burst: VecDeque::new(),
            burst_views: HashMap::new(),
            bot_next: 0,
        };
        for user in 0..options.users.min(SESSIONS_MAX) {
            let mut session = visitors.session(rng, 0);
            // Everyone is there from the first moment, and they did not all begin together.
            session.user = user;
            session.ends_us = (session.ends_us as f64 * rng.random::<f64>()) as i64;
            visitors.sessions.push(session);
        }
        visitors
    }

    /// An event of a person or a bot.
    pub(crate) fn next(&mut self, rng: &mut ChaCha8Rng, offset_us: i64) -> (Vec<u8>, Kind) {
        if self.burst.is_empty() && rng.random_bool(self.burst_chance) {
            self.begin_burst(rng, offset_us);
        }
        if let Some(event) = self.burst.pop_front() {
            let flagged = self.count_bot(&event);
            return (event.encode_to_vec(), Kind::Bot { flagged });
        }
        let mut event = self.person(rng, offset_us);
        let (user, second) = (self.user_of(&event), offset_us.div_euclid(SECOND_US));
        if event.event_type == PAGE_VIEW {
            let views = &mut self.views[user];
            if views.0 != second {
                *views = (second, 0);
            }
            if views.1 >= PERSON_VIEWS_MAX {
                other_type(rng).clone_into(&mut event.event_type);
            } else {
                views.1 += 1;
            }
        }
        (event.encode_to_vec(), Kind::Good)
    }

    /// An event that happened at `offset_us`, some time ago. No view: which ones a person had then is not remembered.
    pub(crate) fn late(&mut self, rng: &mut ChaCha8Rng, offset_us: i64) -> Vec<u8> {
        let mut event = self.person(rng, offset_us);
        if event.event_type == PAGE_VIEW {
            other_type(rng).clone_into(&mut event.event_type);
        }
        event.encode_to_vec()
    }

    /// An event that the contract refuses, and why.
    pub(crate) fn invalid(&mut self, rng: &mut ChaCha8Rng, offset_us: i64) -> (Vec<u8>, Reason) {
        let mut event = self.person(rng, offset_us);
        let mut reason = Reason::InvalidField;
        match rng.random_range(0..7) {
            0 => event.user_id.clear(),
            1 => event.event_id = "not-a-uuid".into(),
            2 => event.timestamp = None,
            3 => event.page_url = format!("/{}", "x".repeat(2048)),
            4 => event.session_id.clear(),
            5 => {
                event.timestamp = Some(Timestamp { seconds: 915_148_800, nanos: 0 });
                reason = Reason::TimeAncient;
            }
            _ => {
                let mut bytes = event.encode_to_vec();
                bytes.truncate(bytes.len() - 1);
                return (bytes, Reason::Malformed);
            }
        }
        (event.encode_to_vec(), reason)
    }

    fn person(&mut self, rng: &mut ChaCha8Rng, offset_us: i64) -> PageEvent {
        let place = rng.random_range(0..self.sessions.len());
        if self.sessions[place].ends_us <= offset_us {
            self.sessions[place] = self.session(rng, offset_us);
        }
        let view = rng.random_range(0..100) < PAGE_VIEW_PERCENT;
        let page = self.pages.draw(rng);
        let session = &mut self.sessions[place];
        if view {
            session.page = page;
        }
        let event_type = if view { PAGE_VIEW } else { other_type(rng) };
        let time_us = self.start_us + offset_us;
        PageEvent {
            event_id: event_id_from(rng, time_us.div_euclid(1000)),
            timestamp: Some(timestamp(time_us)),
            user_id: format!("usr_{:05}", session.user),
            event_type: event_type.into(),
            page_url: self.urls[session.page].clone(),
            session_id: session.id.clone(),
        }
    }

    fn session(&mut self, rng: &mut ChaCha8Rng, offset_us: i64) -> Session {
        let second = !self.sessions.is_empty() && rng.random_bool(SECOND_SESSION);
        let user = if second {
            self.sessions[rng.random_range(0..self.sessions.len())].user
        } else {
            rng.random_range(0..self.users)
        };
        // Many short visits, few long ones.
        let length_s = SESSION_MIN_S * (SESSION_MAX_S / SESSION_MIN_S).powf(rng.random());
        Session {
            user,
            id: format!("sess_{:012x}", rng.random::<u64>() >> 16),
            page: self.pages.draw(rng),
            ends_us: offset_us + (length_s * 1e6) as i64,
        }
    }

    /// All views of a burst lie in the whole second before now, so that a rule by seconds sees them together.
    fn begin_burst(&mut self, rng: &mut ChaCha8Rng, offset_us: i64) {
        let bot = self.bot_next;
        self.bot_next = (self.bot_next + 1) % self.bots;
        let second_us = (offset_us.div_euclid(SECOND_US) - 1) * SECOND_US;
        let views = rng.random_range(BURST_MIN..=BURST_MAX);
        let session_id = format!("sess_{:012x}", rng.random::<u64>() >> 16);
        for view in 0..views {
            let time_us = self.start_us + second_us + i64::from(view) * SECOND_US / i64::from(views);
            self.burst.push_back(PageEvent {
                event_id: event_id_from(rng, time_us.div_euclid(1000)),
                timestamp: Some(timestamp(time_us)),
                user_id: format!("bot_{bot:04}"),
                event_type: PAGE_VIEW.into(),
                page_url: self.urls[self.pages.draw(rng)].clone(),
                session_id: session_id.clone(),
            });
        }
    }

    fn count_bot(&mut self, event: &PageEvent) -> bool {
        let second = event.timestamp.map_or(0, |time| time.seconds);
        let views = self.burst_views.entry(number_of(&event.user_id)).or_insert((second, 0));
        if views.0 != second {
            *views = (second, 0);
        }
        views.1 += 1;
        views.1 > u32::from(PERSON_VIEWS_MAX)
    }

    fn user_of(&self, event: &PageEvent) -> usize {
        (number_of(&event.user_id) as usize).min(self.views.len() - 1)
    }
}

fn number_of(user_id: &str) -> u32 {
    user_id.rsplit('_').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn other_type(rng: &mut ChaCha8Rng) -> &'static str {
    let mut draw = rng.random_range(0..100);
    for (name, percent) in OTHER_TYPES {
        if draw < percent {
            return name;
        }
        draw -= percent;
    }
    PAGE_VIEW
}

fn url(rank: usize) -> String {
    match rank {
        0 => "/".into(),
        1 => "/products".into(),
        2..=9 => format!("/products/{}", SECTIONS[rank - 2]),
        10 => "/cart".into(),
        11 => "/checkout".into(),
        12 => "/account".into(),
        13 => "/search".into(),
        _ => format!("/products/{}/{}", SECTIONS[rank % SECTIONS.len()], 100 + rank),
    }
}

pub(crate) fn timestamp(time_us: i64) -> Timestamp {
    let nanos = i32::try_from(time_us.rem_euclid(SECOND_US) * 1000).unwrap_or(0);
    Timestamp { seconds: time_us.div_euclid(SECOND_US), nanos }
}
