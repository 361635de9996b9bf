#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::io::Write as _;

use clap::{Args as _, Command, FromArgMatches};
use headwater_client::testing::FakeServer;
use headwater_client::v1::event::PageEvent;
use headwater_contracts::Contracts;
use prost::Message;
use serde_json::Value as Json;

use super::*;
use crate::commands::console::capture::console;

/// The payload of the requirement, as it stands there.
const PAYLOAD: &str = r#"{"timestamp":"2024-03-15T14:30:00Z","user_id":"usr_789","event_type":"page_view","page_url":"/products/electronics","session_id":"sess_456"}"#;

struct Ran {
    code: ExitCode,
    out: String,
    err: String,
}

fn args(line: &str) -> Args {
    let words = std::iter::once("publish").chain(line.split_whitespace());
    Args::from_arg_matches(&Args::augment_args(Command::new("publish")).get_matches_from(words)).unwrap()
}

/// A file that is gone with the value.
struct Input(PathBuf);

impl Input {
    fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = std::env::temp_dir().join(format!("headwater-publish-{}-{name}.ndjson", std::process::id()));
        File::create(&path).unwrap().write_all(text.as_ref()).unwrap();
        Self(path)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn publish_file(server: &FakeServer, input: &Input, more: &str) -> Ran {
    let file = input.0.display();
    let line = format!("--stream page-events {file} --address http://{} {more}", server.address());
    let (mut console, out, err) = console();
    let code = run_on(args(&line), &mut console, &CancellationToken::new()).await.unwrap();
    // Messages name the file as it was given.
    let err = err.text().replace(&file.to_string(), "FILE");
    Ran { code, out: out.text().replace(&file.to_string(), "FILE"), err }
}

fn line(user: u32, second: u32) -> String {
    PAYLOAD.replace("usr_789", &format!("usr_{user}")).replace(":00Z", &format!(":{second:02}Z"))
}

fn ids(server: &FakeServer) -> Vec<String> {
    server.accepted().into_iter().map(|event| event.id).collect()
}

#[tokio::test]
async fn the_same_file_has_the_same_ids_and_identical_lines_have_ids_of_their_own() {
    let input = Input::new("twice", format!("{PAYLOAD}\n{}\n{PAYLOAD}\n{PAYLOAD}\n", line(1, 1)));
    let server = FakeServer::start();
    for run in 1..=2 {
        let ran = publish_file(&server, &input, "--batch 2").await;
        assert_eq!((ran.code, ran.err.as_str()), (ExitCode::SUCCESS, ""));
        assert_eq!(ids(&server).len(), 4 * run);
    }
    let ids = ids(&server);
    assert_eq!(ids[..4], ids[4..]);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 4);
    // Fixed for good: a file published by an older release counts once.
    assert_eq!(ids[0], "018e4285-0e40-8b6c-9530-94e0a353f12e");
}

#[tokio::test]
async fn however_a_line_is_written_its_id_is_the_same() {
    let other = "  {\"sessionId\": \"sess_456\", \"pageUrl\":\"/products\\/electronics\", \"eventType\":\"page_view\",\
                 \"userId\":\"usr_789\", \"event_id\": null, \"timestamp\":\"2024-03-15T15:30:00.000+01:00\"}";
    let server = FakeServer::start();
    for (name, text) in [("one", PAYLOAD), ("other", other)] {
        let ran = publish_file(&server, &Input::new(name, text), "").await;
        assert_eq!((ran.code, ran.err.as_str()), (ExitCode::SUCCESS, ""));
    }
    let ids = ids(&server);
    assert_eq!(ids[0], ids[1]);
    let event = PageEvent::decode(server.accepted()[1].bytes.as_slice()).unwrap();
    assert_eq!((event.user_id.as_str(), event.timestamp.unwrap().seconds), ("usr_789", 1_710_513_000));
}

#[tokio::test]
async fn an_id_that_is_given_is_kept() {
    let id = "0190c8f0-0000-7000-8000-000000000001";
    let given = PAYLOAD.replacen('{', &format!("{{\"event_id\":\"{id}\","), 1);
    let server = FakeServer::start();
    publish_file(&server, &Input::new("given", format!("{given}\n{given}\n")), "").await;
    assert_eq!(ids(&server), [id, id]);
}

