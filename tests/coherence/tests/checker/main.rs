//! The checker itself is checked: it is content with histories in which everything holds, and finds each way of not holding.
#![allow(clippy::unwrap_used, reason = "tests")]

mod plant;
mod program;
mod simulated;
mod story;

use headwater_coherence::check::Rule::{OneOrder, OwnWrites, Resurrection, Staleness, Unwritten};
use headwater_coherence::check::{Limits, check};
use headwater_coherence::history::EventKind::Failover;
use headwater_coherence::history::Layer::{L1, L2, Loader};
use headwater_coherence::history::{Call, Condition, Ended};

use story::{Story, answer, direct, done, existed, fill, get, not_met, set, set_if, unknown};

#[test]
fn what_the_store_answers_in_order_holds() {
    Story::new()
        .get("a@1", (0, 1), L2, None)
        .set("a@1", (2, 3), "x")
        .get("b@2", (4, 5), L2, Some("x"))
        .did("b@2", (6, 7), set_if("y", Condition::Value("x".to_owned())), existed(true))
        .did("a@1", (8, 9), set_if("z", Condition::Absent), not_met())
        .did("a@1", (10, 11), set_if("w", Condition::Present), done())
        .did("a@1", (12, 13), Call::Delete, existed(true))
        .did("a@1", (14, 15), Call::Delete, existed(false))
        .get("c@3", (16, 17), L2, None)
        .add("c@3", (18, 19), 5, 5)
        .add("a@1", (20, 21), 7, 12)
        .get("c@3", (22, 23), L2, Some("12"))
        .holds();
}

#[test]
fn writes_at_the_same_time_may_have_either_order() {
    let story = Story::new().set("a@1", (0, 10), "x").set("b@2", (0, 10), "y");
    story.clone().get("c@3", (11, 12), L2, Some("x")).holds();
    story.clone().get("c@3", (11, 12), L2, Some("y")).holds();
    // But one.
    story.get("c@3", (11, 12), L2, Some("x")).get("d@3", (13, 14), L2, Some("y")).violates(&[OneOrder]);
}

#[test]
fn an_answer_of_the_store_that_was_replaced_before_is_found() {
    let story = Story::new().set("a@1", (0, 1), "x").set("a@1", (2, 3), "y");
    story.clone().get("b@2", (3, 5), L2, Some("x")).holds();
    story.get("b@2", (4, 5), L2, Some("x")).violates(&[OneOrder]);
    Story::new().set("a@1", (0, 1), "x").get("b@2", (2, 3), L2, None).violates(&[OneOrder]);
}

#[test]
fn two_conditional_writes_that_exclude_each_other_are_found() {
    let once = |value: &str| set_if(value, Condition::Absent);
    Story::new().did("a@1", (0, 10), once("x"), done()).did("b@2", (0, 10), once("y"), not_met()).holds();
    Story::new().did("a@1", (0, 10), once("x"), done()).did("b@2", (0, 10), once("y"), done()).violates(&[OneOrder]);
    Story::new().did("a@1", (0, 10), once("x"), not_met()).violates(&[OneOrder]);
    let swap = |value: &str| set_if(value, Condition::Value("x".to_owned()));
    let story = Story::new().set("a@1", (0, 1), "x").did("b@2", (2, 9), swap("y"), done());
    story.clone().did("c@3", (2, 9), swap("z"), not_met()).holds();
    story.did("c@3", (2, 9), swap("z"), done()).violates(&[OneOrder]);
}

#[test]
fn a_lost_increment_is_found() {
    Story::new().add("a@1", (0, 9), 3, 3).add("b@2", (0, 9), 5, 8).holds();
    Story::new().add("a@1", (0, 9), 3, 3).add("b@2", (0, 9), 5, 5).violates(&[OneOrder]);
}

#[test]
fn what_was_told_of_the_value_before_is_believed() {
    let story = Story::new().set("a@1", (0, 1), "x");
    story.clone().did("b@2", (2, 3), set("y"), existed(true)).holds();
    story.clone().did("b@2", (2, 3), set("y"), existed(false)).violates(&[OneOrder]);
    story.did("b@2", (2, 3), Call::Delete, existed(false)).violates(&[OneOrder]);
}

