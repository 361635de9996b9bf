//! The cache as a process of its own: what tells it where Redis is, replicas beside each other, and its end.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use headwater_contracts::v1::cache::cache_service_client::CacheServiceClient;
use headwater_contracts::v1::cache::{
    CreateNamespaceRequest, GetNamespaceRequest, GetRequest, Layer, Namespace, Overwrite, SetRequest, WatchRequest,
};
use headwater_contracts::v1::error::Reason;
use headwater_testkit::{Options, REDIS, Redis, require, unique};
use serde_json::Value;
use support::calls::reason;
use support::process::{Headwater, command, run, text};
use support::stage::{mended, trouble};
use support::within;
use tokio::task::block_in_place;
use tonic::transport::Channel;

const READY_MAX: Duration = Duration::from_secs(20);
const SEEN_MAX: Duration = Duration::from_secs(5);
const END_MAX: Duration = Duration::from_secs(10);
/// How soon an outage of Redis, and its end, are shown.
const TOLD_MAX: Duration = Duration::from_secs(3);
/// How soon it is shown what Redis says of itself: it is asked every five seconds.
const STATE_MAX: Duration = Duration::from_secs(8);
/// What `/readyz` may show of the cache.
const TROUBLES: [&str; 3] = ["cache: store", "cache: link", "cache: store's state"];

type Cache = CacheServiceClient<Channel>;

/// `headwater serve --role cache`, told of the shared Redis as yesterday's proxies were.
fn serve(prefix: &str) -> Command {
    let url = require(REDIS);
    let (host, port) = url.strip_prefix("redis://").unwrap().rsplit_once(':').unwrap();
    let mut command = command(&["serve", "--role", "cache", "--cache-prefix", prefix]);
    command.env("REDIS_HOST", host).env("REDIS_PORT", port).env("REDIS_DB", "0");
    command
}

