//! What became of an event: `ExplainVerdict` and `headwater explain`, over `headwater dev`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use headwater_contracts::v1::error::Reason;
use headwater_contracts::v1::event::PageEvent;
use headwater_contracts::v1::stats::explained_record::Outcome;
use headwater_contracts::v1::stats::{
    ExplainVerdictRequest, ExplainVerdictResponse, ExplainedRecord, FlaggedBy, RuleDefinition,
};
use headwater_domain::ConsistencyToken;
use prost::Message;
use prost_types::Timestamp;
use support::calls::{
    PAGE_TYPE, PAGES, TRANSACTIONS, accepted, click, explained, fields, now_ms, pages, publish, publish_all, reason,
    record, retry_delay, timestamp, transaction, transactions, with_deadline,
};
use support::process::{Headwater, Stats, command, run, text};
use tonic::{Code, Status};

fn asked(id: &str, at_least: &str) -> ExplainVerdictRequest {
    ExplainVerdictRequest { stream: PAGES.into(), id: id.into(), at_least: at_least.into(), ..Default::default() }
}

async fn explain(stats: &mut Stats, request: ExplainVerdictRequest) -> Result<ExplainVerdictResponse, Status> {
    Ok(stats.explain_verdict(with_deadline(request, Duration::from_secs(10))).await?.into_inner())
}