#[test]
fn a_write_without_an_answer_may_be_done_at_any_later_time_once_or_never() {
    let story = Story::new().set("a@1", (0, 1), "x").set_unknown("b@2", (2, 3), "y");
    story.clone().get("a@1", (10, 11), L2, Some("x")).holds();
    story.clone().get("a@1", (10, 11), L2, Some("y")).holds();
    story.clone().get("a@1", (10, 11), L2, Some("x")).get("a@1", (12, 13), L2, Some("y")).holds();
    story.clone().get("a@1", (10, 11), L2, Some("y")).get("a@1", (12, 13), L2, Some("x")).violates(&[OneOrder]);
    story
        .get("a@1", (10, 11), L2, Some("y"))
        .set("a@1", (12, 13), "z")
        .get("b@2", (14, 15), L2, Some("y"))
        .violates(&[OneOrder]);
    let refused = Ended::Failed { why: "no".to_owned() };
    Story::new()
        .did("a@1", (0, 1), set("x"), refused)
        .get("a@1", (2, 3), L2, Some("x"))
        .violates(&[OneOrder, Unwritten]);
}

#[test]
fn increments_and_deletes_without_an_answer_explain_what_follows() {
    let add = |delta| Call::Increment { delta };
    let story = Story::new().add("a@1", (0, 1), 1, 1).did("b@2", (2, 3), add(10), unknown());
    story.clone().add("a@1", (4, 5), 100, 101).holds();
    story.clone().add("a@1", (4, 5), 100, 111).holds();
    story.clone().get("a@1", (4, 5), L2, Some("11")).holds();
    story.clone().add("a@1", (4, 5), 100, 121).violates(&[OneOrder]);
    story
        .did("c@2", (2, 3), add(1000), unknown())
        .did("d@2", (2, 3), Call::Delete, unknown())
        .add("a@1", (4, 5), 100, 1100)
        .holds();
}

#[test]
fn a_memory_may_answer_what_was_replaced_within_the_bound_and_not_after() {
    let story = Story::new().set("a@1", (1, 2), "x").set("a@1", (100, 110), "y");
    story.clone().get("b@2", (110 + 250, 999), L1, Some("x")).holds();
    story.clone().get("b@2", (110 + 251, 999), L1, Some("x")).violates(&[Staleness]);
    let slack = Limits { slack_us: 1000, ..Limits::default() };
    let late = story.clone().get("b@2", (110 + 251, 999), L1, Some("x"));
    assert!(check(&late.0, &slack).unwrap().is_clean());
    // It says that it is stale, and is allowed to.
    let stale =
        Ended::Read { value: Some("x".to_owned()), layer: L1, is_stale: true, is_collapsed: false, lease: None };
    story.clone().did("b@2", (900, 999), get(), stale).holds();
    // A memory that says that there is nothing, for long after something was written.
    story.clone().get("b@2", (2 + 250, 270), L1, None).holds();
    story.clone().get("b@2", (2 + 251, 270), L1, None).violates(&[Staleness]);
    story.did("c@1", (200, 210), Call::Delete, unknown()).get("b@2", (900, 910), L1, None).holds();
}

#[test]
fn a_replacement_that_only_the_store_tells_of_counts_too() {
    // The second write had no answer, but the store answered with it.
    let story = Story::new().set("a@1", (0, 1), "x").set_unknown("a@1", (100, 110), "y");
    story.clone().get("b@2", (900, 901), L1, Some("x")).holds();
    let told = story.get("c@3", (120, 130), L2, Some("y"));
    told.clone().get("b@2", (130 + 250, 999), L1, Some("x")).holds();
    told.clone().get("b@2", (130 + 251, 999), L1, Some("x")).violates(&[Staleness]);
    told.clone().set("c@3", (140, 150), "z").get("b@2", (401, 999), L1, Some("y")).violates(&[Staleness]);
}

