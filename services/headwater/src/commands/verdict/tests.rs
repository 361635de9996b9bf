#![allow(clippy::unwrap_used, reason = "tests")]

use clap::{Args as _, FromArgMatches};
use headwater_client::testing::FakeServer;
use headwater_client::v1::error::Reason;
use headwater_client::v1::stats::explained_record::Outcome;
use headwater_client::v1::stats::{
    ExplainVerdictResponse, ExplainedDeadLetter, ExplainedDuplicate, ExplainedEvent, ExplainedRecord, FlaggedBy,
    RuleDefinition,
};
use prost_types::Timestamp;

use super::*;
use crate::commands::console::capture::console;

fn args(line: &str) -> Result<Args, clap::Error> {
    let words = std::iter::once("explain").chain(line.split_whitespace());
    Args::from_arg_matches(&Args::augment_args(clap::Command::new("explain")).try_get_matches_from(words)?)
}

/// Exit code, output and errors of a command line.
async fn ran(server: &FakeServer, line: &str) -> (ExitCode, String, String) {
    let (mut console, out, err) = console();
    let args = args(&format!("{line} --address http://{}", server.address())).unwrap();
    let code = run_on(args, &mut console).await.unwrap();
    (code, out.text(), err.text())
}

fn at(second: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_710_513_000 + second, nanos })
}

fn record(offset: i64, outcome: Outcome) -> ExplainedRecord {
    ExplainedRecord {
        partition: 3,
        offset,
        time: at(0, 123_456_000),
        appended_at: at(1, 0),
        committed_at: at(2, 5_000_000),
        outcome: Some(outcome),
    }
}

fn flagged(rule: Option<RuleDefinition>, rule_is_current: bool) -> Outcome {
    let flagged_by = Some(FlaggedBy { rule: "bot".into(), version: 1, count: 11 });
    Outcome::Stored(ExplainedEvent { key: "usr \"7\"".into(), flagged_by, rule, rule_is_current })
}

fn bot(version: u32) -> Option<RuleDefinition> {
    let definition = "more than 10 per user_id every 1 s where event_type = page_view".into();
    Some(RuleDefinition { rule: "bot".into(), version, definition })
}

fn counted() -> Outcome {
    Outcome::Stored(ExplainedEvent { key: "anna".into(), ..ExplainedEvent::default() })
}

fn of(of_offset: i64) -> Outcome {
    Outcome::Duplicate(ExplainedDuplicate { of_partition: 3, of_offset })
}

#[tokio::test]
async fn every_outcome_is_told() {
    let server = FakeServer::start();
    let dead = ExplainedDeadLetter {
        reason: Reason::TimeAhead.into(),
        field: "timestamp".into(),
        detail: "the event's time lies 600 s after its arrival; at most 300 s".into(),
    };
    let records = vec![
        record(41, counted()),
        ExplainedRecord { time: at(60, 0), committed_at: None, ..record(42, flagged(bot(1), true)) },
        ExplainedRecord { appended_at: None, ..record(50, of(41)) },
        ExplainedRecord { appended_at: None, ..record(51, of(7)) },
        ExplainedRecord { time: None, ..record(60, Outcome::Dead(dead)) },
    ];
    server.set_explanation("page-events", "e-1", ExplainVerdictResponse { records, next_page_token: "more".into() });
    let (code, out, err) = ran(&server, "page-events e-1").await;
    assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
    assert_eq!(
        out,
        r#"e-1 in page-events

Event at 2024-03-15T14:30:00.123456Z: stored, counted
  partition 3, offset 41, published 2024-03-15T14:30:01Z, stored 2024-03-15T14:30:02.005Z
  No rule flagged it.
  Duplicate: partition 3, offset 50, stored 2024-03-15T14:30:02.005Z: its event was stored already

Event at 2024-03-15T14:31:00Z: stored, flagged, so that it does not count
  partition 3, offset 42, published 2024-03-15T14:30:01Z, stored at a time that is pruned
  Rule bot, version 1, found it to be number 11 of "usr \"7\"" in its span.
  It flags more than 10 per user_id every 1 s where event_type = page_view.

Duplicate of an event at 2024-03-15T14:30:00.123456Z
  partition 3, offset 51, stored 2024-03-15T14:30:02.005Z
  It is stored by partition 3, offset 7.

Dead letter: TIME_AHEAD
  partition 3, offset 60, published 2024-03-15T14:30:01Z, stored 2024-03-15T14:30:02.005Z
  timestamp: the event's time lies 600 s after its arrival; at most 300 s
  See docs/errors/TIME_AHEAD.md

There are more records than these 5: --limit shows up to 1000.
"#
    );
}

