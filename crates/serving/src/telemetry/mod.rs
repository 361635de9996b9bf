//! Logs and metrics.

mod logs;
mod metrics;
mod rpc;

pub use logs::{LogError, init_logging};
pub use metrics::{Metrics, MetricsError};
pub(crate) use rpc::{RpcLabels, RpcMetrics};