/// Exit code and output of `headwater explain page-events`.
async fn told(headwater: &Headwater, arguments: &[&str]) -> (i32, String) {
    let address = format!("http://{}", headwater.grpc());
    let mut line = vec!["explain", "--address", &address, PAGES];
    line.extend(arguments);
    let output = run(command(&line)).await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn whoever_published_an_event_is_told_what_became_of_it() {
    let headwater = Headwater::dev(&[]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let began_ms = now_ms();

    // Counted. The call waits for the token, so that a publisher can ask at once.
    let event = PageEvent { timestamp: Some(timestamp(began_ms - 1234)), ..click("anna", "/") };
    let answer = publish(&mut ingest, PAGES, pages(std::slice::from_ref(&event))).await.unwrap();
    let place = accepted(&answer.results[0]).clone();
    let found = explained(&mut stats, PAGES, &event.event_id, &answer.consistency_token).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let stored = &found[0];
    assert_eq!((stored.partition, stored.offset), (place.partition, place.offset));
    assert_eq!(stored.time, event.timestamp);
    let ms = |time: &Option<Timestamp>| {
        let time = time.as_ref().unwrap();
        time.seconds * 1000 + i64::from(time.nanos / 1_000_000)
    };
    let now = now_ms();
    assert!(began_ms <= ms(&stored.appended_at) && ms(&stored.appended_at) <= ms(&stored.committed_at), "{stored:?}");
    assert!(ms(&stored.committed_at) <= now, "{stored:?}");
    let Some(Outcome::Stored(verdict)) = &stored.outcome else { panic!("{stored:?}") };
    assert_eq!((verdict.key.as_str(), &verdict.flagged_by, &verdict.rule), ("anna", &None, &None));

    // A duplicate of it, and another event with its id at another time.
    let later = PageEvent { timestamp: Some(timestamp(began_ms)), ..event.clone() };
    let answer = publish(&mut ingest, PAGES, pages(&[event.clone(), later.clone()])).await.unwrap();
    let again: Vec<i64> = answer.results.iter().map(|result| accepted(result).offset).collect();
    let found = explained(&mut stats, PAGES, &event.event_id, &answer.consistency_token).await;
    assert_eq!(found.iter().map(|record| record.offset).collect::<Vec<_>>(), [place.offset, again[1], again[0]]);
    assert_eq!(found[1].time, later.timestamp);
    let Some(Outcome::Duplicate(of)) = &found[2].outcome else { panic!("{found:?}") };
    assert_eq!((of.of_partition, of.of_offset), (place.partition, place.offset));
    assert_eq!((&found[2].time, found[2].committed_at.is_some()), (&event.timestamp, true));

    // The eleventh page view of a user in a second.
    let views: Vec<PageEvent> = (0..11)
        .map(|n| PageEvent {
            timestamp: Some(timestamp(began_ms / 1000 * 1000 + n)),
            event_type: "page_view".into(),
            ..click("bot", "/bot")
        })
        .collect();
    let token = publish_all(&mut ingest, PAGES, pages(&views)).await;
    let tenth = explained(&mut stats, PAGES, &views[9].event_id, &token).await;
    assert!(matches!(&tenth[0].outcome, Some(Outcome::Stored(event)) if event.flagged_by.is_none()), "{tenth:?}");
    let eleventh = explained(&mut stats, PAGES, &views[10].event_id, &token).await;
    let Some(Outcome::Stored(verdict)) = &eleventh[0].outcome else { panic!("{eleventh:?}") };
    assert_eq!(verdict.flagged_by, Some(FlaggedBy { rule: "bot".into(), version: 1, count: 11 }));
    let definition = "more than 10 per user_id every 1 s where event_type = page_view".to_owned();
    assert_eq!(verdict.rule, Some(RuleDefinition { rule: "bot".into(), version: 1, definition }));
    assert!(verdict.rule_is_current);

    // Ahead of its arrival.
    let ahead = PageEvent { timestamp: Some(timestamp(now_ms() + 600_000)), ..click("far", "/far") };
    let token = publish_all(&mut ingest, PAGES, pages(std::slice::from_ref(&ahead))).await;
    let letter = explained(&mut stats, PAGES, &ahead.event_id, &token).await;
    let Some(Outcome::Dead(why)) = &letter[0].outcome else { panic!("{letter:?}") };
    assert_eq!((why.reason(), why.field.as_str()), (Reason::TimeAhead, "timestamp"));
    assert!(why.detail.contains("after its arrival; at most 300 s"), "{why:?}");
    assert_eq!((letter.len(), &letter[0].time, letter[0].appended_at.is_some()), (1, &None, true));

    // Refused at once: nothing is known.
    let refused = PageEvent { user_id: String::new(), ..click("x", "/") };
    publish(&mut ingest, PAGES, vec![record(PAGE_TYPE, refused.encode_to_vec())]).await.unwrap();
    assert!(explained(&mut stats, PAGES, &refused.event_id, "").await.is_empty());

    // The same by the command line.
    let (code, text) = told(&headwater, &[&event.event_id]).await;
    assert_eq!(code, 0);
    assert_eq!(text.matches(": stored, counted\n").count(), 2, "{text}");
    let duplicate = format!("  Duplicate: partition {}, offset {}, stored ", place.partition, again[0]);
    assert!(text.contains(&duplicate), "{text}");
    let (_, text) = told(&headwater, &[&views[10].event_id]).await;
    assert!(text.contains("Rule bot, version 1, found it to be number 11 of \"bot\" in its span."), "{text}");
    let (_, text) = told(&headwater, &[&ahead.event_id, "--at-least", &token]).await;
    assert!(text.contains("Dead letter: TIME_AHEAD\n") && text.contains("docs/errors/TIME_AHEAD.md"), "{text}");
    let (code, text) = told(&headwater, &[&event.event_id, "--limit", "1"]).await;
    assert!(code == 0 && text.ends_with("There are more records than these 1: --limit shows up to 1000.\n"), "{text}");
    let (code, json) = told(&headwater, &[&views[10].event_id, "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["records"][0]["stored"]["flagged_by"]["count"]), (0, &serde_json::json!("11")));
    let (code, text) = told(&headwater, &[&refused.event_id]).await;
    assert!(code == 1 && text.starts_with("Nothing is known of "), "{code} {text}");
}

#[tokio::test]
async fn a_wrong_question_says_which_field_and_why() {
    let headwater = Headwater::dev(&[]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let token = publish_all(&mut ingest, PAGES, pages(&[click("anna", "/")])).await;
    let foreign = publish_all(&mut ingest, TRANSACTIONS, transactions(&[transaction("a", 1)])).await;
    let long = "é".repeat(513);
    for (request, code, wanted, field) in [
        (
            ExplainVerdictRequest { stream: "pageevents".into(), ..asked("x", "") },
            Code::NotFound,
            "UNKNOWN_STREAM",
            None,
        ),
        (asked("", ""), Code::InvalidArgument, "INVALID_REQUEST", Some("id")),
        (asked(&long, ""), Code::InvalidArgument, "INVALID_REQUEST", Some("id")),
        (asked("a\0b", ""), Code::InvalidArgument, "INVALID_REQUEST", Some("id")),
        (
            ExplainVerdictRequest { page_size: 1001, ..asked("x", "") },
            Code::InvalidArgument,
            "INVALID_REQUEST",
            Some("page_size"),
        ),
        (
            ExplainVerdictRequest { page_token: "x!".into(), ..asked("x", "") },
            Code::InvalidArgument,
            "INVALID_PAGE_TOKEN",
            Some("page_token"),
        ),
        (asked("x", "bogus"), Code::InvalidArgument, "INVALID_TOKEN", Some("at_least")),
        (asked("x", &foreign), Code::InvalidArgument, "INVALID_TOKEN", Some("at_least")),
    ] {
        let status = explain(&mut stats, request.clone()).await.unwrap_err();
        assert_eq!(reason(&status), (code, wanted.into()), "{request:?}: {status}");
        assert_eq!(fields(&status), field.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{request:?}");
        assert_eq!(retry_delay(&status), None, "{request:?}");
    }

    // What is not there yet is waited for, and then it is said how far it got.
    let mut far = ConsistencyToken::decode(&token).unwrap();
    let (&partition, &next) = far.next.iter().next().unwrap();
    far.add(partition, next + 999);
    let began = Instant::now();
    let request = with_deadline(asked("x", &far.encode()), Duration::from_millis(700));
    let status = stats.explain_verdict(request).await.unwrap_err();
    assert_eq!(reason(&status), (Code::DeadlineExceeded, "NOT_YET_VISIBLE".into()), "{status}");
    let wanted =
        format!("not yet stored before the deadline: partition {partition} is at offset {next} of {}", next + 1000);
    assert_eq!(status.message(), wanted);
    assert!(retry_delay(&status).is_some());
    assert!(began.elapsed() > Duration::from_millis(400), "it waits as long as it may");
}

#[tokio::test]
async fn many_records_come_in_pages() {
    let headwater = Headwater::dev(&[]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let event = click("anna", "/");
    let ahead = PageEvent { timestamp: Some(timestamp(now_ms() + 3_600_000)), ..event.clone() };
    // Five times one event, three of another with its id, and two dead letters, all of one id.
    let other = PageEvent { timestamp: Some(timestamp(now_ms() - 86_400_000)), ..event.clone() };
    let events = [&event, &other, &event, &ahead, &event, &other, &event, &ahead, &event, &other].map(PageEvent::clone);
    let token = publish_all(&mut ingest, PAGES, pages(&events)).await;
    let all = explained(&mut stats, PAGES, &event.event_id, &token).await;
    let kind = |record: &ExplainedRecord| match record.outcome.as_ref().unwrap() {
        Outcome::Stored(_) => 's',
        Outcome::Duplicate(_) => 'd',
        Outcome::Dead(_) => 'x',
    };
    assert_eq!(all.iter().map(kind).collect::<String>(), "ssddddddxx");
    let (mut found, mut sizes, mut request) = (Vec::new(), Vec::new(), asked(&event.event_id, &token));
    request.page_size = 3;
    loop {
        let page = explain(&mut stats, request.clone()).await.unwrap();
        sizes.push(page.records.len());
        found.extend(page.records);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!((sizes, found), (vec![3, 3, 3, 1], all));
}

#[derive(Clone, PartialEq, prost::Message)]
struct Order {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    at: Option<Timestamp>,
    #[prost(string, tag = "3")]
    shop: String,
}

#[tokio::test]
async fn a_verdict_outlives_the_rule_that_made_it() {
    let folder = tempfile::tempdir().unwrap();
    let (contracts, data) = (text(folder.path().join("contracts")), text(folder.path().join("data")));
    std::fs::create_dir(&contracts).unwrap();
    let write = |rules: &str| {
        let contract = format!(
            r#"syntax = "proto3";
package acme;
import "google/protobuf/timestamp.proto";
import "headwater/stream/v1/stream.proto";
message Order {{
  option (headwater.stream.v1.stream) = {{ name: "orders" id: "id" key: "shop" time: "at" {rules} }};
  string id = 1;
  google.protobuf.Timestamp at = 2;
  string shop = 3;
}}
"#
        );
        std::fs::write(folder.path().join("contracts/order.proto"), contract).unwrap();
    };
    let arguments = ["--contracts", &contracts, "--data", &data];
    write(r#"rules: { name: "flood" flag_above: { count: 1 per: "shop" every_s: 3600 } }"#);
    let mut headwater = Headwater::dev(&arguments).await;
    let at = Some(timestamp(now_ms() / 3_600_000 * 3_600_000));
    let orders = ["a", "b"].map(|id| {
        let order = Order { id: id.into(), at, shop: "north".into() };
        record("type.googleapis.com/acme.Order", order.encode_to_vec())
    });
    let token = publish_all(&mut headwater.ingest().await, "orders", orders.to_vec()).await;
    let flagged_by = FlaggedBy { rule: "flood".into(), version: 1, count: 2 };
    let defined = |version: u32, definition: &str| {
        Some(RuleDefinition { rule: "flood".into(), version, definition: definition.into() })
    };
    let changed = r#"rules: { name: "flood" version: 2 flag_above: { count: 5 per: "shop" every_s: 60 } }"#;
    for (rules, rule, is_current) in [
        (Some(changed), defined(1, "more than 1 per shop every 3600 s"), true),
        (Some(""), defined(2, "more than 5 per shop every 60 s"), false),
        (None, None, false),
    ] {
        let found = explained(&mut headwater.stats().await, "orders", "b", &token).await;
        let Some(Outcome::Stored(verdict)) = &found[0].outcome else { panic!("{found:?}") };
        assert_eq!((&verdict.flagged_by, &verdict.rule), (&Some(flagged_by.clone()), &rule));
        assert_eq!(verdict.rule_is_current, is_current);
        let Some(rules) = rules else { break };
        write(rules);
        headwater.signal("TERM");
        headwater.ended(Duration::from_secs(10)).await;
        headwater = Headwater::dev(&arguments).await;
    }
}
