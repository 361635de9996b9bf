use std::collections::HashMap;

use headwater_contracts::{StreamContract, message_name_in};
use headwater_domain::{Reason, StatKind, Value, units_of};
use headwater_event_log::registry::ConfluentRegistry;
use headwater_event_log::{RegisteredSchema, SchemaRegistry, frame};

use crate::Failed;

/// Schemas that are remembered.
const SCHEMAS_MAX: usize = 1000;

/// Takes records apart.
pub(super) struct Reader<'a> {
    pub(super) stream: &'a StreamContract,
    pub(super) registry: ConfluentRegistry,
    /// The registry's address.
    pub(super) address: String,
    pub(super) schemas: HashMap<u32, RegisteredSchema>,
}

/// What a transaction counts, and whether it has fields that are not known.
pub(super) struct Counted {
    pub(super) account: String,
    pub(super) cents: i64,
    pub(super) newer: bool,
}

/// A reason and a sentence.
pub(super) type Skipped = (Reason, String);

impl Reader<'_> {
    /// What a record's value counts, or why it counts nothing.
    pub(super) async fn read(&mut self, value: Option<&[u8]>) -> Result<Result<Counted, Skipped>, Failed> {
        let Some(value) = value else {
            return Ok(Err((Reason::BadFrame, "the record has no value".into())));
        };
        let (id, indexes, payload) = match frame::parse(value) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Err((Reason::BadFrame, error.to_string()))),
        };
        if !self.schemas.contains_key(&id) {
            let found = self.registry.schema(id).await;
            let found = found.map_err(|error| Failed::registry(&self.address, &error))?;
            let Some(found) = found else {
                return Ok(Err((Reason::UnknownSchema, format!("the registry has no schema {id}"))));
            };
            if self.schemas.len() >= SCHEMAS_MAX {
                self.schemas.clear();
            }
            self.schemas.insert(id, found);
        }
        let name = message_name_in(&self.schemas[&id].schema.text, &indexes).unwrap_or_default();
        if name != self.stream.schema.message {
            return Ok(Err((Reason::WrongSchema, format!("schema {id} has {name:?} at {indexes:?}"))));
        }
        Ok(counted(self.stream, payload))
    }
}

/// What the stream's sum counts of a message.
fn counted(stream: &StreamContract, payload: &[u8]) -> Result<Counted, Skipped> {
    let event = stream.check(payload).map_err(|defect| (defect.reason, defect.detail))?;
    let sum = stream.schema.stats.iter().find(|stat| matches!(stat.kind, StatKind::Sum { .. }));
    let sum = sum.ok_or_else(|| (Reason::WrongSchema, "the contract has no sum".to_owned()))?;
    let cents = units_of(&event.values[sum.kind.field()], sum.kind.scale())
        .ok_or_else(|| (Reason::NotInScale, "amount: is not a number of cents".to_owned()))?;
    let Some(Value::Text(account)) = sum.kind.by().map(|by| &event.values[by]) else {
        return Err((Reason::InvalidField, "account_number: is not a text".into()));
    };
    Ok(Counted { account: account.to_string(), cents, newer: !event.unknown.is_empty() })
}
