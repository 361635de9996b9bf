use std::io::{self, Write};

use headwater_client::v1::error::Reason;
use headwater_client::v1::stats::explained_record::Outcome;
use headwater_client::v1::stats::{
    ExplainVerdictResponse, ExplainedDeadLetter, ExplainedDuplicate, ExplainedEvent, ExplainedRecord,
};
use jiff::Timestamp;

/// Tells a person what became of the records with an id: event by event with its duplicates, then what was none.
pub(super) fn tell(stream: &str, id: &str, answer: &ExplainVerdictResponse, out: &mut dyn Write) -> io::Result<()> {
    let records = &answer.records;
    if records.is_empty() {
        writeln!(out, "Nothing is known of {id:?} in {stream}.")?;
        writeln!(
            out,
            "  It was not published, or was refused when it was, or still waits to be stored (--at-least with"
        )?;
        return writeln!(out, "  the token of its publish waits for that), or what was known of it is pruned.");
    }
    writeln!(out, "{id} in {stream}")?;
    let duplicates = records.iter().filter_map(|record| Some((record, duplicate(record)?)));
    let mut duplicates: Vec<(&ExplainedRecord, &ExplainedDuplicate)> = duplicates.collect();
    for record in records {
        let Some(Outcome::Stored(event)) = &record.outcome else { continue };
        writeln!(out)?;
        stored(record, event, out)?;
        duplicates.retain(|(other, of)| {
            let is_its = (of.of_partition, of.of_offset) == (record.partition, record.offset);
            !is_its || writeln!(out, "  {}: its event was stored already", also(other)).is_err()
        });
    }
    for (record, of) in duplicates {
        writeln!(out)?;
        writeln!(out, "Duplicate of an event at {}", moment(record.time.as_ref()))?;
        writeln!(out, "  {}", place(record))?;
        writeln!(out, "  It is stored by partition {}, offset {}.", of.of_partition, of.of_offset)?;
    }
    for record in records {
        let Some(Outcome::Dead(letter)) = &record.outcome else { continue };
        writeln!(out)?;
        dead(record, letter, out)?;
    }
    if !answer.next_page_token.is_empty() {
        writeln!(out)?;
        writeln!(out, "There are more records than these {}: --limit shows up to 1000.", records.len())?;
    }
    Ok(())
}

fn duplicate(record: &ExplainedRecord) -> Option<&ExplainedDuplicate> {
    match &record.outcome {
        Some(Outcome::Duplicate(of)) => Some(of),
        _ => None,
    }
}

fn stored(record: &ExplainedRecord, event: &ExplainedEvent, out: &mut dyn Write) -> io::Result<()> {
    let verdict = if event.flagged_by.is_some() { "flagged, so that it does not count" } else { "counted" };
    writeln!(out, "Event at {}: stored, {verdict}", moment(record.time.as_ref()))?;
    writeln!(out, "  {}", place(record))?;
    let Some(by) = &event.flagged_by else {
        return writeln!(out, "  No rule flagged it.");
    };
    let (name, version, count) = (&by.rule, by.version, by.count);
    writeln!(out, "  Rule {name}, version {version}, found it to be number {count} of {:?} in its span.", event.key)?;
    match &event.rule {
        Some(rule) if event.rule_is_current => writeln!(out, "  It flags {}.", rule.definition),
        Some(rule) => {
            writeln!(out, "  The contract has version {} of the rule now, which judged other events:", rule.version)?;
            writeln!(out, "  it flags {}.", rule.definition)
        }
        None => writeln!(out, "  The contract has no such rule any more."),
    }
}

fn dead(record: &ExplainedRecord, letter: &ExplainedDeadLetter, out: &mut dyn Write) -> io::Result<()> {
    let reason = match letter.reason() {
        Reason::Unspecified => "a reason that this version does not know",
        reason => reason.as_str_name().trim_start_matches("REASON_"),
    };
    writeln!(out, "Dead letter: {reason}")?;
    writeln!(out, "  {}", place(record))?;
    let names_it = letter.field.is_empty() || letter.detail.starts_with(&letter.field);
    let field = if names_it { String::new() } else { format!("{}: ", letter.field) };
    writeln!(out, "  {field}{}", letter.detail)?;
    if letter.reason() != Reason::Unspecified {
        writeln!(out, "  See docs/errors/{reason}.md")?;
    }
    Ok(())
}

fn place(record: &ExplainedRecord) -> String {
    let mut text = format!("partition {}, offset {}", record.partition, record.offset);
    if let Some(appended) = &record.appended_at {
        text.push_str(&format!(", published {}", moment(Some(appended))));
    }
    match &record.committed_at {
        Some(committed) => text.push_str(&format!(", stored {}", moment(Some(committed)))),
        None => text.push_str(", stored at a time that is pruned"),
    }
    text
}

fn also(record: &ExplainedRecord) -> String {
    format!("Duplicate: {}", place(record))
}

fn moment(time: Option<&prost_types::Timestamp>) -> String {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
        .map_or_else(|| "an unknown time".to_owned(), |time| format!("{time}"))
}
