//! What a failure looks like over HTTP: RFC 9457 (`application/problem+json`).

use axum::response::{IntoResponse, Response};
use headwater_domain::Reason;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use tonic::Code;

use crate::Problem;
use crate::problem::{page_of, retry_after_of};

/// The status of HTTP that a reason is answered with.
fn status_of(problem: &Problem) -> StatusCode {
    match (problem.reason, problem.code()) {
        // Nobody asked for too much: the store has no room.
        (Reason::CacheFull, _) => StatusCode::INSUFFICIENT_STORAGE,
        (Reason::ConditionNotMet, _) => StatusCode::PRECONDITION_FAILED,
        (Reason::BatchTooLarge | Reason::RecordTooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (_, Code::InvalidArgument | Code::OutOfRange) => StatusCode::BAD_REQUEST,
        (_, Code::Unauthenticated) => StatusCode::UNAUTHORIZED,
        (_, Code::PermissionDenied) => StatusCode::FORBIDDEN,
        (_, Code::NotFound) => StatusCode::NOT_FOUND,
        (_, Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted) => StatusCode::CONFLICT,
        (_, Code::ResourceExhausted) => StatusCode::TOO_MANY_REQUESTS,
        (_, Code::Unimplemented) => StatusCode::NOT_IMPLEMENTED,
        (_, Code::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Code::DeadlineExceeded) => StatusCode::GATEWAY_TIMEOUT,
        (_, Code::Ok | Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = status_of(&self);
        // What time does not mend has no delay, whatever is set.
        let retry_after = retry_after_of(self.reason).and(self.retry_after);
        let violations: Vec<_> = self
            .violations
            .iter()
            .map(|it| json!({"field": it.field, "rule": it.rule, "description": it.description}))
            .collect();
        let mut body = json!({
            "type": page_of(self.reason),
            "title": self.reason.name(),
            "status": status.as_u16(),
            "detail": self.detail,
        });
        if let Some(members) = body.as_object_mut() {
            if !violations.is_empty() {
                members.insert("violations".to_owned(), violations.into());
            }
            if !self.metadata.is_empty() {
                members.insert("metadata".to_owned(), json!(self.metadata));
            }
        }
        let text = format!("{body}\n");
        let mut answer = (status, [(header::CONTENT_TYPE, "application/problem+json")], text).into_response();
        let headers = answer.headers_mut();
        if let Some(delay) = retry_after {
            // In whole seconds, and never at once.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(delay.as_millis().div_ceil(1000).max(1) as u64));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_problem_is_told_with_field_and_delay() {
        let overloaded = Problem::new(Reason::Overloaded, "x").with_retry_after(Duration::from_millis(1200));
        let answer = overloaded.into_response();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "2");
        let answer = Problem::invalid_request("key", "bytes.min_len", "must not be empty").into_response();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert!(!answer.headers().contains_key(header::RETRY_AFTER));
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((&body["title"], &body["status"]), (&"INVALID_REQUEST".into(), &400.into()));
        assert_eq!(body["violations"][0]["field"], "key");
        assert_eq!(body["type"], "docs/errors/INVALID_REQUEST.md");
    }

    #[test]
    fn every_reason_is_an_error_and_a_delay_is_one_of_time() {
        for reason in Reason::ALL {
            let status = status_of(&Problem::new(reason, "x"));
            assert!(status.is_client_error() || status.is_server_error(), "{reason}: {status}");
            assert_ne!(status, StatusCode::NOT_IMPLEMENTED, "{reason}");
        }
        assert_eq!(status_of(&Problem::new(Reason::BatchTooLarge, "x")), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(status_of(&Problem::new(Reason::KeyExists, "x")), StatusCode::CONFLICT);
        assert_eq!(status_of(&Problem::new(Reason::CacheUnavailable, "x")), StatusCode::SERVICE_UNAVAILABLE);
    }
}
