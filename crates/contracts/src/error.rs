use thiserror::Error;

/// What is wrong with a contract, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}: {place}: {problem}")]
pub struct ContractError {
    /// The `.proto` file.
    pub file: String,
    /// The message, and the option or field within it.
    pub place: String,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Everything that is wrong with the contracts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ContractErrors(
    /// At least one.
    pub Vec<ContractError>,
);
