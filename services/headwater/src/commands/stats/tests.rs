#![allow(clippy::unwrap_used, reason = "tests")]

use clap::{Args as _, FromArgMatches};
use headwater_client::testing::FakeServer;
use headwater_client::v1::stats::{StatKind, StatResult, StatValue};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::commands::console::capture::{Captured, console};

fn args(line: &str) -> Result<Args, clap::Error> {
    let words = std::iter::once("stats").chain(line.split_whitespace());
    Args::from_arg_matches(&Args::augment_args(clap::Command::new("stats")).try_get_matches_from(words)?)
}

/// Exit code, output and errors of a command line.
async fn ran(server: &FakeServer, line: &str) -> (ExitCode, String, String) {
    let (mut console, out, err) = console();
    let args = args(&format!("{line} --address http://{}", server.address())).unwrap();
    let code = run_on(args, &mut console).await.unwrap();
    (code, out.text(), err.text())
}

fn top_pages(complete: bool) -> StatResult {
    let value =
        |key: &str, value: i64| StatValue { key: key.into(), value, text: value.to_string(), overflowed: false };
    StatResult {
        stream: "page-events".into(),
        stat: "top_pages".into(),
        kind: StatKind::Top.into(),
        values: vec![value("/products/electronics", 1234), value("/", 987), value("/cart", 5)],
        as_of: Some(prost_types::Timestamp { seconds: 1_710_513_000, nanos: 250_000_000 }),
        lag: Some(prost_types::Duration { seconds: 0, nanos: 200_000_000 }),
        generation: 3,
        complete,
        key_count: 187,
        ..StatResult::default()
    }
}

#[test]
fn arguments_are_refused_with_the_reason() {
    for (line, why) in [
        ("get page-events top_pages --window 5", "\"5\" has no unit"),
        ("get page-events top_pages --limit 0", "0 is not in 1..=10000"),
        ("get page-events", "<STAT>"),
        ("watch page-events top_pages --interval fast", "\"fast\" is no duration"),
        ("show", "unrecognized subcommand"),
    ] {
        let error = args(line).unwrap_err().to_string();
        assert!(error.contains(why), "{line}: {error}");
    }
}

#[tokio::test]
async fn statistics_are_listed() {
    let server = FakeServer::start();
    let (code, out, _) = ran(&server, "list").await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(
        out,
        "STREAM        STATISTIC      KIND      FIELD       BY              TITLE
page-events   active_users   distinct  user_id                     Active users
page-events   top_pages      top       page_url    page_url        Top pages
page-events   sessions       distinct  session_id  user_id         Active sessions of a user
transactions  account_total  sum       amount      account_number  Total by account
"
    );
    let (_, out, _) = ran(&server, "list transactions --json").await;
    assert_eq!(
        out,
        "{\"stream\":\"transactions\",\"name\":\"account_total\",\"title\":\"Total by account\",\"kind\":\"STAT_KIND_SUM\",\
         \"field\":\"amount\",\"by\":\"account_number\",\"scale\":2,\"window_max\":\"86400s\"}\n"
    );
}

#[tokio::test]
async fn figures_are_a_table() {
    let server = FakeServer::start();
    server.set_result(top_pages(true));
    let (code, out, _) = ran(&server, "get page-events top_pages --window 5m --limit 2").await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(
        out,
        "Top pages: top of page_url in page-events, last 5m

PAGE_URL               VALUE
/products/electronics   1234
/                        987

2 of 187 keys, as of 2024-03-15T14:30:00.250Z, lag 0.2 s, generation 3, complete
"
    );
    server.set_result(StatResult {
        stream: "transactions".into(),
        stat: "account_total".into(),
        kind: StatKind::Sum.into(),
        scale: 2,
        values: vec![StatValue { key: "ACC-1".into(), value: -1250, text: "-12.50".into(), overflowed: false }],
        ..top_pages(false)
    });
    let (_, out, _) = ran(&server, "get transactions account_total --by ACC-1").await;
    assert_eq!(
        out,
        "Total by account: sum of amount by account_number in transactions, all time

ACCOUNT_NUMBER   VALUE
ACC-1           -12.50

as of 2024-03-15T14:30:00.250Z, lag 0.2 s, generation 3, not complete
warning: lost figures are being mended; these may be too low
"
    );
    let figure = StatValue { key: String::new(), value: 42, text: "42".into(), overflowed: false };
    let users = StatResult { stat: "active_users".into(), kind: 1, values: vec![figure], ..top_pages(true) };
    server.set_result(users);
    let (_, out, _) = ran(&server, "get page-events active_users --window 1h").await;
    assert!(out.starts_with("Active users: distinct of user_id in page-events, last 1h\n\n42\n\nas of 2024"), "{out}");
}

