//! Logs and metrics.

mod http;
mod logs;
mod metrics;
mod rpc;

pub(crate) use http::HttpMetrics;
pub use logs::{LogError, init_logging};
pub use metrics::{Metrics, MetricsError};
pub(crate) use rpc::{RpcLabels, RpcMetrics};
