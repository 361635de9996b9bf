use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};
use tonic::Code;

/// Metrics of calls and connections. Names of calls are those of OpenTelemetry's semantic conventions (1.38 and later).
#[derive(Clone, Debug)]
pub(crate) struct RpcMetrics {
    call_duration: Histogram<f64>,
    calls_in_flight: UpDownCounter<i64>,
    connections_open: UpDownCounter<i64>,
    connections_refused: Counter<u64>,
}

/// The labels of a method, made once.
#[derive(Clone, Debug)]
pub(crate) struct RpcLabels {
    ok: [KeyValue; 3],
}

/// What calls take, in seconds: from an answer out of memory to the longest deadline.
pub(super) const BOUNDARIES_S: [f64; 17] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

impl RpcMetrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            call_duration: meter
                .f64_histogram("rpc.server.call.duration")
                .with_unit("s")
                .with_description("Time from a call's beginning to the end of its answer")
                .with_boundaries(BOUNDARIES_S.to_vec())
                .build(),
            calls_in_flight: meter
                .i64_up_down_counter("headwater.rpc.calls_in_flight")
                .with_description("Calls in flight, streams included")
                .build(),
            connections_open: meter
                .i64_up_down_counter("headwater.connections.open")
                .with_description("Connections that are open")
                .build(),
            connections_refused: meter
                .u64_counter("headwater.connections.refused")
                .with_description("Connections that were closed at once, being over listen.connections_max")
                .build(),
        }
    }

    /// A call began; `ended` must follow.
    pub(crate) fn began(&self) {
        self.calls_in_flight.add(1, &[]);
    }

    /// A call ended.
    pub(crate) fn ended(&self, labels: &RpcLabels, code: Code, took: Duration) {
        self.calls_in_flight.add(-1, &[]);
        let seconds = took.as_secs_f64();
        if code == Code::Ok {
            self.call_duration.record(seconds, &labels.ok);
            return;
        }
        let name = code_name(code);
        let [system, method, _] = labels.ok.clone();
        let status = KeyValue::new("rpc.response.status_code", name);
        if is_fault_of_server(code) {
            self.call_duration.record(seconds, &[system, method, status, KeyValue::new("error.type", name)]);
        } else {
            self.call_duration.record(seconds, &[system, method, status]);
        }
    }

    pub(crate) fn connection_opened(&self) {
        self.connections_open.add(1, &[]);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections_open.add(-1, &[]);
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.add(1, &[]);
    }
}

impl RpcLabels {
    /// Labels of a method by its full name, for example "headwater.ingest.v1.IngestService/Publish"; or "_OTHER".
    pub(crate) fn new(method: &str) -> Self {
        Self {
            ok: [
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", method.to_owned()),
                KeyValue::new("rpc.response.status_code", code_name(Code::Ok)),
            ],
        }
    }
}

/// The codes that the conventions count as errors of a server.
fn is_fault_of_server(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The name that gRPC gives a code.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
