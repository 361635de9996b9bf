//! Saying what became of the records with an event's id.

use std::time::Instant;

use headwater_contracts::v1::stats::explained_record::Outcome;
use headwater_contracts::v1::stats::{
    ExplainVerdictRequest, ExplainVerdictResponse, ExplainedDeadLetter, ExplainedDuplicate, ExplainedEvent,
    ExplainedRecord, FlaggedBy, RuleDefinition,
};
use headwater_domain::{Reason, StreamSchema, Verdict};
use headwater_history::{ExplainPlace, ExplainQuery, Explained, Fate, ID_BYTES_MAX};
use headwater_serving::page;
use headwater_serving::problem::Problem;

use crate::figures::{timestamp, timestamp_of_us};
use crate::query::{stream as stream_of, token};
use crate::service::Shared;
use crate::watch::history_problem;

impl Shared {
    pub(crate) async fn explain_verdict(
        &self,
        asked: ExplainVerdictRequest,
        deadline: Instant,
    ) -> Result<ExplainVerdictResponse, Problem> {
        let stream = stream_of(&self.contracts, &asked.stream)?;
        let schema = &stream.schema;
        check_id(&asked.id)?;
        let limit = page::size(asked.page_size)?;
        let identity = format!("ExplainVerdict {} {:?}", asked.stream, asked.id);
        let after = page::after(&identity, &asked.page_token)?.map(|last| read_place(&last)).transpose()?;
        if let Some(token) = token(&self.contracts, &asked.at_least)? {
            if token.stream != schema.name {
                let description = format!("it is of the stream {:?}, not of {:?}", token.stream, schema.name);
                return Err(Problem::new(Reason::InvalidToken, format!("at_least: {description}")).with_violation(
                    "at_least",
                    "headwater.consistency_token",
                    description,
                ));
            }
            self.wait_stored(schema, &token, deadline).await?;
        }
        let query = ExplainQuery { id: asked.id, after, limit };
        let found = self.history.explain(schema, &query).await.map_err(|error| history_problem(&error))?;
        let next_page_token = match found.records.last() {
            Some(last) if found.more => page::token(&identity, &write_place(last.place())),
            _ => String::new(),
        };
        let records = found.records.into_iter().map(|record| explained(schema, record)).collect();
        Ok(ExplainVerdictResponse { records, next_page_token })
    }
}

fn check_id(id: &str) -> Result<(), Problem> {
    match id.len() {
        0 => Err(Problem::invalid_request("id", "string.min_len", "give the id of an event as it was published")),
        // NUL stands in no id that is stored, and Postgres takes it in no text.
        _ if id.contains('\0') => Err(Problem::invalid_request("id", "headwater.nul", "no id holds the character NUL")),
        bytes if bytes > ID_BYTES_MAX => {
            let description = format!("has {bytes} bytes; an event's id has at most {ID_BYTES_MAX}");
            Err(Problem::invalid_request("id", "headwater.identity_bytes", description))
        }
        _ => Ok(()),
    }
}

fn explained(schema: &StreamSchema, record: Explained) -> ExplainedRecord {
    let Explained { partition, offset, committed_ms, fate } = record;
    let (time_us, appended_ms, outcome) = match fate {
        Fate::Stored { time_us, appended_ms, key, verdict } => {
            (Some(time_us), Some(appended_ms), Outcome::Stored(event(schema, key, verdict)))
        }
        Fate::Duplicate(duplicate) => {
            let outcome = ExplainedDuplicate { of_partition: duplicate.of_partition, of_offset: duplicate.of_offset };
            (Some(duplicate.time_us), None, Outcome::Duplicate(outcome))
        }
        Fate::Dead { appended_ms, reason, field, detail } => {
            let reason = reason.map_or(0, Reason::number);
            (None, Some(appended_ms), Outcome::Dead(ExplainedDeadLetter { reason, field, detail }))
        }
    };
    ExplainedRecord {
        partition,
        offset,
        time: time_us.map(timestamp_of_us),
        appended_at: appended_ms.map(timestamp),
        committed_at: committed_ms.map(timestamp),
        outcome: Some(outcome),
    }
}

