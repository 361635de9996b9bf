use std::net::SocketAddr;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::readiness::Readiness;
use crate::telemetry::Metrics;

/// The caller's pages and the shell's own: `/metrics`, `/livez`, `/readyz`.
pub(super) fn router(pages: Router, metrics: &Metrics, readiness: &Readiness) -> Router {
    let (metrics, readiness) = (metrics.clone(), readiness.clone());
    pages
        .route("/metrics", get(move || async move { metrics_page(&metrics) }))
        // The process answers, so it lives; what it waits for is readiness's to say.
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { readiness_page(&readiness) }))
}

/// What a browser or curl is told that came to the gRPC address.
pub(super) fn hint(http: SocketAddr) -> Router {
    let text = format!("This address speaks gRPC and gRPC-Web; the pages are on http://{http}/.\n");
    Router::new().fallback(move || async move { (StatusCode::NOT_FOUND, text) })
}

fn metrics_page(metrics: &Metrics) -> Response {
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// 200 where the process serves, else 503; the conditions as JSON either way.
fn readiness_page(readiness: &Readiness) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string_pretty(&report) {
        Ok(json) => (status, [(header::CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        Err(error) => {
            tracing::error!(%error, "readiness cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
