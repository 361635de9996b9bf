//! The contracts: generated messages and services, and what the platform reads from the options of a stream.
//!
//! [`Contracts`] is everything that was declared; a [`StreamContract`] is one stream, ready to check, take apart and put
//! together its events. [`v1`] has the generated code.

mod error;
mod generated;
mod load;
mod model;
mod plan;
mod proto_text;
mod rules;
mod stream;

pub use error::{ContractError, ContractErrors};
pub use load::Contracts;
pub use plan::{Defect, FieldDefect};
pub use proto_text::{ProtoText, option_free_text};
pub use stream::{StreamContract, message_name_in};

/// The generated messages, clients and servers, by area.
pub mod v1 {
    /// `headwater.cache.v1`
    pub use crate::generated::cache::v1 as cache;
    /// `headwater.error.v1`
    pub use crate::generated::error::v1 as error;
    /// `headwater.event.v1`
    pub use crate::generated::event::v1 as event;
    /// `headwater.ingest.v1`
    pub use crate::generated::ingest::v1 as ingest;
    /// `headwater.rebuild.v1`
    pub use crate::generated::rebuild::v1 as rebuild;
    /// `headwater.stats.v1`
    pub use crate::generated::stats::v1 as stats;
    /// `headwater.stream.v1`
    pub use crate::generated::stream::v1 as stream;
}
