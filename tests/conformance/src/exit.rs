use std::process::ExitCode;

use headwater_event_log::{EventLogError, RegistryError};
use thiserror::Error;

/// What a producer ends with where lines or records were refused.
pub const EXIT_REFUSED: u8 = 1;
/// What a program ends with where an outside system is away, or lacks what is needed.
pub const EXIT_AWAY: u8 = 3;

/// Why a program could not do its work.
#[derive(Debug, Error)]
pub enum Failed {
    /// Kafka is away, or has no such topic.
    #[error(
        "the broker {broker}: {error}; is it the right address, and was the topic made? (headwater contracts register)"
    )]
    Kafka {
        /// The address.
        broker: String,
        /// What is wrong.
        error: String,
    },
    /// The registry is away, or refuses.
    #[error("the schema registry {registry}: {error}")]
    Registry {
        /// The address.
        registry: String,
        /// What is wrong.
        error: String,
    },
    /// The file of sums cannot be used.
    #[error("--state {path}: {error}")]
    State {
        /// The file.
        path: String,
        /// What is wrong.
        error: String,
    },
    /// A file cannot be read or written, or has what cannot be used at all.
    #[error("{0}")]
    Input(String),
}

impl Failed {
    pub(crate) fn log(broker: &str, error: &EventLogError) -> Self {
        Self::Kafka { broker: broker.to_owned(), error: error.to_string() }
    }

    pub(crate) fn no_subject(registry: &str, subject: &str) -> Self {
        let error = format!("it has no subject {subject}: `headwater contracts register` makes it");
        Self::Registry { registry: registry.to_owned(), error }
    }

    pub(crate) fn registry(registry: &str, error: &RegistryError) -> Self {
        Self::Registry { registry: registry.to_owned(), error: error.to_string() }
    }
}

/// Says on the standard error why a program ends, and gives its exit code.
pub fn report(program: &str, outcome: Result<u8, Failed>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failed) => {
            eprintln!("{program}: {failed}");
            ExitCode::from(if matches!(failed, Failed::Input(_)) { 2 } else { EXIT_AWAY })
        }
    }
}
