use anyhow::Context;
use headwater_contracts::Contracts;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

/// Writes answers as ProtoJSON with the contracts' own field names: what grpcurl prints, on one line.
pub(crate) struct ProtoJson {
    pool: DescriptorPool,
}

impl ProtoJson {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { pool: Contracts::shipped()?.pool().clone() })
    }

    /// `name`: the message's full name.
    pub(crate) fn line(&self, name: &str, message: &impl Message) -> anyhow::Result<String> {
        let descriptor = self.pool.get_message_by_name(name).with_context(|| format!("no contract has {name}"))?;
        let mut dynamic = DynamicMessage::new(descriptor);
        dynamic.transcode_from(message).with_context(|| format!("{name} has changed"))?;
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        let mut line = serde_json::Serializer::new(Vec::new());
        dynamic.serialize_with_options(&mut line, &options)?;
        Ok(String::from_utf8(line.into_inner())?)
    }
}
