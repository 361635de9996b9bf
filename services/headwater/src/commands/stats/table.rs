use std::io::{self, Write};
use std::time::Duration;

use headwater_client::v1::stats::{Stat, StatQuery, StatResult};
use jiff::Timestamp;

use super::list::kind_name;
use crate::commands::columns::columns;
use crate::commands::quantities::{grouped, spelled};

/// Prints the figures of a statistic, what they are of, and how far they can be believed.
pub(super) fn figures(query: &StatQuery, result: &StatResult, stat: &Stat, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}", stat.title, said_of(query, result, stat))?;
    writeln!(out)?;
    let single = stat.by.is_empty() && result.values.iter().all(|value| value.key.is_empty());
    let text = |value: &headwater_client::v1::stats::StatValue| {
        if value.overflowed { "over 64 bits".to_owned() } else { value.text.clone() }
    };
    if single {
        writeln!(out, "{}", result.values.first().map_or_else(|| "0".to_owned(), text))?;
    } else {
        let header = if stat.by.is_empty() { "KEY".to_owned() } else { stat.by.to_uppercase() };
        let mut rows = vec![vec![header, "VALUE".to_owned()]];
        rows.extend(result.values.iter().map(|value| vec![value.key.clone(), text(value)]));
        columns(&rows, &[1], out)?;
    }
    writeln!(out)?;
    let shown = if single || !query.by.is_empty() {
        String::new()
    } else {
        format!("{} of {} keys, ", grouped(result.values.len() as u64), grouped(result.key_count))
    };
    let lag = result.lag.and_then(|lag| Duration::try_from(lag).ok()).unwrap_or_default();
    writeln!(
        out,
        "{shown}as of {}, lag {:.1} s, generation {}, {}",
        time(result.as_of.as_ref()),
        lag.as_secs_f64(),
        result.generation,
        if result.complete { "complete" } else { "not complete" }
    )?;
    if !result.complete {
        writeln!(out, "warning: lost figures are being mended; these may be too low")?;
    }
    Ok(())
}

fn said_of(query: &StatQuery, result: &StatResult, stat: &Stat) -> String {
    let window = match query.window.and_then(|window| Duration::try_from(window).ok()) {
        Some(window) => format!("last {}", spelled(window)),
        None => "all time".to_owned(),
    };
    let apart = if stat.by.is_empty() || stat.by == stat.field { String::new() } else { format!(" by {}", stat.by) };
    let kind = kind_name(result.kind());
    format!("{} of {}{apart} in {}, {window}", kind, stat.field, query.stream)
}

fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
        .map_or_else(|| "an unknown time".to_owned(), |time| format!("{time:.3}"))
}