#[tokio::test]
async fn refused_lines_are_told_with_number_reason_and_field() {
    let without_user = PAYLOAD.replace("usr_789", "");
    let text = [
        PAYLOAD.to_owned(),
        "{\"timestamp\":".into(),
        String::new(),
        PAYLOAD.replace("user_id", "usr"),
        without_user,
        "[1]".into(),
        PAYLOAD.replace("2024-03-15T14:30:00Z", "yesterday"),
        format!("{{\"page_url\":\"{}\"}}", "x".repeat(1 << 20)),
        format!("{PAYLOAD} {PAYLOAD}"),
        PAYLOAD.replacen('{', "{\"event_id\":\"\",", 1),
        "   \t".into(),
        line(2, 2),
    ]
    .join("\r\n");
    let server = FakeServer::start();
    let ran = publish_file(&server, &Input::new("refused", text), "").await;
    assert_eq!(ran.code, ExitCode::from(1));
    let expected = "FILE:2: MALFORMED not JSON: EOF while parsing a value at column 13; an event is one line
FILE:4: INVALID_FIELD usr: the contract has no field of this name; it has event_id, timestamp, user_id, event_type, page_url, session_id
FILE:5: INVALID_FIELD user_id: value length must be at least 1 characters
FILE:6: MALFORMED not a JSON object
FILE:7: INVALID_FIELD timestamp: invalid rfc3339 timestamp: invalid date
FILE:8: RECORD_TOO_LARGE 1048593 bytes, more than 1048576
FILE:9: MALFORMED not JSON: trailing characters at column 142
FILE:10: INVALID_FIELD event_id: is empty; leave it out to have one derived
";
    assert_eq!(ran.err, expected);
    assert_eq!(server.accepted().len(), 2);
    let summary: Vec<&str> = ran.out.lines().take(5).collect();
    assert_eq!(
        summary,
        [
            "FILE to page-events",
            "  lines                     10",
            "  accepted                   2",
            "  refused                    8",
            "  retried                    0"
        ]
    );
}

#[tokio::test]
async fn only_the_first_hundred_are_told_unless_all_are_wanted() {
    let server = FakeServer::start();
    let input = Input::new("many", "x\n".repeat(250));
    let ran = publish_file(&server, &input, "").await;
    assert_eq!(ran.code, ExitCode::from(1));
    assert_eq!(ran.err.lines().count(), 101);
    assert!(ran.err.ends_with("FILE: 150 more lines refused (--all-errors says why of each)\n"), "{}", ran.err);
    assert_eq!(publish_file(&server, &input, "--all-errors").await.err.lines().count(), 250);
}

#[tokio::test]
async fn the_summary_can_be_json_with_a_token_to_read_by() {
    let text: String = (0..50).map(|user| line(user, 1) + "\n").collect();
    let server = FakeServer::start();
    let ran = publish_file(&server, &Input::new("json", text), "--json --batch 7").await;
    let summary: Json = serde_json::from_str(&ran.out).unwrap();
    for (name, count) in [("lines", 50), ("accepted", 50), ("refused", 0), ("retried", 0), ("unacknowledged", 0)] {
        assert_eq!(summary[name], count, "{name}");
    }
    let token = headwater_domain::ConsistencyToken::decode(summary["consistency_token"].as_str().unwrap()).unwrap();
    assert_eq!((token.stream.as_str(), token.next[&0]), ("page-events", 50));
}

#[tokio::test]
async fn what_is_not_acknowledged_is_sent_again_with_the_same_ids() {
    let text: String = (0..30).map(|user| line(user, 1) + "\n").collect();
    let input = Input::new("retried", text);
    let server = FakeServer::start();
    server.retry_next(3);
    server.break_stream_after(2);
    let ran = publish_file(&server, &input, "--batch 10 --json").await;
    assert_eq!(ran.code, ExitCode::SUCCESS, "{}", ran.err);
    let summary: Json = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(summary["accepted"], 30);
    assert!(summary["retried"].as_u64().unwrap() >= 3, "{summary}");
    let seen: HashSet<String> = ids(&server).into_iter().collect();
    let clean = FakeServer::start();
    publish_file(&clean, &input, "").await;
    assert_eq!(seen, ids(&clean).into_iter().collect());
}

