//! How a stream's records get into its topic.

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_contracts::{ProtoText, StreamContract, option_free_text};
use headwater_event_log::{
    EventLog, EventLogError, ProtoSchema, RegistryError, SchemaReference, SchemaRegistry, TopicSpec, frame,
};
use thiserror::Error;

/// References within references that a schema may have.
const REFERENCE_DEPTH_MAX: usize = 16;

/// What a record needs besides its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// What stands before each message: magic byte, schema id, message indexes.
    pub(crate) prefix: Bytes,
    /// Partitions of the topic.
    pub(crate) partitions: i32,
    /// Id of the stream's schema.
    pub(crate) schema_id: u32,
}

/// Why a stream cannot be published to.
#[derive(Debug, Error)]
pub enum RouteError {
    /// The event log is away, or its topic is not as it must be.
    #[error("stream {stream}: {error}")]
    Log {
        /// Name of the stream.
        stream: String,
        /// What the event log said.
        error: EventLogError,
    },
    /// The registry is away, or refuses the schema.
    #[error("stream {stream}: {error}")]
    Registry {
        /// Name of the stream.
        stream: String,
        /// What the registry said.
        error: RegistryError,
    },
}

impl RouteError {
    /// Whether trying again can help.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Log { error: EventLogError::Unavailable(_), .. }
                | Self::Registry { error: RegistryError::Unavailable(_), .. }
        )
    }
}

/// Makes the topic and registers the schema where they are missing.
pub(crate) async fn prepare(
    stream: &StreamContract,
    topic: &TopicSpec,
    log: &dyn EventLog,
    registry: &dyn SchemaRegistry,
) -> Result<Route, RouteError> {
    let name = || stream.schema.name.clone();
    let made = make_topic(stream, &TopicSpec { name: name(), ..topic.clone() }, log, registry).await?;
    let prefix = Bytes::from(frame::prefix(made.schema_id, &stream.message_indexes));
    Ok(Route { prefix, partitions: made.partitions, schema_id: made.schema_id })
}

/// A topic that a stream's events can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeTopic {
    /// Its partitions, which may be others than were asked for where it was there already.
    pub partitions: i32,
    /// Id of the stream's schema, the newest of the subject `<topic>-value`.
    pub schema_id: u32,
}

/// Makes a topic of any name as the stream's own is made, and registers the stream's schema for it, where they are missing.
///
/// # Errors
/// All of `RouteError`; some are over by themselves.
pub async fn make_topic(
    stream: &StreamContract,
    spec: &TopicSpec,
    log: &dyn EventLog,
    registry: &dyn SchemaRegistry,
) -> Result<MadeTopic, RouteError> {
    let name = || stream.schema.name.clone();
    let partitions = log.ensure_topic(spec).await.map_err(|error| RouteError::Log { stream: name(), error })?;
    let subject = format!("{}-value", spec.name);
    let registered = register(stream, &subject, registry).await;
    let schema_id = registered.map_err(|error| RouteError::Registry { stream: name(), error })?;
    Ok(MadeTopic { partitions, schema_id })
}

/// Registers the stream's schema and, before it, what it imports, each under the name of its file.
async fn register(stream: &StreamContract, subject: &str, registry: &dyn SchemaRegistry) -> Result<u32, RegistryError> {
    let mut order = Vec::new();
    imports_first(&stream.text, &mut order, REFERENCE_DEPTH_MAX);
    let mut versions: BTreeMap<String, SchemaReference> = BTreeMap::new();
    for text in order {
        let schema = with_references(&text, &versions);
        let version = registry.register(&text.file, &schema).await?.version;
        let reference = SchemaReference { name: text.file.clone(), subject: text.file.clone(), version };
        versions.insert(text.file.clone(), reference);
    }
    let schema = with_references(&stream.text, &versions);
    Ok(registry.register(subject, &schema).await?.id)
}

fn with_references(text: &ProtoText, versions: &BTreeMap<String, SchemaReference>) -> ProtoSchema {
    let references = text.imports.iter().filter_map(|file| versions.get(file.name()).cloned()).collect();
    ProtoSchema { text: text.text.clone(), references }
}

fn imports_first(text: &ProtoText, order: &mut Vec<ProtoText>, depth: usize) {
    if depth == 0 {
        return;
    }
    for file in &text.imports {
        if order.iter().all(|known| known.file != file.name()) {
            let import = option_free_text(file);
            imports_first(&import, order, depth - 1);
            order.push(import);
        }
    }
}
