use std::collections::{HashMap, HashSet};

use headwater_contracts::{StreamContract, message_name_in};
use headwater_domain::Reason;
use headwater_event_log::{RegistryError, SchemaRegistry};
use parking_lot::Mutex;
use std::sync::Arc;

/// Ids that are remembered; a topic with more is asked for anew.
const IDS_MAX: usize = 1024;

/// A schema's id, and the indexes of a message in it.
type MessageAt = (u32, Vec<i32>);

/// Whether the message that a frame names is the stream's own, by the registry's word.
pub(crate) struct SchemaIds {
    registry: Arc<dyn SchemaRegistry>,
    /// Full name of the message; none where the schema has no message there.
    known: Mutex<HashMap<MessageAt, Option<String>>>,
}

/// Ids that the registry did not know when it was asked for a batch. It is not asked again for the batch's other records:
/// they were in the log before it was asked, and whoever writes an id has it registered before.
#[derive(Default)]
pub(crate) struct UnknownIds {
    ids: Mutex<HashSet<u32>>,
}

/// A schema that is not the stream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotOurs {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl SchemaIds {
    pub(crate) fn new(registry: Arc<dyn SchemaRegistry>) -> Self {
        Self { registry, known: Mutex::new(HashMap::new()) }
    }

    /// Nothing where the frame's message is the stream's, of this version or another.
    ///
    /// # Errors
    /// Outside: the registry is away, or refuses. Inside: the message is another, or the registry does not know the id.
    pub(crate) async fn judge(
        &self,
        stream: &StreamContract,
        id: u32,
        indexes: &[i32],
        unknown: &UnknownIds,
    ) -> Result<Result<(), NotOurs>, RegistryError> {
        let key = (id, indexes.to_vec());
        let known = self.known.lock().get(&key).cloned();
        let name = match known {
            Some(name) => name,
            None => {
                let is_unknown = unknown.ids.lock().contains(&id);
                let found = if is_unknown { None } else { self.registry.schema(id).await? };
                let Some(found) = found else {
                    // Not remembered for longer: another process may be registering it just now.
                    unknown.ids.lock().insert(id);
                    return Ok(Err(NotOurs {
                        reason: Reason::UnknownSchema,
                        detail: format!("the registry has no schema {id}"),
                    }));
                };
                let name = message_name_in(&found.schema.text, indexes);
                let mut known = self.known.lock();
                if known.len() >= IDS_MAX {
                    known.clear();
                }
                known.insert(key, name.clone());
                name
            }
        };
        Ok(match name {
            Some(name) if name == stream.schema.message => Ok(()),
            Some(name) => Err(NotOurs {
                reason: Reason::WrongSchema,
                detail: format!("schema {id} is of {name}, and the stream's events are {}", stream.schema.message),
            }),
            None => Err(NotOurs {
                reason: Reason::WrongSchema,
                detail: format!("schema {id} has no message at {indexes:?}"),
            }),
        })
    }
}
