use ::redis::{ErrorKind, RedisError, ServerError};

use crate::StoreError;

/// Why a command had no result. Nothing of it names addresses or what they are reached with.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Redis did not answer.
    Away(String),
    /// Redis answered with an error.
    Answered(ServerError),
    /// Redis cannot be used as it is asked to.
    Unusable(&'static str),
}

/// States in which retrying can help, by their codes.
const PASSING: [&str; 13] = [
    "LOADING",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "READONLY",
    "MOVED",
    "ASK",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "UNKILLABLE",
    "NOSCRIPT",
    "EXECABORT",
];

/// What such states say within a script's error, whose code says nothing (before Redis 7 of all of them).
const PASSING_TEXTS: [&str; 7] =
    ["MISCONF", "NOREPLICAS", "READONLY", "-LOADING", "non local key", "cluster is down", "max number of clients"];

impl Failure {
    /// Of a connection that did not come about.
    pub(super) fn of_connecting(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Unusable("it does not accept the user's name or password"),
            ErrorKind::RESP3NotSupported => Self::Unusable("it is older than 6.2"),
            ErrorKind::InvalidClientConfig => Self::Unusable("its address cannot be used"),
            ErrorKind::Server(_) | ErrorKind::Extension => Self::of_answer(error),
            _ if error.is_timeout() => Self::Away("no connection in time".into()),
            _ if error.is_connection_refusal() => Self::Away("connection refused".into()),
            _ => Self::Away("no connection".into()),
        }
    }

    /// Of a connection that was lost.
    pub(super) fn of_lost(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension => Self::of_answer(error),
            _ => Self::Away("the connection was lost".into()),
        }
    }

    fn of_answer(error: &RedisError) -> Self {
        match error.code() {
            Some("WRONGPASS" | "NOAUTH") => Self::Unusable("it does not accept the user's name or password"),
            Some("NOPERM") => Self::Unusable("the user may not do this"),
            Some("LOADING") => Self::Away("it is loading its data".into()),
            _ if error.detail().is_some_and(|detail| PASSING_TEXTS.iter().any(|text| detail.contains(text))) => {
                Self::Away("it takes no more connections".into())
            }
            _ => Self::Unusable("it did not accept the connection"),
        }
    }

    /// Whether Redis answers, and does not let this user run this command, or does not know it.
    pub(super) fn is_denial(&self) -> bool {
        match self {
            Self::Answered(error) => {
                error.code() == "NOPERM" || error.details().is_some_and(|detail| detail.contains("unknown command"))
            }
            Self::Away(_) | Self::Unusable(_) => false,
        }
    }

    /// Whether the slot is on its way to another node, and nothing was done.
    pub(super) fn is_of_moving(&self) -> bool {
        matches!(self, Self::Answered(error) if matches!(error.code(), "ASK" | "TRYAGAIN"))
    }

    /// Whether another node may be the primary now.
    pub(super) fn is_of_topology(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Answered(error) => {
                matches!(error.code(), "MOVED" | "READONLY" | "CLUSTERDOWN" | "MASTERDOWN")
                    || error.details().is_some_and(|detail| detail.contains("READONLY"))
            }
            Self::Unusable(_) => false,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(detail) => Self::Unavailable(detail),
            Failure::Unusable(detail) => Self::Refused(detail.into()),
            Failure::Answered(error) => of_answer(&error),
        }
    }
}

fn of_answer(error: &ServerError) -> StoreError {
    let (code, detail) = (error.code(), error.details().unwrap_or_default());
    if code == "OOM" || detail.contains("OOM command") {
        return StoreError::Full("its memory is used up".into());
    }
    if let Some(passing) = PASSING.iter().find(|passing| **passing == code) {
        return StoreError::Declined(match *passing {
            "READONLY" => "it is read-only".into(),
            "LOADING" => "it is loading its data".into(),
            "CLUSTERDOWN" => "the cluster is down".into(),
            "MOVED" | "ASK" | "TRYAGAIN" => "the cluster is moving the key".into(),
            other => format!("it answered {other}"),
        });
    }
    if let Some(passing) = PASSING_TEXTS.iter().find(|text| detail.contains(**text)) {
        return StoreError::Declined(match *passing {
            "READONLY" => "it is read-only".into(),
            "-LOADING" => "it is loading its data".into(),
            "non local key" => "the cluster is moving the key".into(),
            other => format!("it answered: {other}"),
        });
    }
    StoreError::Refused(match code {
        "WRONGPASS" | "NOAUTH" => "it does not accept the user's name or password".into(),
        "NOPERM" => "the user may not do this".into(),
        "WRONGTYPE" => "the key holds something that is no string".into(),
        _ if detail.contains("WRONGTYPE") => "the key holds something that is no string".into(),
        other => format!("it answered {other}"),
    })
}