#[tokio::test]
async fn what_cannot_be_published_has_a_code_of_its_own() {
    let input = Input::new("away", PAYLOAD);
    let server = FakeServer::start();
    let line = format!("--stream pageevents {} --address http://{}", input.0.display(), server.address());
    let (mut unknown, _, err) = console();
    let code = run_on(args(&line), &mut unknown, &CancellationToken::new()).await.unwrap();
    assert_eq!(code, ExitCode::from(2));
    assert_eq!(
        err.text(),
        "headwater: UNKNOWN_STREAM: there is no stream \"pageevents\"; the streams are page-events, transactions\n  \
         See docs/errors/UNKNOWN_STREAM.md\n"
    );
    let missing = args("--stream page-events no-such-file.ndjson");
    let (mut absent, _, err) = console();
    assert_eq!(run_on(missing, &mut absent, &CancellationToken::new()).await.unwrap(), ExitCode::from(2));
    assert!(err.text().starts_with("headwater: no-such-file.ndjson: No such file"), "{}", err.text());

    let few = Input::new("few", format!("{PAYLOAD}\n{}", self::line(1, 1)));
    let ran = publish_file(&server, &few, "--distinct-lines-max 1").await;
    assert_eq!(ran.code, ExitCode::from(2));
    assert!(ran.err.contains("more than 1 different lines without an id: raise --distinct-lines-max"), "{}", ran.err);

    let address = server.address();
    drop(server);
    let (mut nobody, _, err) = console();
    let line = format!("--stream page-events {} --address http://{address}", input.0.display());
    assert_eq!(run_on(args(&line), &mut nobody, &CancellationToken::new()).await.unwrap(), ExitCode::from(2));
    assert!(err.text().contains(&format!("cannot reach http://{address}: Connection refused")), "{}", err.text());
    assert!(err.text().contains("make run"), "{}", err.text());
}

#[tokio::test]
async fn a_server_that_goes_away_in_the_middle_ends_it_with_what_to_do() {
    let text: String = (0..200).map(|user| line(user, 1) + "\n").collect();
    let server = FakeServer::start();
    for _ in 0..20 {
        server.break_stream_after(1);
    }
    let ran = publish_file(&server, &Input::new("cut", text), "--batch 10").await;
    assert_eq!(ran.code, ExitCode::from(2));
    assert!(ran.err.contains("Unavailable: cut"), "{}", ran.err);
    assert!(ran.err.ends_with("  Publish the file again: what was counted is not counted twice.\n"), "{}", ran.err);
    assert!(ran.out.contains("unacknowledged"), "{}", ran.out);
}

#[tokio::test]
async fn an_interrupt_ends_with_the_summary() {
    let text: String = (0..30_000).map(|user| line(user, 1) + "\n").collect();
    let input = Input::new("interrupted", text);
    let server = FakeServer::start();
    server.set_delay(Duration::from_millis(50));
    let (mut console, out, _) = console();
    let stop = CancellationToken::new();
    let line = format!("--stream page-events {} --batch 10 --json --address {}", input.0.display(), server.address());
    let (code, ()) = tokio::join!(run_on(args(&line), &mut console, &stop), async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        server.set_delay(Duration::ZERO);
        stop.cancel();
    });
    assert_eq!(code.unwrap(), ExitCode::from(2));
    let summary: Json = serde_json::from_str(&out.text()).unwrap();
    assert_eq!((&summary["interrupted"], &summary["unacknowledged"]), (&Json::Bool(true), &Json::from(0)));
    let accepted = summary["accepted"].as_u64().unwrap();
    assert!(accepted > 0 && accepted < 30_000, "{summary}");
}

#[tokio::test]
async fn a_contract_that_only_the_server_knows_is_enough() {
    let folder = std::env::temp_dir().join(format!("headwater-publish-{}-contracts", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("order.proto"),
        "syntax = \"proto3\"; package acme; import \"google/protobuf/timestamp.proto\"; \
         import \"headwater/stream/v1/stream.proto\"; message Item { string sku = 1; map<string, int64> sizes = 2; } \
         message Order { option (headwater.stream.v1.stream) = {name: \"orders\" id: \"order_id\" key: \"customer\" \
         time: \"placed_at\"}; string order_id = 1; string customer = 2; google.protobuf.Timestamp placed_at = 3; \
         repeated Item items = 4; }",
    )
    .unwrap();
    let contracts = Contracts::with_path(&folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let server = FakeServer::start_with(([127, 0, 0, 1], 0).into(), contracts, None);
    let order = r#"{"customer":"c","placedAt":"2024-03-15T14:30:00Z","items":[{"sku":"a","sizes":{"z":"1","b":2}}]}"#;
    let same = r#"{"items":[{"sizes":{"b":"2","z":1},"sku":"a"}],"placed_at":"2024-03-15T14:30:00Z","customer":"c"}"#;
    for (name, text) in [("order", order), ("same", same)] {
        let input = Input::new(name, text);
        let line = format!("--stream orders {} --address http://{}", input.0.display(), server.address());
        let (mut console, _, err) = console();
        let code = run_on(args(&line), &mut console, &CancellationToken::new()).await.unwrap();
        assert_eq!((code, err.text().as_str()), (ExitCode::SUCCESS, ""));
    }
    assert_eq!(ids(&server)[0], ids(&server)[1]);
}
