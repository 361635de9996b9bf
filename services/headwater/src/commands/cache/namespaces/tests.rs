#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::ExitCode;

use headwater_client::testing::FakeServer;
use serde_json::{Value, json};

use crate::commands::cache::tests::{args, ran, words};

#[test]
fn settings_are_refused_with_the_reason() {
    for (flags, why) in [
        ("--capacity many", "\"many\" is no capacity: write entries, for example 10000"),
        ("--capacity 0", "at least 1 entry"),
        ("--ttl 5", "\"5\" has no unit"),
        ("--ttl off", "or never"),
        ("--stale-if-error never", "or off"),
        ("--ttl-jitter 10", "no whole percent"),
        ("--ttl-jitter 1.5%", "no whole percent"),
        ("--eviction fifo", "[possible values: tiny_lfu, lru, rank]"),
        ("--write-mode later", "[possible values: at_once, queued]"),
        ("--key-max 1KB", "\"1KB\" is no size"),
        ("--queue-max 0", "0 is not in 1.."),
    ] {
        let error = args(&words(&format!("namespaces create sessions {flags}"))).unwrap_err().to_string();
        assert!(error.contains(why), "{flags}: {error}");
    }
    let error = args(&words("namespaces update sessions --reset ttl,name")).unwrap_err().to_string();
    assert!(error.contains("stale-while-revalidate"), "{error}");
}

#[tokio::test]
async fn a_namespace_is_made_and_shown() {
    let server = FakeServer::start();
    let made = ran(
        &server,
        "namespaces create sessions --capacity 2 --eviction rank --ttl 10m --ttl-max 2h --ttl-jitter 25% \
         --stale-if-error 30s --write-mode queued --overwrite refused --key-max 64 --value-max 1.5KiB --queue-max 5000",
    )
    .await;
    let settings = "\
namespace               sessions, revision 1
from                    create
capacity                2 entries in the store
eviction                rank
ttl                     10m
ttl at most             2h
ttl jitter              25%
stale while revalidate  off
stale if error          30s
negative ttl            off
writes                  queued
overwrite               refused
key at most             64 B
value at most           1.5 KiB
queue at most           5,000 writes
keys in the store       begin with {sessions}:
";
    assert_eq!(made, (ExitCode::SUCCESS, settings.into(), String::new()));
    ran(&server, "set a 1 -n sessions").await;
    let (_, out, _) = ran(&server, "namespaces show sessions").await;
    assert_eq!(
        out.strip_prefix(settings).unwrap(),
        "\
memory of this replica  1 entry, 2 B
in the store            1 entry
queued                  0 writes
durability              the store is in memory: a crash loses everything
"
    );
    let (_, out, _) = ran(&server, "namespaces show sessions --json").await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&shown["namespace"]["ttl_ms"], &shown["usage"]["store_entries"]), (&json!("600000"), &json!("1")));
    let (code, _, err) = ran(&server, "namespaces create sessions").await;
    assert_eq!(code, ExitCode::from(1));
    assert!(err.starts_with("headwater: NAMESPACE_EXISTS: "), "{err}");
}

#[tokio::test]
async fn namespaces_are_listed() {
    let server = FakeServer::start();
    ran(&server, "namespaces create sessions --capacity 64MiB --ttl never --eviction lru").await;
    let table = "\
NAMESPACE  CAPACITY         EVICTION  TTL            WRITES   OVERWRITE  FROM
default    100,000 entries  tiny_lfu  1h             at once  allowed    settings
sessions   64 MiB           lru       never expires  at once  allowed    create
";
    assert_eq!(ran(&server, "namespaces").await, (ExitCode::SUCCESS, table.into(), String::new()));
    assert_eq!(ran(&server, "namespaces list").await.1, table);
    let (_, out, _) = ran(&server, "namespaces list --json").await;
    let names: Vec<Value> =
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].take()).collect();
    assert_eq!(names, ["default", "sessions"]);
}

#[tokio::test]
async fn a_namespace_is_changed() {
    let server = FakeServer::start();
    ran(&server, "namespaces create sessions --capacity 10 --ttl 10m --overwrite refused").await;
    let (_, out, _) = ran(&server, "namespaces update sessions --ttl never --capacity 1MiB --reset overwrite").await;
    for line in ["sessions, revision 2", "  1 MiB in each", "  never expires", "  allowed"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let (_, out, _) = ran(&server, "namespaces update sessions --reset ttl,capacity --revision 2").await;
    assert!(out.contains("  1h\n") && out.contains("  100,000 entries in each"), "{out}");
    for (flags, why) in [
        ("sessions --ttl 1m --revision 2", "NAMESPACE_FIXED: it was changed meanwhile"),
        ("sessions --eviction rank", "NAMESPACE_FIXED: from or to eviction by rank"),
        ("sessions --write-mode queued", "NAMESPACE_FIXED: the write mode"),
        ("default --ttl 1m", "NAMESPACE_FIXED: the settings declare it"),
        ("none --ttl 1m", "UNKNOWN_NAMESPACE: "),
        ("sessions", "nothing to change: say which setting"),
    ] {
        let (code, out, err) = ran(&server, &format!("namespaces update {flags}")).await;
        assert_eq!((code, out.as_str()), (ExitCode::from(1), ""), "{flags}");
        assert!(err.contains(why), "{flags}: {err}");
    }
}

#[tokio::test]
async fn keys_are_forgotten_only_when_that_is_meant() {
    let server = FakeServer::start();
    ran(&server, "set a 1").await;
    let (code, out, err) = ran(&server, "namespaces flush default").await;
    assert_eq!((code, out.as_str()), (ExitCode::from(1), ""));
    assert_eq!(err, "headwater: this forgets every key of default, for everybody; say --yes\n");
    assert_eq!(ran(&server, "get a").await.1, "1\n");
    assert_eq!(ran(&server, "namespaces flush default --yes").await.1, "default: 1 key forgotten\n");
    assert_eq!(ran(&server, "get a").await.0, ExitCode::from(1));
}