#[tokio::test]
async fn a_rule_that_has_changed_is_not_passed_off_as_the_one_that_judged() {
    let server = FakeServer::start();
    for (rule, said) in [
        (
            bot(4),
            "  The contract has version 4 of the rule now, which judged other events:\n  it flags more than 10 per",
        ),
        (None, "  The contract has no such rule any more.\n"),
    ] {
        let records = vec![record(1, flagged(rule, false))];
        server.set_explanation("page-events", "e", ExplainVerdictResponse { records, ..Default::default() });
        let (_, out, _) = ran(&server, "page-events e").await;
        assert!(out.contains(said) && out.contains("Rule bot, version 1, found it"), "{out}");
    }
}

#[tokio::test]
async fn nothing_known_is_exit_code_1() {
    let server = FakeServer::start();
    let (code, out, err) = ran(&server, "page-events nobody --at-least abc --limit 7").await;
    assert_eq!((code, err.as_str()), (ExitCode::from(1), ""));
    assert!(out.starts_with("Nothing is known of \"nobody\" in page-events.\n"), "{out}");
    assert!(server.calls().iter().any(|call| call.method == "ExplainVerdict" && call.at_least == "abc"));
    let (code, out, _) = ran(&server, "page-events nobody --json").await;
    assert_eq!((code, out.as_str()), (ExitCode::from(1), "{\"records\":[],\"next_page_token\":\"\"}\n"));
}

#[tokio::test]
async fn the_answer_is_json_as_the_contract_names_it() {
    let server = FakeServer::start();
    let records = vec![ExplainedRecord { appended_at: None, ..record(50, of(41)) }];
    server.set_explanation("page-events", "e", ExplainVerdictResponse { records, ..Default::default() });
    let (code, out, _) = ran(&server, "page-events e --json").await;
    assert_eq!(code, ExitCode::SUCCESS);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let wanted = serde_json::json!({
        "partition": 3, "offset": "50", "time": "2024-03-15T14:30:00.123456Z",
        "committed_at": "2024-03-15T14:30:02.005Z", "duplicate": {"of_partition": 3, "of_offset": "41"},
    });
    assert_eq!(json["records"], serde_json::json!([wanted]));
}

#[tokio::test]
async fn a_refusal_and_an_absence_have_codes_of_their_own() {
    let server = FakeServer::start();
    let (code, out, err) = ran(&server, "pageevents e").await;
    assert_eq!((code, out.as_str()), (ExitCode::from(1), ""));
    assert!(err.starts_with("headwater: UNKNOWN_STREAM: ") && err.contains("docs/errors/UNKNOWN_STREAM.md"), "{err}");
    let address = server.address();
    drop(server);
    let (mut console, _, _) = console();
    let code = run_on(args(&format!("page-events e --address {address}")).unwrap(), &mut console).await.unwrap();
    assert_eq!(code, ExitCode::from(2));
    for (line, why) in [("page-events", "<ID>"), ("page-events e --limit 1001", "1001 is not in 1..=1000")] {
        let error = args(line).unwrap_err().to_string();
        assert!(error.contains(why), "{line}: {error}");
    }
}
