//! The stats service: live statistics as they are now, and the events behind them.

mod explain;
mod figures;
mod history;
mod query;
mod rebuild;
mod service;
mod subscribe;
mod wait;
mod watch;

pub use rebuild::Rebuilds;
pub use service::{Stats, StatsOptions};
