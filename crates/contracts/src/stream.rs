use std::sync::Arc;

use headwater_domain::{Event, StreamSchema};
use prost_reflect::{Kind, MessageDescriptor, prost_types::FileDescriptorProto};

use crate::plan::{self, Plan};
use crate::{Defect, ProtoText, option_free_text};

/// A stream's contract: what it is, and how its events are checked, taken apart and put together.
#[derive(Debug)]
pub struct StreamContract {
    /// What the platform knows of the stream.
    pub schema: Arc<StreamSchema>,
    /// The event's descriptor.
    pub descriptor: MessageDescriptor,
    /// The registry's subject of its schema: `<topic>-value`.
    pub subject: String,
    /// The text of its file for the registry.
    pub text: ProtoText,
    /// Where in the file the message stands, as the frame says it: from the outermost message in.
    pub message_indexes: Vec<i32>,
    plan: Plan,
}

impl StreamContract {
    pub(crate) fn new(descriptor: MessageDescriptor, schema: Arc<StreamSchema>) -> Result<Self, String> {
        if let Some(field) = descriptor.fields().find(
            |field| matches!(field.kind(), Kind::Message(ref inner) if inner.full_name() == "google.protobuf.Any"),
        ) {
            return Err(format!("the field {:?} is an Any, whose columns nobody could say beforehand", field.name()));
        }
        Ok(Self {
            subject: format!("{}-value", schema.name),
            text: option_free_text(&descriptor.parent_file()),
            message_indexes: message_indexes(&descriptor),
            plan: Plan::new(&descriptor, &schema),
            descriptor,
            schema,
        })
    }

    /// What an Any of an event has as its type.
    pub fn type_url(&self) -> String {
        format!("type.googleapis.com/{}", self.schema.message)
    }

    /// Takes an event's bytes apart and checks them against the contract.
    ///
    /// # Errors
    /// The reason and the fields at fault.
    pub fn check(&self, bytes: &[u8]) -> Result<Event, Defect> {
        self.plan.check(&self.schema, bytes)
    }

    /// The event's id, where it can be read of bytes that `check` refuses.
    pub fn id_in(&self, bytes: &[u8]) -> Option<String> {
        plan::text_in(self.schema.columns[self.schema.id].number, bytes)
    }

    /// Puts an event's bytes together, with the fields that the contract does not know. Times have microseconds.
    ///
    /// # Errors
    /// A sentence, where a value does not fit the contract any more.
    pub fn encode(&self, event: &Event) -> Result<Vec<u8>, String> {
        self.plan.encode(event)
    }

    /// What the statistics are counted by: when it changes, they are counted anew.
    pub fn stats_fingerprint(&self) -> String {
        let parts: Vec<String> = self
            .schema
            .stats
            .iter()
            .map(|stat| {
                let column = |index: usize| self.schema.columns[index].number;
                format!(
                    "{}:{}:{}:{}:{}",
                    stat.name,
                    match stat.kind {
                        headwater_domain::StatKind::Distinct { .. } => "distinct",
                        headwater_domain::StatKind::Top { .. } => "top",
                        headwater_domain::StatKind::Sum { .. } => "sum",
                    },
                    column(stat.kind.field()),
                    stat.kind.by().map_or_else(|| "-".to_owned(), |by| column(by).to_string()),
                    stat.kind.scale()
                )
            })
            .collect();
        parts.join(",")
    }
}

fn message_indexes(message: &MessageDescriptor) -> Vec<i32> {
    let mut indexes = match message.parent_message() {
        Some(parent) => message_indexes(&parent),
        None => Vec::new(),
    };
    let name = message.full_name();
    let position = match message.parent_message() {
        // Without the entries of maps: the text that is registered has its fields last, and so the maps' entries, too.
        Some(parent) => parent
            .child_messages()
            .filter(|sibling| !sibling.is_map_entry())
            .position(|sibling| sibling.full_name() == name),
        None => message.parent_file().messages().position(|sibling| sibling.full_name() == name),
    };
    indexes.push(position.and_then(|position| i32::try_from(position).ok()).unwrap_or_default());
    indexes
}

/// Full name of the message that stands at these indexes of a schema's text; none where the text cannot be read or has none.
pub fn message_name_in(text: &str, indexes: &[i32]) -> Option<String> {
    let file: FileDescriptorProto = protox_parse::parse("schema.proto", text).ok()?;
    let mut name = file.package().to_owned();
    let mut messages = file.message_type.as_slice();
    for &index in indexes {
        // With the entries of maps, in their fields' places: so Confluent's own serializers count.
        let message = messages.get(usize::try_from(index).ok()?)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(message.name());
        messages = &message.nested_type;
    }
    (!indexes.is_empty()).then_some(name)
}