#[tokio::test]
async fn figures_are_json_as_the_contract_names_them() {
    let server = FakeServer::start();
    server.set_result(top_pages(true));
    let (_, out, _) = ran(&server, "get page-events top_pages --limit 1 --json --at-least abc").await;
    assert_eq!(
        out,
        "{\"stream\":\"page-events\",\"stat\":\"top_pages\",\"kind\":\"STAT_KIND_TOP\",\"scale\":0,\"values\":[{\"key\":\
         \"/products/electronics\",\"value\":\"1234\",\"text\":\"1234\",\"overflowed\":false}],\"as_of\":\
         \"2024-03-15T14:30:00.250Z\",\"lag\":\"0.200s\",\"generation\":\"3\",\"complete\":true,\"key_count\":\"187\",\
         \"next_page_token\":\"\"}\n"
    );
    assert!(server.calls().iter().any(|call| call.at_least == "abc"));
}

#[tokio::test]
async fn a_refusal_and_an_absence_have_codes_of_their_own() {
    let server = FakeServer::start();
    let (code, out, err) = ran(&server, "get page-events top_page").await;
    assert_eq!((code, out.as_str()), (ExitCode::from(1), ""));
    assert_eq!(
        err,
        "headwater: UNKNOWN_STAT: page-events has no statistic \"top_page\"; it has active_users, top_pages, sessions\n  \
         See docs/errors/UNKNOWN_STAT.md\n"
    );
    let address = server.address();
    drop(server);
    let (mut console, _, err) = console();
    let code = run_on(args(&format!("list --address {address}")).unwrap(), &mut console).await.unwrap();
    assert_eq!(code, ExitCode::from(2));
    assert!(err.text().contains(&format!("cannot reach http://{address}: ")), "{}", err.text());
    assert!(err.text().contains("make run"), "{}", err.text());
}

fn watch_args(server: &FakeServer) -> WatchArgs {
    let line = format!("watch page-events top_pages --interval 100ms --address {}", server.address());
    match args(&line).unwrap().command {
        Command::Watch(args) => args,
        other => panic!("{other:?}"),
    }
}

async fn until(out: &Captured, holds: impl Fn(&str) -> bool) {
    for _ in 0..500 {
        if holds(&out.text()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", out.text());
}

#[tokio::test]
async fn a_watch_prints_a_line_for_each_change_and_outlives_the_server() {
    let server = FakeServer::start();
    let address = server.address();
    server.set_result(top_pages(true));
    let (mut console, out, err) = console();
    let stop = CancellationToken::new();
    let args = watch_args(&server);
    let script = async {
        until(&out, |text| text.lines().count() == 1).await;
        // No change, no line.
        server.set_result(top_pages(true));
        server.set_result(top_pages(false));
        until(&out, |text| text.lines().count() == 2).await;
        drop(server);
        until(&err, |text| text.contains("trying again")).await;
        let server = FakeServer::start_at(address);
        until(&out, |text| text.lines().count() == 3).await;
        stop.cancel();
        server
    };
    let (code, _server) = tokio::join!(watch::watch(args, &mut console, &stop), script);
    assert_eq!(code.unwrap(), ExitCode::SUCCESS);
    for line in out.text().lines() {
        let result: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(result["stat"], "top_pages");
    }
}

#[tokio::test]
async fn a_watch_redraws_on_a_terminal() {
    let server = FakeServer::start();
    server.set_result(top_pages(true));
    let (mut console, out, _) = console();
    console.out_is_terminal = true;
    let stop = CancellationToken::new();
    let args = watch_args(&server);
    let script = async {
        until(&out, |text| text.matches("\x1b[H").count() == 1).await;
        server.set_result(top_pages(false));
        until(&out, |text| text.matches("\x1b[H").count() == 2 && text.contains("warning")).await;
        stop.cancel();
    };
    let (code, ()) = tokio::join!(watch::watch(args, &mut console, &stop), script);
    assert_eq!(code.unwrap(), ExitCode::SUCCESS);
    assert!(out.text().starts_with("\x1b[2J\x1b[H\x1b[JTop pages"));
}
