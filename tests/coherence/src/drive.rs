//! Makes histories: clients that choose by seed what they do, and who answers them.

mod clients;
mod habits;

use async_trait::async_trait;

pub use clients::{Client, ClientOptions};
pub use habits::{Keys, Kind};

use crate::history::{Call, Ended};

/// Who answers clients.
#[async_trait]
pub trait Replicas: Send + Sync {
    /// How many replicas there are.
    fn count(&self) -> usize;

    /// The name of a replica, by its number.
    fn name(&self, replica: usize) -> String;

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
