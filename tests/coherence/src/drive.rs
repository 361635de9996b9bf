//! Makes histories: clients that choose by seed what they do, and who answers them.

mod clients;
mod direct;
mod faults;
mod habits;
mod lag;
mod run;
mod service;
mod stack;
mod store;

use async_trait::async_trait;

pub use clients::{Client, ClientOptions};
pub use faults::Plan;
pub use habits::{Keys, Kind};
pub use lag::{LagOptions, lag};
pub use run::{RunOptions, run};
pub use service::Service;

use crate::history::{Call, Ended};

/// Who answers clients.
#[async_trait]
pub trait Replicas: Send + Sync {
    /// How many replicas there are.
    fn count(&self) -> usize;

    /// The name of a replica, by its number.
    fn name(&self, replica: usize) -> String;

    /// Whether a replica can be asked this.
    fn can(&self, _replica: usize, _call: &Call) -> bool {
        true
    }

    /// Asks a replica. What became of a write whose answer did not come is not known.
    async fn ask(&self, replica: usize, key: &Key, call: &Call) -> Ended;
}

/// A key, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it has.
    pub kind: Kind,
}
