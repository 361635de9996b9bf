use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use headwater_client::Error;
use headwater_client::cache::{Cache, Conditional, Deleted, KeyError, QueuedWrite, Stored, Write as Written};
use serde_json::{Map, Value, json};

use super::spelling::{hex, put_bytes, span};
use crate::commands::console::Console;
use crate::commands::explain::{FAILED, REFUSED};
use crate::commands::quantities::{grouped, spelled};

/// What became of a write to a key.
#[derive(Debug)]
pub(super) enum Became {
    /// A value was written.
    Stored(Stored),
    /// The condition did not hold; with the etag of what is there.
    NotMet(Option<Vec<u8>>),
    /// The key is forgotten.
    Deleted { found: bool },
    /// It waits; `after`: as long as somebody waited for it.
    Queued { write_id: String, after: Option<Duration> },
    /// It was refused, or not done.
    Failed(KeyError),
}

/// What an exit code is made of: nothing wrong, refused, or not known.
#[derive(Debug, Default)]
pub(super) struct Codes {
    refused: bool,
    failed: bool,
}

impl From<Written<Stored>> for Became {
    fn from(written: Written<Stored>) -> Self {
        match written {
            Written::Applied(stored) => Self::Stored(stored),
            Written::Queued { write_id } => Self::Queued { write_id, after: None },
        }
    }
}

impl From<Written<Conditional>> for Became {
    fn from(written: Written<Conditional>) -> Self {
        match written {
            Written::Applied(Conditional::Met(stored)) => Self::Stored(stored),
            Written::Applied(Conditional::NotMet { current_etag }) => Self::NotMet(current_etag.map(Into::into)),
            Written::Queued { write_id } => Self::Queued { write_id, after: None },
        }
    }
}

impl From<Written<Deleted>> for Became {
    fn from(written: Written<Deleted>) -> Self {
        match written {
            Written::Applied(Deleted { found }) => Self::Deleted { found },
            Written::Queued { write_id } => Self::Queued { write_id, after: None },
        }
    }
}

impl Became {
    /// Follows what is queued until it was applied, for so long at most.
    pub(super) async fn settled(self, cache: &Cache, wait: Duration, deletes: bool) -> Result<Self, Error> {
        let Self::Queued { write_id, .. } = self else { return Ok(self) };
        Ok(match cache.get_write(&write_id, wait).await? {
            QueuedWrite::Waiting => Self::Queued { write_id, after: Some(wait) },
            QueuedWrite::Applied { found, .. } if deletes => Self::Deleted { found },
            QueuedWrite::Applied { stored, .. } => Self::Stored(stored),
            QueuedWrite::Refused { error, .. } => Self::Failed(error),
        })
    }

    /// Tells it: what was done to standard output, what was not to standard error.
    pub(super) fn tell(&self, of: &str, console: &mut Console) -> io::Result<()> {
        match self {
            Self::Stored(stored) => {
                let fresh = match stored.ttl {
                    Some(ttl) => format!("fresh for {}", span(ttl)),
                    None => "does not expire".to_owned(),
                };
                let replaced = if stored.replaced { ", replaced a value" } else { "" };
                let evicted = match stored.evicted {
                    0 => String::new(),
                    1 => ", one key left to make room".to_owned(),
                    more => format!(", {} keys left to make room", grouped(more.into())),
                };
                writeln!(console.out, "{of}written, {fresh}{replaced}{evicted}, etag {}", hex(&stored.etag))
            }
            Self::Deleted { found: true } => writeln!(console.out, "{of}forgotten"),
            Self::Deleted { found: false } => writeln!(console.out, "{of}there was no value"),
            Self::Queued { write_id, after: None } => writeln!(console.out, "{of}queued, write {write_id}"),
            Self::Queued { write_id, after: Some(after) } => writeln!(
                console.err,
                "headwater: {of}write {write_id} still waits after {}; it is kept, and applied in its turn",
                spelled(*after)
            ),
            Self::NotMet(None) => writeln!(console.err, "headwater: {of}not written: the key has no value"),
            Self::NotMet(Some(etag)) => {
                writeln!(console.err, "headwater: {of}not written: the key has a value, etag {}", hex(etag))
            }
            Self::Failed(error) => complain(of, error, console),
        }
    }

    pub(super) fn json(&self, key: &[u8]) -> Value {
        let mut object = Map::new();
        put_bytes(&mut object, "key", key);
        match self {
            Self::Stored(stored) => {
                object.insert("written".into(), json!(true));
                object.insert("etag".into(), json!(hex(&stored.etag)));
                object.insert("ttl_ms".into(), json!(stored.ttl.map(|ttl| ttl.as_millis() as u64)));
                object.insert("replaced".into(), json!(stored.replaced));
                object.insert("evicted".into(), json!(stored.evicted));
            }
            Self::Deleted { found } => drop(object.insert("found".into(), json!(found))),
            Self::Queued { write_id, .. } => drop(object.insert("write_id".into(), json!(write_id))),
            Self::NotMet(etag) => {
                object.insert("written".into(), json!(false));
                object.insert("current_etag".into(), json!(etag.as_deref().map(hex)));
            }
            Self::Failed(error) => return error_json(key, error),
        }
        Value::Object(object)
    }

    pub(super) fn count(&self, codes: &mut Codes) {
        match self {
            Self::Stored(_) | Self::Deleted { .. } | Self::Queued { after: None, .. } => {}
            Self::NotMet(_) => codes.refused(true),
            Self::Queued { after: Some(_), .. } => codes.failed = true,
            Self::Failed(error) => codes.failed(error),
        }
    }
}

impl Codes {
    /// Takes note of a key for which the answer was no.
    pub(super) fn refused(&mut self, refused: bool) {
        self.refused |= refused;
    }

    /// Takes note of a key for which there was no answer, or one that is a refusal.
    pub(super) fn failed(&mut self, error: &KeyError) {
        if error.retry_after.is_some() {
            self.failed = true;
        } else {
            self.refused = true;
        }
    }

    /// 0, 1 where something was refused, 2 where something is not known.
    pub(super) fn exit_code(&self) -> ExitCode {
        match (self.failed, self.refused) {
            (true, _) => ExitCode::from(FAILED),
            (false, true) => ExitCode::from(REFUSED),
            (false, false) => ExitCode::SUCCESS,
        }
    }
}

/// Says why something was not done with a key.
pub(super) fn complain(of: &str, error: &KeyError, console: &mut Console) -> io::Result<()> {
    writeln!(console.err, "headwater: {of}{error}")?;
    if let Some(delay) = error.retry_after {
        writeln!(console.err, "  It may work in {} ms.", delay.as_millis())?;
    }
    writeln!(console.err, "  See docs/errors/{}.md", error.reason)
}

pub(super) fn error_json(key: &[u8], error: &KeyError) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "key", key);
    let retry_after_ms = error.retry_after.map(|delay| delay.as_millis() as u64);
    let error = json!({ "reason": error.reason, "detail": error.detail, "retry_after_ms": retry_after_ms });
    object.insert("error".into(), error);
    Value::Object(object)
}