#[test]
fn an_answer_to_several_callers_of_a_load_is_held_to_the_bound() {
    let shared =
        Ended::Read { value: Some("x".to_owned()), layer: L2, is_stale: false, is_collapsed: true, lease: None };
    let story = Story::new().set("a@1", (0, 1), "x").set("a@1", (2, 3), "y");
    story.clone().did("b@2", (100, 110), get(), shared.clone()).violates(&[OneOrder]);
    // Where callers wait for a load together.
    let story = story.did("loader@1", (1, 1), Call::Load { value: "z".to_owned() }, unknown());
    story.clone().did("b@2", (100, 110), get(), shared.clone()).holds();
    story.clone().did("b@2", (254, 260), get(), shared.clone()).violates(&[Staleness]);
    // Not where the store itself was asked for.
    let itself = Call::Get { no_cache: true, lease: false };
    story.did("b@2", (100, 110), itself, shared).violates(&[OneOrder]);
}

#[test]
fn a_client_that_does_not_see_its_own_write_is_found() {
    let story = Story::new().set("a@1", (0, 1), "x").set("b@2", (10, 11), "y");
    story.clone().get("b@2", (12, 13), L1, Some("x")).violates(&[OwnWrites]);
    story.clone().get("b@1", (12, 13), L1, Some("x")).holds();
    story.clone().get("a@2", (12, 13), L1, Some("x")).holds();
    story.clone().set("c@3", (12, 13), "z").get("b@2", (14, 15), L1, Some("z")).holds();
    story.clone().get("b@2", (12, 13), L1, None).violates(&[OwnWrites]);
    story.clone().delete("c@3", (12, 13)).get("b@2", (14, 15), L1, None).holds();
    story.delete("b@2", (12, 13)).get("b@2", (14, 15), L1, Some("y")).violates(&[OwnWrites]);
}

#[test]
fn what_was_deleted_and_comes_back_is_found() {
    let story = Story::new().set("a@1", (0, 1), "x").delete("b@2", (10, 11));
    story.clone().get("c@3", (20, 21), L1, Some("x")).holds();
    story.clone().get("c@3", (11 + 251, 300), L1, Some("x")).violates(&[Staleness, Resurrection]);
    story.clone().get("c@3", (20, 21), L2, Some("x")).violates(&[OneOrder, Resurrection]);
    story.set("a@1", (12, 13), "y").get("c@3", (900, 901), L1, Some("y")).holds();
}

#[test]
fn what_was_loaded_before_a_write_does_not_come_after_it() {
    // The right to fill the key was taken away by the delete: each step is in one order, were it not for that right.
    let story = Story::new().leased("a@1", (0, 1), "l1");
    story.clone().fill("a@1", (50, 51), "x", "l1", 2).get("b@2", (60, 61), L2, Some("x")).holds();
    let deleted = story.clone().delete("b@2", (10, 11));
    deleted.clone().did("a@1", (50, 51), fill("x", "l1", 2), not_met()).get("b@2", (60, 61), L2, None).holds();
    deleted
        .clone()
        .fill("a@1", (50, 51), "x", "l1", 2)
        .get("b@2", (60, 61), L2, Some("x"))
        .violates(&[OneOrder, Resurrection]);
    // Also where a fill had no answer.
    deleted
        .did("a@1", (50, 51), fill("x", "l1", 2), unknown())
        .get("b@2", (60, 61), L2, Some("x"))
        .violates(&[OneOrder, Resurrection]);
    // A write straight to the store takes no right away.
    let other = story.clone().did(&direct("b"), (10, 11), Call::Delete, done());
    other.fill("a@1", (50, 51), "x", "l1", 2).get("b@2", (60, 61), L2, Some("x")).holds();
    // A right that ran out, or that another was given since.
    story.clone().did("a@1", (50, 51), fill("x", "l1", 2), not_met()).holds();
    story.leased("b@2", (20, 21), "l2").fill("a@1", (50, 51), "x", "l1", 2).violates(&[OneOrder]);
}

