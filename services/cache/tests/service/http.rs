//! The HTTP routes, as clients of yesterday's proxies use them.

use std::time::Duration;

use headwater_cache::{Declared, PolicyPatch};
use headwater_testkit::{Options, Redis};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::stage::{ONCE, Setup, Stage, memory, redis_at, set, until, value};

crate::on_every_store!(
    what_was_set_is_got,
    what_is_wrong_is_told_with_the_field,
    a_browser_of_another_site_may_not_write
);

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
}

async fn what_was_set_is_got(stage: Stage) {
    for (method, key) in [("GET", "by-get"), ("POST", "by-post")] {
        let (status, _, body) = stage.http(method, &format!("/set/{key}/some%20value"), "", "").await;
        assert_eq!((status, parsed(&body)), (200, json!({"key": key, "value": "some value"})));
        let (status, head, body) = stage.http("GET", &format!("/get/{key}"), "", "").await;
        assert_eq!((status, parsed(&body)), (200, json!({"key": key, "value": "some value"})));
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(head.contains("cache-status: headwater-l2; hit; ttl=3"), "{head}");
        assert!(head.contains("content-length: "), "{head}");
    }
    until("a hit of L1", async || {
        let (_, head, _) = stage.http("GET", "/get/by-get", "", "").await;
        if head.contains("cache-status: headwater-l1; hit; ttl=") { Ok(()) } else { Err(head) }
    })
    .await;
    let (status, head, body) = stage.http("GET", "/get/nothing", "", "").await;
    assert_eq!((status, parsed(&body)), (404, json!({"key": "nothing", "error": "key not found"})));
    assert!(head.contains("cache-status: headwater-l2; fwd=uri-miss, headwater-l1; fwd=uri-miss"), "{head}");

    let json_type = "content-type: application/json; charset=utf-8\r\n";
    let body = r#"{"key": "by body", "value": "välue", "ttl_ms": 60000}"#;
    let (status, _, body) = stage.http("POST", "/set", json_type, body).await;
    assert_eq!((status, parsed(&body)), (200, json!({"key": "by body", "value": "välue"})));
    let (_, head, body) = stage.http("GET", "/get/by%20body", "", "").await;
    assert_eq!(parsed(&body)["value"], "välue");
    assert!(head.contains("hit; ttl=59") || head.contains("hit; ttl=60"), "{head}");
    let (status, _, _) = stage.http("POST", "/set", json_type, r#"{"key": "n", "value": 42}"#).await;
    assert_eq!((status, value(&mut stage.client().await, "", "n").await.as_deref()), (200, Some("42")));

    // Slashes, and bytes that are no text.
    let (status, _, _) = stage.http("POST", "/set/a%2Fb%25/%FF%00", "", "").await;
    assert_eq!(status, 200);
    let (_, _, body) = stage.http("GET", "/get/a%2Fb%25", "", "").await;
    assert_eq!(parsed(&body), json!({"key": "a/b%", "value": "/wA=", "encoding": "base64"}));
    let body = r#"{"key": "b", "value": "/wA=", "encoding": "base64"}"#;
    assert_eq!(stage.http("POST", "/set", json_type, body).await.0, 200);
    assert_eq!(parsed(&stage.http("GET", "/get/b", "", "").await.2)["value"], "/wA=");
    // An empty value is one.
    assert_eq!(stage.http("POST", "/set/empty/", "", "").await.0, 200);
    assert_eq!(parsed(&stage.http("GET", "/get/empty", "", "").await.2)["value"], "");
}

async fn what_is_wrong_is_told_with_the_field(stage: Stage) {
    let long = "k".repeat(1025);
    let json_type = "content-type: application/json\r\n";
    for (method, path, headers, body, field) in [
        ("GET", "/get/", "", "", "key"),
        ("GET", &*format!("/get/{long}"), "", "", "key"),
        ("POST", "/set//v", "", "", "key"),
        ("GET", "/set/k", "", "", "path"),
        ("GET", "/set/k/v/w", "", "", "path"),
        ("POST", "/set", "", r#"{"key":"k","value":"v"}"#, "content-type"),
        ("POST", "/set", json_type, "key=k", "body"),
        ("POST", "/set", json_type, "[]", "body"),
        ("POST", "/set", json_type, r#"{"value":"v"}"#, "key"),
        ("POST", "/set", json_type, r#"{"key":"","value":"v"}"#, "key"),
        ("POST", "/set", json_type, r#"{"key":"k"}"#, "value"),
        ("POST", "/set", json_type, r#"{"key":"k","value":{}}"#, "value"),
        ("POST", "/set", json_type, r#"{"key":"k","value":"?","encoding":"base64"}"#, "value"),
        ("POST", "/set", json_type, r#"{"key":"k","value":"v","encoding":"hex"}"#, "encoding"),
        ("POST", "/set", json_type, r#"{"key":"k","value":"v","ttl_ms":0}"#, "ttl_ms"),
        ("POST", "/set", json_type, r#"{"key":"k","value":"v","ttl":1}"#, "ttl"),
        ("POST", "/set/k/v", json_type, r#"{"value":"other"}"#, "body"),
        ("GET", "/set/k/v", "", "w", "body"),
        ("POST", "/set", json_type, r#"{"key":"k","value":"v","ttl_ms":"soon"}"#, "ttl_ms"),
    ] {
        let (status, head, answer) = stage.http(method, path, headers, body).await;
        assert_eq!(status, 400, "{method} {path} {body}: {answer}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        let answer = parsed(&answer);
        assert_eq!(answer["title"], "INVALID_REQUEST", "{answer}");
        assert_eq!(answer["violations"][0]["field"], field, "{method} {path} {body}: {answer}");
    }
    let large = format!(r#"{{"key":"k","value":"{}"}}"#, "v".repeat(8 << 20));
    assert_eq!(stage.http("POST", "/set", json_type, &large).await.0, 413);
    let long = format!(r#"{{"key":"k","value":"{}"}}"#, "v".repeat((1 << 20) + 1));
    let (status, _, answer) = stage.http("POST", "/set", json_type, &long).await;
    assert_eq!((status, parsed(&answer)["violations"][0]["field"].as_str()), (400, Some("value")));
    let (status, head, _) = stage.http("GET", "/set", "", "").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: post"), "{head}");
    assert_eq!(stage.http("DELETE", "/set/k/v", "", "").await.0, 405);
    assert_eq!(stage.http("HEAD", "/set/k/v", "", "").await.0, 405, "what only looks does not write");
    assert_eq!(value(&mut stage.client().await, "", "k").await, None);
}

async fn a_browser_of_another_site_may_not_write(stage: Stage) {
    for (site, status) in [("cross-site", 400), ("same-site", 400), ("same-origin", 200), ("none", 200)] {
        let (answered, _, body) = stage.http("GET", "/set/k/v", &format!("sec-fetch-site: {site}\r\n"), "").await;
        assert_eq!(answered, status, "{site}: {body}");
    }
}

#[tokio::test]
async fn where_overwriting_is_refused_it_is_409_and_where_writes_are_queued_202() {
    let stage = Stage::start(memory(), Setup { http_namespace: ONCE, ..Setup::new("test") }).await;
    assert_eq!(stage.http("POST", "/set/k/1", "", "").await.0, 200);
    let (status, _, body) = stage.http("POST", "/set/k/2", "", "").await;
    assert_eq!((status, parsed(&body)["title"].as_str()), (409, Some("KEY_EXISTS")));
    assert_eq!(parsed(&stage.http("GET", "/get/k", "", "").await.2)["value"], "1");

    let mut setup = Setup { http_namespace: "queue", ..Setup::new("test") };
    let patch = PolicyPatch { write_mode: Some(headwater_cache::WriteMode::Queued), ..Default::default() };
    setup.declared.push(Declared { patch, ..Declared::new("queue") });
    let stage = Stage::start(memory(), setup).await;
    let (status, _, body) = stage.http("POST", "/set/k/1", "", "").await;
    assert_eq!(status, 202, "{body}");
    assert!(!parsed(&body)["write_id"].as_str().unwrap().is_empty());
    until("it is applied", async || {
        let (status, _, body) = stage.http("GET", "/get/k", "", "").await;
        if status == 200 { Ok(()) } else { Err(body) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_keys_are_those_that_others_write_and_an_outage_is_503() {
    let mut redis = block_in_place(|| Redis::start(Options::default().setting("appendfsync", "always"))).unwrap();
    let mut setup = Setup::new("test");
    setup.declared.push(Declared { store_prefix: Some(bytes::Bytes::new()), ..Declared::new("default") });
    let stage = Stage::start(redis_at(&redis.url(), Duration::from_millis(500)), setup).await;
    assert_eq!(stage.http("GET", "/get/theirs", "", "").await.0, 404);
    redis.ask("SET theirs value").unwrap();
    let theirs = until("what another client of Redis wrote", async || {
        let (status, _, body) = stage.http("GET", "/get/theirs", "", "").await;
        if status == 200 { Ok(parsed(&body)["value"].clone()) } else { Err(body) }
    })
    .await;
    assert_eq!(theirs, "value");
    assert_eq!(stage.http("POST", "/set/ours/1", "", "").await.0, 200);
    assert_eq!(redis.ask("GET ours").unwrap().as_deref(), Some("1"));
    // Namespaces beside it keep theirs apart, and it cannot be flushed, which would empty the store.
    let client = &mut stage.client().await;
    set(client, ONCE, "ours", "2").await.unwrap();
    assert_eq!(value(client, "", "ours").await.as_deref(), Some("1"));
    let flush = headwater_contracts::v1::cache::FlushNamespaceRequest::default();
    let refused = client.flush_namespace(flush).await;
    assert_eq!(crate::stage::reason(refused), headwater_contracts::v1::error::Reason::NamespaceFixed);

    redis.kill().unwrap();
    let (status, head, body) = stage.http("POST", "/set/ours/3", "", "").await;
    assert_eq!((status, parsed(&body)["title"].as_str()), (503, Some("CACHE_UNAVAILABLE")));
    assert!(head.contains("retry-after: 1"), "{head}");
    redis.restart().unwrap();
    until("it is served again", async || {
        let (status, _, body) = stage.http("GET", "/get/ours", "", "").await;
        if status == 200 { Ok(()) } else { Err(body) }
    })
    .await;
}
