//! `headwater cache` and the Rust client against the platform's own process: what a person types, and what a shell sees.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use headwater_client::cache::{Cache, Conditional, GetOptions, Layer, Watch, WatchEvent, WatchOptions, When};
use headwater_client::{Client, ConnectOptions, RetryPolicy};
use headwater_testkit::{REDIS, require, unique};
use serde_json::{Value, json};
use support::process::{Headwater, command, run};
use tokio::sync::mpsc;

const START_MAX: Duration = Duration::from_secs(30);
const TOLD_MAX: Duration = Duration::from_secs(20);

/// Exit code, output and errors.
type Ran = (Option<i32>, String, String);

fn cache_command(headwater: &Headwater, line: &[&str]) -> Command {
    let mut arguments = vec!["cache"];
    arguments.extend(line);
    let mut command = command(&arguments);
    command.env("HEADWATER_ADDRESS", headwater.grpc().to_string());
    command
}

async fn ran(headwater: &Headwater, line: &str) -> Ran {
    let output = run(cache_command(headwater, &line.split_whitespace().collect::<Vec<_>>())).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs with these bytes as standard input: exit code, and the bytes of the output.
fn piped(headwater: &Headwater, line: &[&str], input: &[u8]) -> (Option<i32>, Vec<u8>) {
    let mut command = cache_command(headwater, line);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_and_writes_keys() {
    let headwater = Headwater::dev(&[]).await;
    let (code, out, err) = ran(&headwater, "get greeting").await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("miss"), "{err}");
    let (code, out, _) = ran(&headwater, "set greeting hello --ttl 10m").await;
    assert_eq!(code, Some(0));
    let etag = out.strip_prefix("written, fresh for 10m, etag ").expect(&out).trim().to_owned();
    let (code, out, err) = ran(&headwater, "get greeting").await;
    assert_eq!((code, out.as_str()), (Some(0), "hello\n"));
    assert!(err.starts_with("hit by ") && err.contains(&etag), "{err}");
    let (_, out, _) = ran(&headwater, "get greeting none --json").await;
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&lines[0]["value"], &lines[0]["outcome"], &lines[1]["outcome"]),
        (&json!("hello"), &json!("hit"), &json!("miss"))
    );
    assert_eq!(ran(&headwater, &format!("set greeting next --if-etag {etag}")).await.0, Some(0));
    let (code, out, err) = ran(&headwater, &format!("set greeting last --if-etag {etag}")).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("headwater: not written: the key has a value, etag "), "{err}");
    // Any bytes, by a pipe, and back.
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(piped(&headwater, &["set", "bytes", "-"], &bytes).0, Some(0));
    assert_eq!(piped(&headwater, &["get", "bytes", "--raw"], b""), (Some(0), bytes));
    assert_eq!(
        ran(&headwater, "delete greeting bytes none").await.1,
        "greeting: forgotten\nbytes: forgotten\nnone: there was no value\n"
    );
    for (line, reason) in [
        ("get a -n sesions", "UNKNOWN_NAMESPACE"),
        ("set a 1 --ttl 365d", "INVALID_REQUEST"),
        ("namespaces update default --ttl 1m", "NAMESPACE_FIXED"),
    ] {
        let (code, out, err) = ran(&headwater, line).await;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{line}");
        assert!(err.contains(reason) && err.ends_with(&format!("  See docs/errors/{reason}.md\n")), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_makes_changes_and_empties_namespaces() {
    let headwater = Headwater::dev(&[]).await;
    let (code, out, err) = ran(&headwater, "namespaces create top --capacity 2 --eviction rank --ttl never").await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("2 entries in the store") && out.contains("never expires"), "{out}");
    for key in ["a", "b"] {
        ran(&headwater, &format!("set {key} 1 -n top")).await;
    }
    ran(&headwater, "get a -n top --no-cache").await;
    assert!(ran(&headwater, "set c 1 -n top").await.1.contains("one key left to make room"));
    assert_eq!(ran(&headwater, "get a b c -n top").await.1, "a\t1\nc\t1\n");
    let (_, out, _) = ran(&headwater, "namespaces show top").await;
    assert!(out.contains("in the store            2 entries\n") && out.contains("durability"), "{out}");
    let (_, out, _) = ran(&headwater, "namespaces update top --capacity 50 --overwrite refused").await;
    assert!(out.contains("50 entries in the store") && out.contains("refused"), "{out}");
    let (_, out, _) = ran(&headwater, "namespaces update top --reset capacity,overwrite").await;
    assert!(out.contains("100,000 entries in the store") && out.contains("allowed"), "{out}");
    let (code, _, err) = ran(&headwater, "namespaces update top --capacity 1MiB").await;
    assert_eq!(code, Some(1), "{err}");
    // Writes one after another, each followed to its end.
    ran(&headwater, "namespaces create queued --write-mode queued").await;
    let (code, out, _) = ran(&headwater, "set k 1 -n queued").await;
    assert!(code == Some(0) && out.starts_with("queued, write "), "{out}");
    assert!(ran(&headwater, "set k 2 -n queued --wait").await.1.contains("replaced a value"));
    let (code, _, err) = ran(&headwater, "set k 3 -n queued --if-absent --wait").await;
    assert!(code == Some(1) && err.starts_with("headwater: CONDITION_NOT_MET: "), "{err}");
    assert_eq!(ran(&headwater, "get k -n queued").await.1, "2\n");
    assert_eq!(ran(&headwater, "delete k none -n queued --wait").await.1, "k: forgotten\nnone: there was no value\n");
    let (_, out, _) = ran(&headwater, "namespaces").await;
    let names: Vec<&str> = out.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["NAMESPACE", "default", "queued", "top"]);
    assert_eq!(ran(&headwater, "namespaces flush top").await.0, Some(1));
    assert_eq!(ran(&headwater, "namespaces flush top --yes").await.1, "top: 2 keys forgotten\n");
    assert_eq!(ran(&headwater, "get a -n top").await.0, Some(1));
}

