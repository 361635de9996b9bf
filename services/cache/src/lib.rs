//! The cache service: CacheService over gRPC, and the HTTP routes of the proxies that it replaces.

mod answers;
mod cache_status;
mod http;
mod namespaces;
mod problems;
mod service;
mod watch;

pub use http::routes;
pub use service::{CacheFront, CacheFrontOptions};