#[test]
fn what_a_loader_took_before_a_write_does_not_come_after_it() {
    let load = |story: Story, at_ms, value: &str| {
        story.did("loader@1", (at_ms, at_ms), Call::Load { value: value.to_owned() }, unknown())
    };
    let story = load(Story::new(), 5, "x").get("a@1", (4, 90), Loader, Some("x"));
    story.clone().get("a@1", (91, 92), L1, Some("x")).get("b@2", (93, 94), L2, Some("x")).holds();
    let deleted = story.delete("b@2", (10, 11));
    // It may be given to those who had asked before, and to those who asked within the bound.
    deleted.clone().get("c@1", (11 + 250, 300), Loader, Some("x")).holds();
    deleted.clone().get("c@1", (11 + 251, 300), Loader, Some("x")).violates(&[Resurrection]);
    deleted.clone().get("b@2", (12, 300), Loader, Some("x")).violates(&[OwnWrites]);
    deleted.clone().get("c@1", (11 + 251, 300), L1, Some("x")).violates(&[Resurrection]);
    deleted.get("c@1", (100, 101), L2, Some("x")).violates(&[Resurrection]);
}

#[test]
fn what_nobody_wrote_is_found() {
    Story::new().get("a@1", (0, 1), L1, Some("x")).violates(&[Unwritten]);
    Story::new().get("a@1", (0, 1), L1, Some("x")).set("b@1", (2, 3), "x").violates(&[Unwritten]);
    // A sum may be one that an increment without an answer made.
    let add = Call::Increment { delta: 7 };
    Story::new().did("a@1", (0, 1), add, unknown()).get("a@1", (2, 3), L1, Some("7")).holds();
}

#[test]
fn after_a_failover_the_last_writes_may_be_lost_and_only_the_bound_is_asked() {
    let story = Story::new().set("a@1", (0, 1), "x").set("a@1", (100, 101), "y").event(Failover, (200, 300));
    // The last write is lost: what it had replaced is back.
    story.clone().get("b@2", (900, 901), L2, Some("x")).get("a@1", (902, 903), L1, Some("x")).holds();
    // While nobody knows who the store is nothing is asked.
    story.clone().get("b@2", (250, 260), L2, Some("x")).get("b@2", (270, 271), L2, Some("y")).holds();
    let after = story.set("a@1", (400, 401), "z");
    after.clone().get("b@2", (401 + 250, 900), L1, Some("x")).get("b@2", (651, 900), L2, Some("x")).holds();
    after.clone().get("b@2", (401 + 251, 900), L1, Some("x")).violates(&[Staleness]);
    after.clone().get("b@2", (401 + 251, 900), L2, Some("x")).violates(&[Staleness]);
    // What was before the failover is judged as ever.
    after.get("b@2", (150, 151), L2, Some("x")).violates(&[OneOrder]);
}

#[test]
fn a_search_without_end_is_not_decided() {
    let mut story = Story::new();
    for at in 0..24 {
        story = story.did("a@1", (0, 1), Call::Increment { delta: 1 << at }, unknown());
    }
    let story = story.add("b@2", (2, 3), 1 << 40, (1 << 40) + (1 << 30));
    let found = check(&story.0, &Limits { steps_max: 10_000, ..Limits::default() }).unwrap();
    assert_eq!(found.undecided.len(), 1, "{found}");
    assert!(found.violations.is_empty() && !found.is_clean(), "{found}");
    assert!(found.to_string().contains("24 without"), "{found}");
}

#[test]
fn a_history_that_cannot_be_judged_is_none() {
    let limits = Limits::default();
    assert!(check(&[], &limits).is_err());
    assert!(check(&Story::new().0[1..], &limits).is_err());
    assert!(check(&Story::new().set("a@1", (0, 1), "x").set("b@1", (2, 3), "x").0, &limits).is_err());
    assert!(check(&Story::new().did("a@1", (2, 1), get(), answer(L2, None)).0, &limits).is_err());
    let found = Story::new().found();
    assert!(found.is_clean() && found.seen.missing().len() == 5, "{found}");
}
