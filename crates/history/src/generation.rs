//! Builds of a stream's live statistics. One is read; another may be built beside it, and then takes its place.

/// A build of a stream's live statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number, from 1, never used again.
    pub number: i64,
    /// Shards that its keys lie on, fixed for the generation.
    pub shards: u32,
}

/// Where a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationState {
    /// It is filled from the history, and not read yet.
    Building,
    /// It is the one that is read.
    Current,
    /// It was read, until another took its place.
    Replaced,
    /// It never was read.
    Cancelled,
}

/// A generation, and what the history knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationRecord {
    /// Which it is.
    pub generation: Generation,
    /// Fingerprint of the statistics that it holds: another contract cannot read it.
    pub fingerprint: String,
    /// Where it stands.
    pub state: GenerationState,
    /// The request that it was asked for with; none where a contract asked.
    pub request_id: Option<String>,
    /// When it was begun, in milliseconds since the Unix epoch, by the history's clock.
    pub made_ms: i64,
    /// When it was replaced or cancelled, likewise; none where it is not.
    pub ended_ms: Option<i64>,
}

/// What became of the wish to build a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildOutcome {
    /// It is being built, or was: this is what there is under the request's id.
    Started(GenerationRecord),
    /// Another request's is being built.
    Busy(GenerationRecord),
    /// There is nothing to build beside: no processor has begun on the stream.
    NoneYet,
}

impl GenerationState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Current => "current",
            Self::Replaced => "replaced",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name. One that a newer version wrote is one that nobody reads.
    pub(crate) fn named(name: &str) -> Self {
        [Self::Building, Self::Current, Self::Replaced]
            .into_iter()
            .find(|state| state.name() == name)
            .unwrap_or(Self::Cancelled)
    }
}
