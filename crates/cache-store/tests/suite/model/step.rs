//! What may happen to a namespace, and any order of it.

use headwater_cache_store::Layout;
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
};

pub(super) const KEYS: [&str; 4] = ["a", "{b}", "c\0*", "d"];
const STEPS_MAX: usize = 60;

/// How a namespace is.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) layout: Layout,
    pub(super) is_overwrite_refused: bool,
    pub(super) is_kept_stale: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Get(usize),
    Ask(usize, Time),
    BatchGet(Vec<usize>),
    Write(Vec<(usize, Does)>),
    Enqueue(Vec<(usize, Does)>),
    Apply(usize),
    Release(usize, Token),
    Deny(usize, Token, Time),
    Raise(Vec<(usize, u64)>),
    Capacity(u64),
    Shrink,
    Flush,
    /// Time passes: this much, in the unit of the run.
    Pass(u64),
}

#[derive(Clone, Debug)]
pub(super) enum Does {
    Put(&'static str, Option<Time>, If),
    Add(i64, i64, Option<Time>, Option<Time>),
    Touch(Option<Time>),
    Delete,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum If {
    Any,
    Absent,
    Present,
    /// With the etag of what is there, or with another.
    Etag(bool),
    Lease(Token),
}

/// The lease that was given last for the key, the one before, or none that was.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    Last,
    Before,
    Wrong,
}

/// Passes within a few steps of `Pass`, or never within a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Time {
    Short,
    Long,
}

fn time() -> impl Strategy<Value = Time> {
    select(vec![Time::Short, Time::Long])
}

fn token() -> impl Strategy<Value = Token> {
    prop_oneof![3 => Just(Token::Last), 1 => Just(Token::Before), 1 => Just(Token::Wrong)]
}

fn does() -> impl Strategy<Value = Does> {
    let values = vec!["", "1", "-5", "x", " 1", "01", "9223372036854775806", "-9223372036854775808"];
    let condition = prop_oneof![
        3 => Just(If::Any),
        1 => Just(If::Absent),
        1 => Just(If::Present),
        2 => any::<bool>().prop_map(If::Etag),
        2 => token().prop_map(If::Lease),
    ];
    let delta = prop_oneof![3 => -3..4_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    prop_oneof![
        5 => (select(values), option::of(time()), condition).prop_map(|(value, ttl, when)| Does::Put(value, ttl, when)),
        2 => (delta, -1..2_i64, option::of(time()), option::of(time()))
            .prop_map(|(delta, initial, ttl, new_ttl)| Does::Add(delta, initial, ttl, new_ttl)),
        1 => option::of(time()).prop_map(Does::Touch),
        2 => Just(Does::Delete),
    ]
}

fn key() -> impl Strategy<Value = usize> {
    0..KEYS.len()
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => key().prop_map(Step::Get),
        6 => (key(), time()).prop_map(|(key, time)| Step::Ask(key, time)),
        2 => vec(key(), 0..6).prop_map(Step::BatchGet),
        12 => vec((key(), does()), 1..4).prop_map(Step::Write),
        2 => vec((key(), does()), 1..4).prop_map(Step::Enqueue),
        2 => (0..4_usize).prop_map(Step::Apply),
        1 => (key(), token()).prop_map(|(key, token)| Step::Release(key, token)),
        2 => (key(), token(), time()).prop_map(|(key, token, time)| Step::Deny(key, token, time)),
        2 => vec((key(), 0..4_u64), 0..4).prop_map(Step::Raise),
        1 => (1..5_u64).prop_map(Step::Capacity),
        1 => Just(Step::Shrink),
        1 => Just(Step::Flush),
        4 => (0..6_u64).prop_map(Step::Pass),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let layout = prop_oneof![
        1 => Just(Layout::Spread),
        1 => Just(Layout::Slot),
        3 => (1..4_u64).prop_map(|entries_max| Layout::Ranked { entries_max }),
    ];
    (layout, proptest::bool::weighted(0.2), any::<bool>())
        .prop_map(|(layout, is_overwrite_refused, is_kept_stale)| Kind { layout, is_overwrite_refused, is_kept_stale })
}

/// Any namespace, and any steps.
pub(super) fn input() -> impl Strategy<Value = (Kind, Vec<Step>)> {
    (kind(), vec(step(), 0..STEPS_MAX))
}