fn event(schema: &StreamSchema, key: String, verdict: Verdict) -> ExplainedEvent {
    let Verdict::Flagged { rule, version, count } = verdict else {
        return ExplainedEvent { key, flagged_by: None, rule: None, rule_is_current: false };
    };
    let now = schema.rules.iter().find(|now| now.name == rule);
    ExplainedEvent {
        key,
        rule: now.map(|now| RuleDefinition {
            rule: now.name.clone(),
            version: now.version,
            definition: now.definition(schema),
        }),
        rule_is_current: now.is_some_and(|now| now.version == version),
        flagged_by: Some(FlaggedBy { rule, version, count }),
    }
}

fn write_place(place: ExplainPlace) -> String {
    match place {
        ExplainPlace::Stored { time_us } => format!("stored {time_us}"),
        ExplainPlace::Duplicate { partition, offset } => format!("duplicate {partition} {offset}"),
        ExplainPlace::Dead { partition, offset } => format!("dead {partition} {offset}"),
    }
}

fn read_place(text: &str) -> Result<ExplainPlace, Problem> {
    let parsed = || {
        let (kind, place) = text.split_once(' ')?;
        if kind == "stored" {
            return Some(ExplainPlace::Stored { time_us: place.parse().ok()? });
        }
        let (partition, offset) = place.split_once(' ')?;
        let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
        match kind {
            "duplicate" => Some(ExplainPlace::Duplicate { partition, offset }),
            "dead" => Some(ExplainPlace::Dead { partition, offset }),
            _ => None,
        }
    };
    parsed().ok_or_else(|| Problem::new(Reason::InvalidPageToken, "the page token is not one of this method"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_domain::RuleSpec;

    fn schema(version: u32) -> StreamSchema {
        use headwater_domain::{Column, ColumnType};
        let column = |number, name: &str, kind| Column { number, name: name.into(), kind };
        StreamSchema {
            name: "clicks".into(),
            table: "clicks".into(),
            message: "a.Click".into(),
            columns: vec![column(1, "id", ColumnType::Text), column(2, "at", ColumnType::Time)],
            id: 0,
            key: 0,
            time: 1,
            indexes: vec![],
            stats: vec![],
            rules: vec![RuleSpec { name: "bot".into(), version, count: 10, per: 0, every_s: 1, filter: None }],
        }
    }

    #[test]
    fn a_rule_that_was_changed_or_removed_since_is_not_passed_off_as_the_one_that_flagged() {
        let flagged = |schema: &StreamSchema, rule: &str| {
            event(schema, "k".into(), Verdict::Flagged { rule: rule.into(), version: 2, count: 11 })
        };
        let same = flagged(&schema(2), "bot");
        let definition =
            RuleDefinition { rule: "bot".into(), version: 2, definition: "more than 10 per id every 1 s".into() };
        assert_eq!((same.rule, same.rule_is_current), (Some(definition.clone()), true));
        let changed = flagged(&schema(3), "bot");
        assert_eq!((changed.rule, changed.rule_is_current), (Some(RuleDefinition { version: 3, ..definition }), false));
        let removed = flagged(&schema(2), "spam");
        assert_eq!((removed.rule, removed.rule_is_current), (None, false));
        assert_eq!(removed.flagged_by, Some(FlaggedBy { rule: "spam".into(), version: 2, count: 11 }));
        let counts = event(&schema(2), "k".into(), Verdict::Counted);
        assert_eq!((counts.flagged_by, counts.rule, counts.rule_is_current), (None, None, false));
    }

    #[test]
    fn an_id_that_no_event_has_is_refused_with_the_field() {
        for id in [String::new(), "a\0b".into(), "é".repeat(513)] {
            let problem = check_id(&id).expect_err(&id);
            assert_eq!((problem.reason, problem.violations[0].field.as_str()), (Reason::InvalidRequest, "id"));
        }
        assert_eq!(check_id(&"é".repeat(512)), Ok(()));
    }

    #[test]
    fn places_come_back_and_garbage_does_not() {
        for place in [
            ExplainPlace::Stored { time_us: -1 },
            ExplainPlace::Duplicate { partition: 3, offset: i64::MAX },
            ExplainPlace::Dead { partition: 0, offset: 0 },
        ] {
            assert_eq!(read_place(&write_place(place)).ok(), Some(place));
        }
        for garbage in ["", "stored", "stored x", "dead 1", "dead 1 2 3", "other 1 2"] {
            assert!(read_place(garbage).is_err(), "{garbage}");
        }
    }
}
