use std::time::Duration;

use http::{Method, StatusCode};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use super::rpc::BOUNDARIES_S;

/// Metrics of HTTP requests that count as calls, by the names of OpenTelemetry's semantic conventions.
#[derive(Clone, Debug)]
pub(crate) struct HttpMetrics {
    request_duration: Histogram<f64>,
}

impl HttpMetrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            request_duration: meter
                .f64_histogram("http.server.request.duration")
                .with_unit("s")
                .with_description("Time from a request's beginning to its answer")
                .with_boundaries(BOUNDARIES_S.to_vec())
                .build(),
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        // Others are anything that a client makes up, and labels must stay few.
        let known = [Method::GET, Method::POST, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS];
        let method = if known.contains(method) { method.as_str().to_owned() } else { "_OTHER".to_owned() };
        let labels = [
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
        ];
        self.request_duration.record(took.as_secs_f64(), &labels);
    }
}
