//! The HTTP routes of the proxies that the cache replaces: `/get/KEY`, `/set/KEY/VALUE`, and `/set` with a JSON body.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use headwater_cache::{Ask, Cache, Condition, OpAsk, WriteAsk, Written};
use headwater_domain::Reason;
use headwater_serving::Problem;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::cache_status;
use crate::problems::problem;

const CACHE_STATUS: &str = "cache-status";
/// What a JSON body may have.
const FIELDS: [&str; 4] = ["key", "value", "ttl_ms", "encoding"];

/// What the routes work on.
struct Routes {
    cache: Cache,
    namespace: String,
    body_bytes_max: usize,
}

/// The routes, on a namespace of the cache, with bodies of so many bytes at most. They count among the calls in flight only
/// where `Admission::guard` is put around them.
pub fn routes(cache: Cache, namespace: String, body_bytes_max: usize) -> Router {
    Router::new()
        .route("/get/", get(read))
        .route("/get/{*key}", get(read))
        .route("/set", any(write))
        .route("/set/", any(write))
        .route("/set/{*pair}", any(write))
        .with_state(Arc::new(Routes { cache, namespace, body_bytes_max }))
}

async fn read(State(routes): State<Arc<Routes>>, request: Request) -> Response {
    routes.read(request.uri().path()).await.unwrap_or_else(IntoResponse::into_response)
}

async fn write(State(routes): State<Arc<Routes>>, request: Request) -> Response {
    routes.write(request).await.unwrap_or_else(IntoResponse::into_response)
}

impl Routes {
    async fn read(&self, path: &str) -> Result<Response, Problem> {
        let key = decoded(path.strip_prefix("/get/").unwrap_or_default());
        let namespace = self.cache.namespace(&self.namespace).map_err(problem)?;
        let answer = self.cache.get(&namespace, &key, &Ask::default()).await.map_err(problem)?;
        let status = HeaderValue::from_str(&cache_status::of(&answer)).ok();
        let (code, body) = match &answer.value {
            Some(value) => (StatusCode::OK, pair(&key, value)),
            None => (StatusCode::NOT_FOUND, json!({"key": text(&key).0, "error": "key not found"})),
        };
        let mut answer = page(code, &body);
        if let Some(status) = status {
            answer.headers_mut().insert(CACHE_STATUS, status);
        }
        Ok(answer)
    }

    async fn write(&self, request: Request) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().strip_prefix("/set").unwrap_or_default();
        // Without a body, GET is as good as POST, as it ever was.
        let is_allowed = parts.method == Method::POST || (parts.method == Method::GET && !path.is_empty());
        if !is_allowed {
            let allowed = if path.is_empty() { "POST" } else { "GET, POST" };
            return Ok((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)]).into_response());
        }
        check_site(&parts.headers)?;
        let (key, value, ttl_ms) = match path.strip_prefix('/') {
            None => self.body(&parts.headers, body).await?,
            Some(rest) => {
                // The value is in the path: one in the body as well would be lost without a word.
                to_bytes(body, 0).await.map_err(|_| {
                    let expected = "must be empty where the value is in the path; POST /set takes a body";
                    Problem::invalid_request("body", "bytes.len", expected)
                })?;
                let (key, value) = rest.split_once('/').unwrap_or((rest, ""));
                if !rest.contains('/') || value.contains('/') {
                    let expected = "must be /set/KEY/VALUE, with %2F for a slash in either";
                    return Err(Problem::invalid_request("path", "path.pattern", expected));
                }
                (decoded(key), decoded(value), None)
            }
        };
        let namespace = self.cache.namespace(&self.namespace).map_err(problem)?;
        let op = OpAsk::Put { value: value.clone(), ttl_ms, condition: Condition::Any };
        let written = self.cache.write(&namespace, vec![WriteAsk { key: key.clone(), op }]).await;
        let written = written.into_iter().next().transpose().map_err(problem)?;
        let mut answer = pair(&key, &value);
        let code = match written {
            Some(Written::Queued(id)) => {
                answer["write_id"] = id.into();
                StatusCode::ACCEPTED
            }
            Some(Written::Done(_)) => StatusCode::OK,
            None => return Err(Problem::new(Reason::Internal, "the write has no result")),
        };
        Ok(page(code, &answer))
    }

    /// Key, value and time to live of a JSON body.
    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, Bytes, Option<i64>), Problem> {
        let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
            kind.to_str().is_ok_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json"))
        });
        if !is_json {
            return Err(Problem::invalid_request("content-type", "string.const", "must be application/json"));
        }
        let most = self.body_bytes_max;
        let body = to_bytes(body, most).await.map_err(|_| {
            let detail = format!("the body has more than {most} bytes (rpc.request_bytes_max), or did not come whole");
            Problem::new(Reason::BatchTooLarge, detail)
        })?;
        let object: Map<String, Value> = serde_json::from_slice(&body).map_err(|error| {
            let expected = format!("must be {{\"key\": …, \"value\": …}} in JSON: {error}");
            Problem::invalid_request("body", "json", expected)
        })?;
        if let Some(unknown) = object.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            let expected = format!("is no field of this: there are {}", FIELDS.join(", "));
            return Err(Problem::invalid_request(unknown.clone(), "map.keys", expected));
        }
        let is_base64 = match object.get("encoding") {
            None => false,
            Some(encoding) if encoding == "base64" => true,
            Some(_) => return Err(Problem::invalid_request("encoding", "string.in", "must be base64, or absent")),
        };
        let field = |name: &str| match object.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(_) => Err(Problem::invalid_request(name, "string", "must be a text or a number")),
            None => Err(Problem::invalid_request(name, "required", "is missing")),
        };
        let (key, value) = (field("key")?, field("value")?);
        let value = if is_base64 {
            let wrong = |_| Problem::invalid_request("value", "string.base64", "is not base64, as `encoding` says");
            BASE64.decode(value).map_err(wrong)?.into()
        } else {
            Bytes::from(value)
        };
        let ttl_ms = match object.get("ttl_ms") {
            None | Some(Value::Null) => None,
            Some(ttl_ms) => {
                let wrong = || Problem::invalid_request("ttl_ms", "int64", "must be a whole number of milliseconds");
                Some(ttl_ms.as_i64().ok_or_else(wrong)?)
            }
        };
        Ok((key.into(), value, ttl_ms))
    }
}

/// A page of another site must not write through the browser of somebody who only looks at it: GET writes here.
fn check_site(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Problem::invalid_request(
            "sec-fetch-site",
            "string.in",
            "a browser sent this for a page of another site, which may not write",
        )),
    }
}

/// The bytes that a part of a path stands for.
fn decoded(part: &str) -> Bytes {
    percent_decode_str(part).collect::<Vec<u8>>().into()
}

/// A key and its value as JSON. What is no UTF-8 is Base64, and `encoding` says so.
fn pair(key: &[u8], value: &[u8]) -> Value {
    let (key, _) = text(key);
    match text(value) {
        (value, true) => json!({"key": key, "value": value}),
        (value, false) => json!({"key": key, "value": value, "encoding": "base64"}),
    }
}

/// Bytes as a text, and whether they are one: otherwise it is their Base64.
fn text(bytes: &[u8]) -> (String, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), true),
        Err(_) => (BASE64.encode(bytes), false),
    }
}

fn page(code: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (code, headers, format!("{body}\n")).into_response()
}
