/// Why a call or a record failed: `headwater.error.v1.Reason`, by the same names and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is described in proto/headwater/error/v1/error.proto and docs/errors")]
pub enum Reason {
    EmptyBatch = 1,
    BatchTooLarge = 2,
    UnknownStream = 3,
    UnknownType = 4,
    WrongType = 5,
    Malformed = 6,
    InvalidField = 7,
    RecordTooLarge = 8,
    TimeAhead = 9,
    TimeAncient = 10,
    NotInScale = 11,
    BadFrame = 20,
    UnknownSchema = 21,
    WrongSchema = 22,
    UnknownStat = 30,
    InvalidWindow = 31,
    InvalidRequest = 32,
    InvalidPageToken = 33,
    InvalidToken = 34,
    NotYetVisible = 35,
    Overflow = 36,
    RebuildRunning = 37,
    EventsDropped = 38,
    UnknownRebuild = 39,
    RecordsRemoved = 40,
    OffsetOutsideLog = 41,
    TopicReplaced = 42,
    TopicMissing = 43,
    SystemRefused = 44,
    EventLogUnavailable = 50,
    RegistryUnavailable = 51,
    HistoryUnavailable = 52,
    LiveUnavailable = 53,
    NotReady = 54,
    Overloaded = 55,
    DeadlineExceeded = 56,
    Unauthenticated = 70,
    Internal = 71,
}

impl Reason {
    /// Every reason, by number.
    pub const ALL: [Self; 38] = [
        Self::EmptyBatch,
        Self::BatchTooLarge,
        Self::UnknownStream,
        Self::UnknownType,
        Self::WrongType,
        Self::Malformed,
        Self::InvalidField,
        Self::RecordTooLarge,
        Self::TimeAhead,
        Self::TimeAncient,
        Self::NotInScale,
        Self::BadFrame,
        Self::UnknownSchema,
        Self::WrongSchema,
        Self::UnknownStat,
        Self::InvalidWindow,
        Self::InvalidRequest,
        Self::InvalidPageToken,
        Self::InvalidToken,
        Self::NotYetVisible,
        Self::Overflow,
        Self::RebuildRunning,
        Self::EventsDropped,
        Self::UnknownRebuild,
        Self::RecordsRemoved,
        Self::OffsetOutsideLog,
        Self::TopicReplaced,
        Self::TopicMissing,
        Self::SystemRefused,
        Self::EventLogUnavailable,
        Self::RegistryUnavailable,
        Self::HistoryUnavailable,
        Self::LiveUnavailable,
        Self::NotReady,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::Unauthenticated,
        Self::Internal,
    ];

    /// The number that the contract gives it.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The name that the contract gives it, without `REASON_`: what ErrorInfo and the history carry.
    pub fn name(self) -> &'static str {
        match self {
            Self::EmptyBatch => "EMPTY_BATCH",
            Self::BatchTooLarge => "BATCH_TOO_LARGE",
            Self::UnknownStream => "UNKNOWN_STREAM",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::WrongType => "WRONG_TYPE",
            Self::Malformed => "MALFORMED",
            Self::InvalidField => "INVALID_FIELD",
            Self::RecordTooLarge => "RECORD_TOO_LARGE",
            Self::TimeAhead => "TIME_AHEAD",
            Self::TimeAncient => "TIME_ANCIENT",
            Self::NotInScale => "NOT_IN_SCALE",
            Self::BadFrame => "BAD_FRAME",
            Self::UnknownSchema => "UNKNOWN_SCHEMA",
            Self::WrongSchema => "WRONG_SCHEMA",
            Self::UnknownStat => "UNKNOWN_STAT",
            Self::InvalidWindow => "INVALID_WINDOW",
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::InvalidPageToken => "INVALID_PAGE_TOKEN",
            Self::InvalidToken => "INVALID_TOKEN",
            Self::NotYetVisible => "NOT_YET_VISIBLE",
            Self::Overflow => "OVERFLOW",
            Self::RebuildRunning => "REBUILD_RUNNING",
            Self::EventsDropped => "EVENTS_DROPPED",
            Self::UnknownRebuild => "UNKNOWN_REBUILD",
            Self::RecordsRemoved => "RECORDS_REMOVED",
            Self::OffsetOutsideLog => "OFFSET_OUTSIDE_LOG",
            Self::TopicReplaced => "TOPIC_REPLACED",
            Self::TopicMissing => "TOPIC_MISSING",
            Self::SystemRefused => "SYSTEM_REFUSED",
            Self::EventLogUnavailable => "EVENT_LOG_UNAVAILABLE",
            Self::RegistryUnavailable => "REGISTRY_UNAVAILABLE",
            Self::HistoryUnavailable => "HISTORY_UNAVAILABLE",
            Self::LiveUnavailable => "LIVE_UNAVAILABLE",
            Self::NotReady => "NOT_READY",
            Self::Overloaded => "OVERLOADED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The reason of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