/// A `headwater cache watch`, and its lines of JSON.
struct Watching {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Watching {
    fn start(headwater: &Headwater, line: &[&str]) -> Self {
        let mut arguments = vec!["watch"];
        arguments.extend(line);
        let mut child = cache_command(headwater, &arguments).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        let output: ChildStdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(TOLD_MAX, self.lines.recv()).await.expect("told in time").expect("a line");
        serde_json::from_str(&line).unwrap()
    }

    /// Ends it as Ctrl-C does, and gives its exit code.
    fn interrupted(mut self) -> Option<i32> {
        let status = Command::new("/bin/sh").args(["-c", "kill -s INT \"$0\"", &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_watches_keys_until_ctrl_c() {
    let headwater = Headwater::dev(&[]).await;
    let mut watching = Watching::start(&headwater, &["greeting", "--prefix", "user:", "--values"]);
    assert_eq!(watching.next().await, json!({ "key": "greeting", "found": false, "etag": null, "ttl_ms": null }));
    ran(&headwater, "set greeting hello").await;
    let told = watching.next().await;
    assert_eq!((&told["found"], &told["value"]), (&json!(true), &json!("hello")), "{told}");
    ran(&headwater, "set elsewhere 1").await;
    ran(&headwater, "set user:anna 1").await;
    assert_eq!(watching.next().await["key"], "user:anna");
    ran(&headwater, "delete greeting").await;
    assert_eq!(watching.next().await["found"], json!(false));
    assert_eq!(watching.interrupted(), Some(0));
    // Whoever reads goes away, as in `… | head -1`: no failure, and no line of it.
    let mut command = cache_command(&headwater, &["namespaces", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

/// `headwater serve --role cache` on the shared Redis, at this address.
async fn serve(prefix: &str, grpc: &str) -> Headwater {
    let url = require(REDIS);
    let line = ["serve", "--role", "cache", "--cache-prefix", prefix, "--cache-redis-url", &url, "--listen-grpc", grpc];
    let headwater = Headwater::start(&line).await;
    headwater.ready(START_MAX).await;
    headwater
}

async fn client_of(headwater: &Headwater) -> Cache {
    let backoff_max = Duration::from_millis(200);
    let retry = RetryPolicy { attempts_max: 100, backoff_min: Duration::from_millis(20), backoff_max };
    let options = ConnectOptions { retry, ..ConnectOptions::new(format!("http://{}", headwater.grpc())) };
    Client::connect(options).await.unwrap().cache("default").with_deadline(TOLD_MAX)
}

/// The next value that is told; none for a resync.
async fn told(watch: &mut Watch) -> Option<String> {
    let event = tokio::time::timeout(TOLD_MAX, watch.next()).await.expect("told in time").unwrap().unwrap();
    match event {
        WatchEvent::Resync { .. } => None,
        WatchEvent::State(state) => Some(String::from_utf8(state.value.unwrap_or_default().to_vec()).unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_outlives_a_replica_and_misses_nothing() {
    let prefix = unique("outlives");
    let (first, other) = tokio::join!(serve(&prefix, "127.0.0.1:0"), serve(&prefix, "127.0.0.1:0"));
    let address = first.grpc().to_string();
    let (cache, beside) = (client_of(&first).await, client_of(&other).await);
    cache.set("k", "1").await.unwrap();
    let retry = RetryPolicy { attempts_max: 200, backoff_max: Duration::from_millis(200), ..RetryPolicy::default() };
    let options = WatchOptions { retry, ..WatchOptions::keys(["k"]).with_values() };
    let mut watch = cache.watch(options).await.unwrap();
    assert_eq!(told(&mut watch).await.as_deref(), Some("1"));
    beside.set("k", "2").await.unwrap();
    assert_eq!(told(&mut watch).await.as_deref(), Some("2"));
    // Killed; what another writes meanwhile is told once it is back.
    first.kill();
    beside.set("k", "3").await.unwrap();
    let (read, _first) = tokio::join!(cache.get("k"), serve(&prefix, &address));
    assert_eq!(read.unwrap().text(), Some("3"), "a read waits for the replica within its deadline");
    assert_eq!(told(&mut watch).await, None);
    assert_eq!(told(&mut watch).await.as_deref(), Some("3"));
    // A right to write what is missing, given by one replica, is everywhere one.
    let ask = GetOptions { lease: Some(Duration::from_secs(5)), ..GetOptions::default() };
    let lease = cache.get_with("missing", ask).await.unwrap().lease.expect("a lease");
    assert_eq!(beside.get_with("missing", ask).await.unwrap().lease, None);
    let write = cache.set_if("missing", "made", None, When::Lease(lease)).await.unwrap().applied().unwrap();
    assert!(matches!(write, Conditional::Met(_)), "{write:?}");
    let read = beside.get("missing").await.unwrap();
    assert_eq!((read.text(), read.status.layer()), (Some("made"), Layer::L2));
}