async fn set(cache: &mut Cache, namespace: &str, key: &str, value: &str) -> Result<(), tonic::Status> {
    let request = SetRequest {
        namespace: namespace.to_owned(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ttl_ms: Some(60_000),
    };
    cache.set(request).await.map(drop)
}

async fn get(cache: &mut Cache, namespace: &str, key: &str) -> (Option<String>, Layer) {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let request = GetRequest { namespace: namespace.to_owned(), key, ..Default::default() };
    let answer = cache.get(request).await.unwrap().into_inner();
    let value = answer.value.map(|value| String::from_utf8(value.to_vec()).unwrap());
    (value, answer.status.unwrap().layer())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_what_is_written_and_made_through_any_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = text(folder.path().join("headwater.toml"));
    std::fs::write(&file, "[cache.namespaces.once]\noverwrite = \"refused\"\n").unwrap();
    let prefix = unique("replicas");
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let mut command = serve(&prefix);
        command.args(["--config", &file]);
        let replica = Headwater::launch(command).await;
        replica.ready(READY_MAX).await;
        replicas.push(replica);
    }
    let mut caches = Vec::new();
    for replica in &replicas {
        caches.push(Cache::new(replica.channel().await));
    }
    let [one, other] = &mut caches[..] else { panic!("two") };
    // What both have in their memories changes through either, and is seen through the other.
    for (n, writer_is_one) in [(1, true), (2, false), (3, true)] {
        let written = n.to_string();
        let (writer, reader) = if writer_is_one { (&mut *one, &mut *other) } else { (&mut *other, &mut *one) };
        set(writer, "", "k", &written).await.unwrap();
        within(SEEN_MAX, "it is seen through the other", || {
            let (mut reader, written) = (reader.clone(), written.clone());
            async move {
                let seen = get(&mut reader, "", "k").await;
                if seen == (Some(written), Layer::L1) { Ok(()) } else { Err(format!("{seen:?}")) }
            }
        })
        .await;
    }
    // A namespace of the settings, and one that is made at run time.
    set(one, "once", "k", "1").await.unwrap();
    assert_eq!(reason(&set(other, "once", "k", "2").await.unwrap_err()).1, "KEY_EXISTS");
    let namespace = Namespace { name: "made".to_owned(), overwrite: Overwrite::Refused.into(), ..Default::default() };
    one.create_namespace(CreateNamespaceRequest { namespace: Some(namespace) }).await.unwrap();
    within(SEEN_MAX, "the namespace is known to the other", || {
        let mut other = other.clone();
        async move { set(&mut other, "made", &unique("k"), "1").await.map_err(|status| status.to_string()) }
    })
    .await;
    let asked = GetNamespaceRequest { name: "made".to_owned() };
    let shown = other.get_namespace(asked).await.unwrap().into_inner();
    assert!(!shown.usage.unwrap().durability.is_empty(), "what a crash of the store may lose");

    // Yesterday's clients.
    assert_eq!(replicas[0].get("/set/hello/world").await.unwrap().0, 200);
    let (status, body) = replicas[1].get("/get/hello").await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), serde_json::json!({"key": "hello", "value": "world"}));
    let (_, report) = replicas[0].get("/readyz").await.unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(!report["notes"]["cache: durability"].as_str().unwrap().is_empty(), "{report}");
    let conditions: Vec<&str> =
        report["conditions"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(conditions, ["cache: store", "shell: serving"], "no other system is waited for");
    let reads = replicas[1].metric("headwater_cache_reads_total", &[("namespace", "default")]).await;
    assert!(reads >= 3.0, "{reads} reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_other_programs_are_read_and_written_where_the_settings_say_so() {
    let redis = block_in_place(|| Redis::start(Options::default())).unwrap();
    let mut command = command(&["serve", "--role", "cache", "--cache-http-plain-keys", "--cache-ttl-ms", "60000"]);
    command.env("REDIS_PORT", redis.port().to_string());
    let headwater = Headwater::launch(command).await;
    headwater.ready(READY_MAX).await;
    assert_eq!(headwater.get("/get/theirs").await.unwrap().0, 404);
    redis.ask("SET theirs 1").unwrap();
    within(SEEN_MAX, "what another program wrote is seen", || async {
        match headwater.get("/get/theirs").await.unwrap() {
            (200, body) if body.contains(r#""value":"1""#) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
    assert_eq!(headwater.get("/set/ours/2").await.unwrap().0, 200);
    assert_eq!(redis.ask("GET ours").unwrap().as_deref(), Some("2"));
    let left_ms: i64 = redis.ask("PTTL ours").unwrap().unwrap().parse().unwrap();
    assert!((50_000..=60_000).contains(&left_ms), "the global expiry is Redis's own: {left_ms}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_the_process_and_says_so() {
    let mut headwater = Headwater::launch(serve(&unique("watched"))).await;
    headwater.ready(READY_MAX).await;
    let mut cache = Cache::new(headwater.channel().await);
    let request = WatchRequest { keys: vec![Bytes::from_static(b"k")], ..Default::default() };
    let mut stream = cache.watch(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    headwater.signal("TERM");
    let status = loop {
        match tokio::time::timeout(END_MAX, stream.message()).await.expect("told in time") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&status).1, Reason::NotReady.as_str_name().trim_start_matches("REASON_"));
    assert!(headwater.ended(END_MAX).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_there_is_waited_for_and_told() {
    let mut command = command(&["serve", "--role", "cache"]);
    command.env("HEADWATER_CACHE_REDIS_URL", "redis://:hunter2@127.0.0.1:1");
    let mut headwater = Headwater::launch(command).await;
    within(SEEN_MAX, "the condition says why", || async {
        let (status, body) = headwater.get("/readyz").await.unwrap();
        assert_eq!(status, 503);
        assert!(!body.contains("hunter2"), "{body}");
        let report: Value = serde_json::from_str(&body).unwrap();
        let told = report["conditions"][0]["reason"].as_str().unwrap().to_owned();
        if told.contains("unavailable") { Ok(()) } else { Err(told) }
    })
    .await;
    let (status, body) = headwater.get("/get/k").await.unwrap();
    assert_eq!(status, 503, "{body}");
    headwater.signal("TERM");
    assert!(headwater.ended(END_MAX).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ails_redis_is_shown_soon_and_only_as_long_as_it_does() {
    let mut redis = block_in_place(|| Redis::start(Options::default())).unwrap();
    let mut command = command(&["serve", "--role", "cache"]);
    command.env("REDIS_PORT", redis.port().to_string());
    let headwater = Headwater::launch(command).await;
    headwater.ready(READY_MAX).await;
    for name in TROUBLES {
        mended(&headwater, TOLD_MAX, name).await;
    }
    redis.kill().unwrap();
    for name in ["cache: store", "cache: link"] {
        trouble(&headwater, TOLD_MAX, name).await;
    }
    assert_eq!(headwater.get("/readyz").await.unwrap().0, 200, "an outage later on is no ground to stop serving");
    redis.restart().unwrap();
    for name in TROUBLES {
        mended(&headwater, TOLD_MAX, name).await;
    }
    // Of a primary that is not there: it takes no writes.
    redis.ask("REPLICAOF 127.0.0.1 1").unwrap();
    let told = trouble(&headwater, STATE_MAX, "cache: store's state").await;
    assert!(told.contains("takes no writes"), "{told}");
    redis.ask("REPLICAOF NO ONE").unwrap();
    mended(&headwater, STATE_MAX, "cache: store's state").await;
}

#[tokio::test]
async fn the_settings_say_where_redis_is_known_from() {
    let mut shown = command(&["settings"]);
    shown.env("REDIS_HOST", "cache.local").env("REDIS_DB", "2");
    let output = run(shown).await;
    let shown = String::from_utf8(output.stdout).unwrap();
    let line = shown.lines().find(|line| line.starts_with("cache.redis_url ")).unwrap();
    let expected = ["redis://cache.local:6379/2", "environment variable REDIS_HOST"];
    assert!(expected.iter().all(|part| line.contains(part)), "{line}");
}
