//! What the source makes: the same for the same seed, in the parts asked for, and what the contract makes of it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{HashMap, HashSet};

use headwater_contracts::Contracts;
use headwater_contracts::v1::event::{PageEvent, Transaction};
use headwater_generator::{Kind, Made, Source, SourceOptions, SourceStream};
use proptest::prelude::*;
use prost::Message;

fn mixed(stream: SourceStream, seed: u64) -> SourceOptions {
    SourceOptions {
        rate: 5000.0,
        users: 2000,
        bots: if stream == SourceStream::PageEvents { 0.05 } else { 0.0 },
        invalid: 0.02,
        duplicates: 0.03,
        late: 0.01,
        start_s: 1_710_513_000,
        ..SourceOptions::new(stream, seed)
    }
}

fn make(options: SourceOptions, count: usize) -> Vec<Made> {
    Source::new(options).unwrap().take(count).collect()
}

fn streams() -> impl Strategy<Value = SourceStream> {
    prop_oneof![Just(SourceStream::PageEvents), Just(SourceStream::Transactions)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_same_seed_makes_the_same_events(seed: u64, stream in streams(), rate in 1.0..20_000.0, users in 1_u32..3000) {
        let options = SourceOptions { rate, users, ..mixed(stream, seed) };
        let made = make(options.clone(), 500);
        prop_assert_eq!(&made, &make(options.clone(), 500));
        prop_assert_ne!(&made, &make(SourceOptions { seed: seed.wrapping_add(1), ..options }, 500));
    }

    #[test]
    fn another_start_moves_every_time_and_changes_nothing_else(seed: u64, by_s in -1_000_000_i64..1_000_000) {
        let options = mixed(SourceStream::PageEvents, seed);
        let moved = make(SourceOptions { start_s: options.start_s + by_s, ..options.clone() }, 300);
        for (one, other) in make(options, 300).iter().zip(&moved) {
            prop_assert_eq!(one.kind, other.kind);
            let (Ok(one), Ok(other)) = (PageEvent::decode(&*one.bytes), PageEvent::decode(&*other.bytes)) else { continue };
            prop_assert_eq!(&one.user_id, &other.user_id);
            prop_assert_eq!(&one.page_url, &other.page_url);
            prop_assert_eq!(one.event_id.get(14..), other.event_id.get(14..));
            if let (Some(one), Some(other)) = (one.timestamp, other.timestamp) {
                let ancient = one.seconds == other.seconds;
                prop_assert!(ancient || (one.seconds + by_s, one.nanos) == (other.seconds, other.nanos));
            }
        }
    }
}

#[test]
fn the_parts_are_what_was_asked_for() {
    let made = make(mixed(SourceStream::PageEvents, 7), 100_000);
    let mut counts: HashMap<&str, f64> = HashMap::new();
    for event in &made {
        *counts.entry(event.kind.name()).or_default() += 1.0 / 1000.0;
    }
    for (kind, percent, off) in [("invalid", 2.0, 0.2), ("duplicate", 3.0, 0.3), ("late", 1.0, 0.2), ("bot", 5.0, 0.8)]
    {
        assert!((counts[kind] - percent).abs() < off, "{kind}: {} %", counts[kind]);
    }
}

#[test]
fn the_contract_says_of_each_what_its_kind_says() {
    let contracts = Contracts::shipped().unwrap();
    for stream in [SourceStream::PageEvents, SourceStream::Transactions] {
        let contract = contracts.stream(stream.name()).unwrap();
        let (mut seen, mut reasons) = (HashSet::new(), HashSet::new());
        for made in make(mixed(stream, 11), 20_000) {
            let checked = contract.check(&made.bytes);
            match made.kind {
                Kind::Invalid(reason) => {
                    let defect = checked.unwrap_err();
                    assert_eq!(defect.reason.number(), i32::from(reason), "{defect:?}");
                    reasons.insert(reason);
                }
                kind => {
                    let event = checked.unwrap_or_else(|defect| panic!("{kind:?}: {defect:?}"));
                    let fresh =
                        seen.insert((contract.schema.id_of(&event).to_owned(), contract.schema.time_us_of(&event)));
                    assert_eq!(fresh, kind != Kind::Duplicate, "{kind:?}");
                }
            }
        }
        assert!(reasons.len() >= 3, "{reasons:?}");
    }
}

#[test]
fn only_what_is_marked_breaks_the_rule_of_bots() {
    // Few users and many events: without care people would look like bots.
    let options = SourceOptions { users: 20, rate: 1000.0, duplicates: 0.0, ..mixed(SourceStream::PageEvents, 3) };
    let mut views: HashMap<(String, i64), u32> = HashMap::new();
    let (mut flagged, mut people) = (0, HashSet::new());
    for made in make(options, 50_000) {
        if matches!(made.kind, Kind::Invalid(_)) {
            continue;
        }
        let event = PageEvent::decode(made.bytes.as_slice()).unwrap();
        if !matches!(made.kind, Kind::Bot { .. }) {
            people.insert(event.user_id.clone());
        }
        if event.event_type != "page_view" {
            continue;
        }
        let views = views.entry((event.user_id, event.timestamp.unwrap().seconds)).or_default();
        *views += 1;
        assert_eq!(*views > 10, made.kind == Kind::Bot { flagged: true });
        flagged += u32::from(*views > 10);
    }
    assert!(flagged > 100, "{flagged}");
    assert_eq!(people.len(), 20);
}

#[test]
fn visits_last_and_pages_differ_in_rank() {
    let options = SourceOptions { users: 200, rate: 200.0, ..SourceOptions::new(SourceStream::PageEvents, 5) };
    let mut sessions: HashMap<String, (String, i64, i64)> = HashMap::new();
    let mut pages: HashMap<String, u32> = HashMap::new();
    for made in make(options, 120_000) {
        let event = PageEvent::decode(made.bytes.as_slice()).unwrap();
        let second = event.timestamp.unwrap().seconds;
        let session = sessions.entry(event.session_id).or_insert((event.user_id.clone(), second, second));
        assert_eq!(session.0, event.user_id);
        session.2 = second;
        *pages.entry(event.page_url).or_default() += 1;
    }
    // Ten minutes of 200 visits at a time.
    let longest = sessions.values().map(|(_, first, last)| last - first).max().unwrap();
    assert!((300..=1200).contains(&longest), "{longest}");
    assert!((300..1000).contains(&sessions.len()), "{}", sessions.len());
    let mut counts: Vec<u32> = pages.into_values().collect();
    counts.sort_unstable();
    assert!(counts.len() > 100 && counts[counts.len() - 1] > 20 * counts[0], "{counts:?}");
}

#[test]
fn money_comes_and_goes_in_whole_cents() {
    let options = SourceOptions { users: 50, ..SourceOptions::new(SourceStream::Transactions, 9) };
    let (mut accounts, mut positive, mut negative) = (HashSet::new(), 0, 0);
    for made in make(options, 5000) {
        let transaction = Transaction::decode(made.bytes.as_slice()).unwrap();
        let cents = (transaction.amount * 100.0).round();
        assert_eq!(transaction.amount, cents / 100.0);
        accounts.insert(transaction.account_number);
        if cents > 0.0 { positive += 1 } else { negative += 1 }
    }
    assert_eq!(accounts.len(), 20);
    assert!(positive > 500 && negative > 500);
}

#[test]
fn wrong_options_are_named() {
    let good = SourceOptions::new(SourceStream::Transactions, 1);
    for (options, option) in [
        (SourceOptions { rate: 0.0, ..good.clone() }, "rate"),
        (SourceOptions { rate: f64::NAN, ..good.clone() }, "rate"),
        (SourceOptions { users: 0, ..good.clone() }, "users"),
        (SourceOptions { invalid: 1.1, ..good.clone() }, "invalid"),
        (SourceOptions { invalid: 0.6, late: 0.6, ..good.clone() }, "bots"),
        (SourceOptions { bots: 0.1, ..good.clone() }, "bots"),
    ] {
        assert_eq!(Source::new(options).unwrap_err().option, option);
    }
    assert!("page-event".parse::<SourceStream>().is_err());
}
