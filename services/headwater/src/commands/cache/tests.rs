#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use clap::{Args as _, FromArgMatches};
use headwater_client::testing::{FakeServer, refusal};
use headwater_client::v1::cache::{Namespace, Overwrite, WriteMode};
use headwater_client::{Client, cache::WatchOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::*;
use crate::commands::console::capture::{Captured, console};

/// SHA-1 of "hello".
const HELLO: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";

pub(super) fn args(words: &[OsString]) -> Result<Args, clap::Error> {
    let words = std::iter::once("cache".into()).chain(words.iter().cloned());
    Args::from_arg_matches(&Args::augment_args(clap::Command::new("cache")).try_get_matches_from(words)?)
}

pub(super) fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// Exit code, output and errors of a command line.
pub(super) async fn ran(server: &FakeServer, line: &str) -> (ExitCode, String, String) {
    let (code, out, err) = ran_with(server, words(line), b"").await;
    (code, String::from_utf8(out).unwrap(), err)
}

async fn ran_with(server: &FakeServer, mut words: Vec<OsString>, input: &[u8]) -> (ExitCode, Vec<u8>, String) {
    let (mut console, out, err) = console();
    words.extend(["--address".into(), format!("http://{}", server.address()).into()]);
    let code = run_on(args(&words).unwrap(), &mut console, &mut &*input).await.unwrap();
    (code, out.bytes(), err.text())
}

async fn made(server: &FakeServer, settings: Namespace) -> Client {
    let client = Client::connect(server.connect_options()).await.unwrap();
    client.create_namespace(Namespace { name: "made".into(), ..settings }).await.unwrap();
    client
}

fn parsed(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const DONE: ExitCode = ExitCode::SUCCESS;

fn no() -> ExitCode {
    ExitCode::from(1)
}

fn unknown() -> ExitCode {
    ExitCode::from(2)
}

#[test]
fn arguments_are_refused_with_the_reason() {
    for (line, why) in [
        ("get", "<KEY>"),
        ("set a", "<VALUE>"),
        ("set a 1 --ttl 5", "\"5\" has no unit"),
        ("set a 1 --if-absent --if-etag 00", "cannot be used with"),
        ("get a --raw --json", "cannot be used with"),
        ("watch", "<KEY>"),
        ("increment a", "unrecognized subcommand"),
    ] {
        let error = args(&words(line)).unwrap_err().to_string();
        assert!(error.contains(why), "{line}: {error}");
    }
    for line in ["set a -5", "set a -", "watch --prefix=", "delete a b", "get a -n other"] {
        assert!(args(&words(line)).is_ok(), "{line}");
    }
}

#[tokio::test]
async fn a_value_goes_to_output_and_its_status_to_errors() {
    let server = FakeServer::start();
    let (code, out, err) = ran(&server, "get greeting").await;
    assert_eq!((code, out.as_str(), err.as_str()), (no(), "", "miss by L2 (not in L1)\n"));
    let (code, out, err) = ran(&server, "set greeting hello").await;
    assert_eq!((code, out, err.as_str()), (DONE, format!("written, fresh for 1h, etag {HELLO}\n"), ""));
    let (code, out, err) = ran(&server, "get greeting").await;
    assert_eq!((code, out.as_str()), (DONE, "hello\n"));
    assert_eq!(err, format!("hit by L2 (not in L1), fresh for 1h, 5 bytes, etag {HELLO}\n"));
    assert!(ran(&server, "get greeting").await.2.starts_with("hit by L1, fresh for 1h, "));
    assert!(ran(&server, "get greeting --no-cache").await.2.starts_with("hit by L2 (as asked), "));
    let (_, out, _) = ran(&server, "set greeting hello --ttl 5m").await;
    assert_eq!(out, format!("written, fresh for 5m, replaced a value, etag {HELLO}\n"));
    let (_, out, err) = ran(&server, "get greeting --json").await;
    assert_eq!(err, "");
    let mut line = parsed(&out).remove(0);
    assert!((290_000..=300_000).contains(&line["ttl_ms"].as_i64().unwrap()), "{line}");
    line["ttl_ms"] = json!("some");
    assert_eq!(
        line,
        json!({ "key": "greeting", "value": "hello", "outcome": "hit", "layer": "l2", "fwd": "miss", "ttl_ms": "some",
            "collapsed": false, "detail": "", "etag": HELLO })
    );
}

#[tokio::test]
async fn several_keys_have_a_line_each() {
    let server = FakeServer::start();
    ran(&server, "set a 1").await;
    ran_with(&server, vec!["set".into(), "b".into(), "two\nlines".into()], b"").await;
    let (code, out, err) = ran(&server, "get a none b").await;
    assert_eq!((code, out.as_str()), (no(), "a\t1\nb\ttwo\\nlines\n"));
    let heads: Vec<&str> = err.lines().map(|line| line.split_once(" by").unwrap().0).collect();
    assert_eq!(heads, ["a: hit", "none: miss", "b: hit"]);
    // One that is wrong fails alone.
    let long = "k".repeat(2000);
    let (code, out, err) = ran(&server, &format!("get a {long} b")).await;
    assert_eq!((code, out.lines().count()), (no(), 2));
    assert!(
        err.contains(": INVALID_REQUEST: a key has 1 to 1024 bytes\n  See docs/errors/INVALID_REQUEST.md\n"),
        "{err}"
    );
    let (_, out, _) = ran(&server, &format!("get a {long} --json")).await;
    let lines = parsed(&out);
    assert_eq!((&lines[0]["value"], &lines[1]["error"]["reason"]), (&json!("1"), &json!("INVALID_REQUEST")));
}

#[tokio::test]
async fn bytes_are_kept_as_they_are() {
    let server = FakeServer::start();
    let (key, value) = (OsString::from_vec(vec![b'k', 0xff]), b"\x00\xfe\n\x1b[2J");
    let set = vec!["set".into(), key.clone(), "-".into(), "--json".into()];
    let (code, out, _) = ran_with(&server, set, value).await;
    assert_eq!((code, parsed(std::str::from_utf8(&out).unwrap())[0]["key_base64"].as_str()), (DONE, Some("a/8=")));
    let (_, out, err) = ran_with(&server, vec!["get".into(), key.clone()], b"").await;
    assert_eq!(out, b"\\x00\\xfe\\n\\x1b[2J\n");
    assert!(err.contains(", 7 bytes that are no UTF-8, "), "{err}");
    let (_, out, _) = ran_with(&server, vec!["get".into(), "--raw".into(), key.clone()], b"").await;
    assert_eq!(out, value);
    let (_, out, _) = ran_with(&server, vec!["get".into(), "--json".into(), key.clone()], b"").await;
    assert_eq!(parsed(std::str::from_utf8(&out).unwrap())[0]["value_base64"], "AP4KG1sySg==");
    // What a terminal would obey is escaped there, and nowhere else.
    ran_with(&server, vec!["set".into(), "esc".into(), "\x1b[2J".into()], b"").await;
    assert_eq!(ran_with(&server, words("get esc"), b"").await.1, b"\x1b[2J\n");
    let (mut console, out, _) = console();
    console.out_is_terminal = true;
    let line = words(&format!("get esc --address http://{}", server.address()));
    run_on(args(&line).unwrap(), &mut console, &mut &b""[..]).await.unwrap();
    assert_eq!(out.text(), "\\x1b[2J\n");
}

#[tokio::test]
async fn a_condition_decides_whether_a_value_is_written() {
    let server = FakeServer::start();
    let (code, _, err) = ran(&server, "set a hello --if-present").await;
    assert_eq!((code, err.as_str()), (no(), "headwater: not written: the key has no value\n"));
    assert_eq!(ran(&server, "set a hello --if-absent").await.0, DONE);
    let (code, out, err) = ran(&server, "set a other --if-absent").await;
    assert_eq!((code, out.as_str()), (no(), ""));
    assert_eq!(err, format!("headwater: not written: the key has a value, etag {HELLO}\n"));
    let (_, out, _) = ran(&server, "set a other --if-absent --json").await;
    assert_eq!(parsed(&out), [json!({ "key": "a", "written": false, "current_etag": HELLO })]);
    assert_eq!(ran(&server, &format!("set a next --if-etag {}", HELLO.to_uppercase())).await.0, DONE);
    assert_eq!(ran(&server, &format!("set a last --if-etag {HELLO}")).await.0, no());
    assert_eq!(ran(&server, "get a").await.1, "next\n");
    let wrong = args(&words("set a 1 --if-etag xyz")).unwrap();
    let error = run_on(wrong, &mut console().0, &mut &b""[..]).await.unwrap_err();
    assert!(error.to_string().starts_with("--if-etag: \"xyz\" is not hexadecimal"), "{error}");
}

#[tokio::test]
async fn a_refusal_is_a_sentence_with_its_reason_and_page() {
    let server = FakeServer::start();
    let client = made(&server, Namespace { overwrite: Overwrite::Refused.into(), ..Namespace::default() }).await;
    client.cache("made").set("a", "1").await.unwrap();
    let (code, out, err) = ran(&server, "set a 2 -n made").await;
    assert_eq!((code, out.as_str()), (no(), ""));
    assert_eq!(
        err,
        "headwater: KEY_EXISTS: the key has a value, and the namespace refuses to overwrite\n  \
         See docs/errors/KEY_EXISTS.md\n"
    );
    let (code, _, err) = ran(&server, "get a -n maid").await;
    assert_eq!(code, no());
    assert!(err.starts_with("headwater: UNKNOWN_NAMESPACE: there is no namespace \"maid\"; there are default, made\n"));
    let (_, _, err) = ran(&server, "set a 2 --ttl 365d").await;
    assert!(err.contains("  ttl_ms: 1 to 86400000\n"), "{err}");
    // The store is away for longer than a retry waits.
    let away = || refusal(Code::Unavailable, "CACHE_UNAVAILABLE", "the store is away", Some(Duration::from_secs(60)));
    for line in ["get a", "set a 1", "delete a", "watch a", "namespaces"] {
        server.fail_next(away());
        let (code, out, err) = ran(&server, &format!("{line} --deadline 1s")).await;
        assert_eq!((code, out.as_str()), (unknown(), ""), "{line}");
        assert!(
            err.starts_with("headwater: CACHE_UNAVAILABLE: the store is away\n  It may work in 60000 ms.\n"),
            "{err}"
        );
    }
    let address = server.address();
    drop(server);
    let (mut console, _, err) = console();
    let line = words(&format!("get a --address {address}"));
    assert_eq!(run_on(args(&line).unwrap(), &mut console, &mut &b""[..]).await.unwrap(), unknown());
    assert!(err.text().contains(&format!("cannot reach http://{address}: ")), "{}", err.text());
}

#[tokio::test]
async fn keys_are_forgotten() {
    let server = FakeServer::start();
    ran(&server, "set a 1").await;
    ran(&server, "set b 1").await;
    assert_eq!(ran(&server, "delete a").await.1, "forgotten\n");
    assert_eq!(ran(&server, "delete a").await, (DONE, "there was no value\n".into(), String::new()));
    assert_eq!(ran(&server, "delete a b").await.1, "a: there was no value\nb: forgotten\n");
    let (_, out, _) = ran(&server, "delete a b --json").await;
    assert_eq!(parsed(&out), [json!({ "key": "a", "found": false }), json!({ "key": "b", "found": false })]);
}

#[tokio::test]
async fn a_queued_write_tells_its_id_and_is_waited_for() {
    let server = FakeServer::start();
    made(&server, Namespace { write_mode: WriteMode::Queued.into(), ..Namespace::default() }).await;
    server.hold_writes(true);
    let (code, out, _) = ran(&server, "set a hello -n made").await;
    assert_eq!(code, DONE);
    assert!(out.starts_with("queued, write write-"), "{out}");
    assert_eq!(ran(&server, "get a -n made").await.0, no());
    let (code, out, err) = ran(&server, "set a hello -n made --wait --deadline 100ms").await;
    assert_eq!((code, out.as_str()), (unknown(), ""));
    assert!(err.ends_with(" still waits after 0.1s; it is kept, and applied in its turn\n"), "{err}");
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.hold_writes(false);
    };
    let ((code, out, _), ()) = tokio::join!(ran(&server, "set b hello -n made --wait"), release);
    assert_eq!((code, out), (DONE, format!("written, fresh for 1h, etag {HELLO}\n")));
    assert_eq!(ran(&server, "get a b -n made").await.1, "a\thello\nb\thello\n");
    let (code, _, err) = ran(&server, "set b other -n made --if-absent --wait").await;
    assert_eq!(code, no());
    assert!(err.starts_with("headwater: CONDITION_NOT_MET: "), "{err}");
    assert_eq!(ran(&server, "delete a none -n made --wait").await.1, "a: forgotten\nnone: there was no value\n");
    let (_, out, _) = ran(&server, "delete b -n made --json").await;
    assert!(parsed(&out)[0]["write_id"].is_string(), "{out}");
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

fn watch_args(server: &FakeServer, line: &str) -> watch::Args {
    match args(&words(&format!("watch {line} --address {}", server.address()))).unwrap().command {
        Command::Watch(args) => args,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watch_prints_a_line_for_each_state_and_outlives_its_connection() {
    let server = FakeServer::start();
    let (mut console, out, err) = console();
    console.out_is_terminal = true;
    let stop = CancellationToken::new();
    let script = async {
        until(&out, |text| text == "greeting: no value\n").await;
        ran(&server, "set greeting hello").await;
        until(&out, |text| text.ends_with("\ngreeting: hello (fresh for 1h)\n")).await;
        server.end_watches(None);
        until(&out, |text| text.lines().count() == 3).await;
        stop.cancel();
    };
    let args = watch_args(&server, "greeting --values");
    let (code, ()) = tokio::join!(watch::watch(args, &mut console, &stop), script);
    assert_eq!(code.unwrap(), DONE);
    assert_eq!(
        err.text(),
        "headwater: changes may have been missed: the server ended the connection; the keys' states follow\n"
    );
}

#[tokio::test]
async fn a_watch_that_is_told_nothing_says_so() {
    let server = FakeServer::start();
    let (mut console, out, err) = console();
    let stop = CancellationToken::new();
    server.set_silent(true);
    let script = async {
        until(&err, |text| text == "headwater: nothing is told yet: the cache waits for its store (see /readyz)\n")
            .await;
        server.set_silent(false);
        ran(&server, "set greeting hello").await;
        until(&out, |text| text.lines().count() == 1).await;
        stop.cancel();
    };
    let args = watch_args(&server, "greeting");
    let (code, ()) = tokio::join!(watch::watch(args, &mut console, &stop), script);
    assert_eq!((code.unwrap(), err.text().lines().count()), (DONE, 1));
}

#[tokio::test]
async fn a_watch_prints_json_where_nobody_sits_at_a_terminal() {
    let server = FakeServer::start();
    let (mut console, out, _) = console();
    let stop = CancellationToken::new();
    let script = async {
        while server.watches() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ran(&server, "set greeting hello").await;
        until(&out, |text| text.lines().count() == 1).await;
        server.resync_watches("the store was away");
        until(&out, |text| text.lines().count() == 2).await;
        stop.cancel();
    };
    let args = watch_args(&server, "--prefix greet");
    let (code, ()) = tokio::join!(watch::watch(args, &mut console, &stop), script);
    assert_eq!(code.unwrap(), DONE);
    let lines = parsed(&out.text());
    assert_eq!(
        (&lines[0]["key"], &lines[0]["found"], &lines[0]["etag"]),
        (&json!("greeting"), &json!(true), &json!(HELLO))
    );
    assert_eq!((lines[0].get("value"), &lines[1]), (None, &json!({ "resync": "the store was away" })));
    // Whoever asks in Rust gets the same.
    let client = Client::connect(server.connect_options()).await.unwrap();
    assert!(client.cache("").watch(WatchOptions::keys(["greeting"])).await.unwrap().next().await.unwrap().is_some());
}
