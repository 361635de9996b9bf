//! A producer and a consumer of transactions in Rust, as other programs see the stream: what those in other languages
//! are compared with.

pub mod consumer;
mod exit;
mod outside;
pub mod producer;

use std::path::Path;
use std::sync::Arc;

use headwater_contracts::{Contracts, StreamContract};

pub use self::exit::{EXIT_AWAY, EXIT_REFUSED, Failed, report};
pub use self::outside::Outside;

/// The stream's name among the contracts.
const STREAM: &str = "transactions";

/// The contract of a transaction: the shipped one, or that of a folder with a newer text of it.
///
/// # Errors
/// A sentence, where the folder's contracts do not hold.
pub fn contract(folder: Option<&Path>) -> Result<Arc<StreamContract>, String> {
    let contracts = match folder {
        Some(folder) => Contracts::with_path(folder),
        None => Contracts::shipped(),
    };
    let contracts = contracts.map_err(|errors| errors.to_string())?;
    contracts.stream(STREAM).cloned().ok_or_else(|| format!("there is no stream {STREAM}"))
}

/// Where a message, by its full name, stands in a schema's text, as the frame says it; none where the text has no such
/// message or cannot be read.
pub fn indexes_of(text: &str, message: &str) -> Option<Vec<i32>> {
    let file = protox_parse::parse("schema.proto", text).ok()?;
    let mut rest = match file.package() {
        "" => message,
        package => message.strip_prefix(package)?.strip_prefix('.')?,
    };
    let mut messages = file.message_type.as_slice();
    let mut indexes = Vec::new();
    loop {
        let (name, inner) = rest.split_once('.').map_or((rest, None), |(name, inner)| (name, Some(inner)));
        let index = messages.iter().position(|message| message.name() == name)?;
        indexes.push(i32::try_from(index).ok()?);
        let Some(inner) = inner else { return Some(indexes) };
        messages = &messages[index].nested_type;
        rest = inner;
    }
}
