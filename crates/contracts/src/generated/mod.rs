// Generated from proto/ by `cargo xtask codegen`. Change the contract, not this file.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    rustdoc::all,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated: prost and tonic decide how it is written, the comments are the contracts'"
)]

/// Packages of `headwater.cache`.
pub mod cache {
    /// Package `headwater.cache.v1`.
    pub mod v1;
}
/// Packages of `headwater.error`.
pub mod error {
    /// Package `headwater.error.v1`.
    pub mod v1;
}
/// Packages of `headwater.event`.
pub mod event {
    /// Package `headwater.event.v1`.
    pub mod v1;
}
/// Packages of `headwater.ingest`.
pub mod ingest {
    /// Package `headwater.ingest.v1`.
    pub mod v1;
}
/// Packages of `headwater.rebuild`.
pub mod rebuild {
    /// Package `headwater.rebuild.v1`.
    pub mod v1;
}
/// Packages of `headwater.stats`.
pub mod stats {
    /// Package `headwater.stats.v1`.
    pub mod v1;
}
/// Packages of `headwater.stream`.
pub mod stream {
    /// Package `headwater.stream.v1`.
    pub mod v1;
}
