//! The shell that every service runs in: what a failure looks like, the settings, telemetry, and the serving of gRPC
//! and HTTP with deadlines, limits, health and a bounded drain.
//!
//! The order of a start: [`settings::load`], [`telemetry::init_logging`], [`Listeners::bind`], then whatever takes time,
//! then [`Shell::serve`]. So a wrong setting or a port in use is told before anything else begins.

pub mod page;
pub mod problem;
mod problem_page;
mod readiness;
pub mod settings;
mod shell;
pub mod telemetry;

pub use opentelemetry;
pub use problem::{Problem, Violation};
pub use readiness::{Condition, ConditionState, Readiness, ReadinessReport, Trouble};
pub use settings::Settings;
pub use shell::{
    Admission, BindError, BindErrors, Deadline, Drained, Listeners, RequestId, Services, Shell, ShellError,
};
pub use telemetry::Metrics;
pub use tonic;

/// Gives a generated tonic server what the shell promises of every service: gzip is accepted, and a request is limited
/// after decompression to `rpc.request_bytes_max`.
///
/// ```text
/// services.add(limited!(IngestServiceServer::new(ingest), settings.rpc));
/// ```
#[macro_export]
macro_rules! limited {
    ($server:expr, $rpc:expr) => {
        $server
            .accept_compressed($crate::tonic::codec::CompressionEncoding::Gzip)
            .max_decoding_message_size($rpc.request_bytes_max)
    };
}
