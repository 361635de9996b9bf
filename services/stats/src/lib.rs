//! The stats service: live statistics as they are now, and the events behind them.

mod figures;
mod history;
mod query;
mod service;
mod subscribe;
mod watch;

pub use service::{Stats, StatsOptions};
