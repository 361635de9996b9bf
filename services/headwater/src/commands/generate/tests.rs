#![allow(clippy::unwrap_used, reason = "tests")]

use clap::{Args as _, Command, FromArgMatches};
use headwater_client::testing::FakeServer;
use headwater_generator::Latency;

use super::super::console::capture::console;
use super::*;

fn args(line: &str) -> Result<Args, clap::Error> {
    let words = std::iter::once("generate").chain(line.split_whitespace());
    Args::from_arg_matches(&Args::augment_args(Command::new("generate")).try_get_matches_from(words)?)
}

#[test]
fn arguments_are_read_or_refused_with_the_reason() {
    let read = args("--stream page-events --rate 1000 --bots 2% --duration 1m30s --seed 7").unwrap();
    assert_eq!((read.rate, read.bots, read.duration, read.seed), (1000.0, 0.02, Duration::from_secs(90), Some(7)));
    for (line, why) in [
        ("--stream orders", "not for \"orders\""),
        ("--stream page-events --bots 200%", "0% to 100%"),
        ("--stream page-events --duration 30", "\"30\" has no unit"),
        ("--stream page-events --rate 0", "above 0"),
        ("--stream page-events --users 0", "0 is not in 1..=10000000"),
        ("", "--stream"),
    ] {
        let error = args(line).unwrap_err().to_string();
        assert!(error.contains(why), "{line}: {error}");
    }
}

#[test]
fn the_report_is_a_table() {
    let report = Report {
        stream: "page-events",
        seed: 7,
        due: 30_000,
        sent: [("good", 28_800), ("bot", 600), ("invalid", 300), ("duplicate", 300)].into(),
        sent_flagged: 310,
        answers: [("accepted".to_owned(), 29_700), ("rejected INVALID_FIELD".to_owned(), 300)].into(),
        unanswered: 0,
        skipped: 12,
        late: 0,
        surprises: 0,
        elapsed: Duration::from_millis(30_012),
        rate: 1000.0,
        rate_achieved: 999.6,
        latency: Latency { p50_ms: 1.25, p90_ms: 2.0, p99_ms: 4.56, p999_ms: 7.0, max_ms: 10.0 },
        failure: None,
    };
    let mut out = Vec::new();
    write_report(&report, 20_000, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "page-events, seed 7, 30.0 s

sent                              30,000   1000/s asked, 999.6/s answered
  bot                                600   310 of them past the tenth view in a second: stored, not counted
  duplicate                          300   sent before: accepted, not counted again
  good                            28,800
  invalid                            300
answered                          30,000
  accepted                        29,700
  rejected INVALID_FIELD             300
skipped                               12   due while 20,000 were in flight

latency from the moment due, ms: p50 1.2  p90 2.0  p99 4.6  p99.9 7.0  max 10.0
"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_prints_one_object() {
    let server = FakeServer::start();
    let line =
        format!("--stream transactions --rate 500 --duration 1s --invalid 10% --json --address {}", server.address());
    let (mut console, out, err) = console();
    let code = run_on(args(&line).unwrap(), &mut console).await.unwrap();
    assert_eq!(code, ExitCode::SUCCESS, "{}", err.text());
    let report: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(report["due"], 500);
    assert_eq!(report["answers"]["accepted"], server.accepted().len());
    assert_eq!(report["surprises"], 0);
}

#[tokio::test]
async fn what_cannot_be_made_is_said() {
    let server = FakeServer::start();
    let (mut console, _, err) = console();
    let line = format!("--stream transactions --bots 2% --address http://{}", server.address());
    let code = run_on(args(&line).unwrap(), &mut console).await.unwrap();
    assert_eq!(code, ExitCode::from(1));
    assert_eq!(err.text(), "headwater: bots: there are none in transactions\n");
}
