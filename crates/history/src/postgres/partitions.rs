use std::collections::{BTreeMap, BTreeSet, HashMap};

use headwater_domain::{BatchCommit, StreamSchema};
use jiff::ToSpan;
use jiff::civil::Date;
use parking_lot::Mutex;
use tokio_postgres::GenericClient;

use super::connection::Database;
use super::error::classify;
use super::prepare::stream_lock;
use super::table::{Table, quoted};
use crate::HistoryError;
use crate::day::{DAY_US, date_of, day_at, day_of};

/// A day this much older than the batch that brings it, or more, shares a part with the rest of its month: what is
/// that old comes seldom, and every part has its price.
const MONTHS_FROM_DAYS: i64 = 92;

/// The day 2000-01-01: everything before it shares one part.
const ANCIENT_END_DAY: i64 = 10_957;

/// Parts made in one transaction: each locks its table and indexes.
const PARTS_PER_TRANSACTION_MAX: usize = 16;

/// A part of a stream's table: the events of [start, end), in microseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) start_us: i64,
    pub(super) end_us: i64,
}

/// The parts that are known to be there, by stream and beginning: only what is missing needs a look.
#[derive(Default)]
pub(super) struct KnownParts {
    by_stream: Mutex<HashMap<String, BTreeMap<i64, i64>>>,
}

impl KnownParts {
    /// Makes the parts that a batch's events go to where they are missing.
    pub(super) async fn ensure(
        &self,
        db: &Database,
        schema: &StreamSchema,
        batch: &BatchCommit,
    ) -> Result<(), HistoryError> {
        let days: BTreeSet<i64> = batch.stored.iter().map(|row| day_of(schema.time_us_of(&row.event))).collect();
        let mut missing: Vec<i64> = days.into_iter().filter(|day| !self.covers(&schema.name, *day)).collect();
        let arrival_day = day_of(batch.last_appended_ms.saturating_mul(1000));
        while !missing.is_empty() {
            let parts = db.bounded(make(db, schema, &missing, arrival_day)).await?;
            let known = parts.into_iter().map(|part| (part.start_us, part.end_us)).collect();
            self.by_stream.lock().insert(schema.name.clone(), known);
            missing.retain(|day| !self.covers(&schema.name, *day));
        }
        Ok(())
    }

    /// Forgets what is known of a stream, because another process took parts away.
    pub(super) fn forget(&self, stream: &str) {
        self.by_stream.lock().remove(stream);
    }

    fn covers(&self, stream: &str, day: i64) -> bool {
        let by_stream = self.by_stream.lock();
        let at_us = day.saturating_mul(DAY_US);
        by_stream.get(stream).and_then(|known| known.range(..=at_us).next_back()).is_some_and(|(_, end)| at_us < *end)
    }
}

/// The parts of a stream's table, by time. None where there is no table.
pub(super) async fn parts(
    client: &(impl GenericClient + Sync),
    schema: &StreamSchema,
) -> Result<Vec<Part>, HistoryError> {
    let table = Table::of(schema);
    let sql = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = to_regclass($1::text)";
    let rows = client.query(sql, &[&table.name]).await.map_err(|error| classify(&error))?;
    let base = table.base();
    let mut parts: Vec<Part> = rows.iter().filter_map(|row| part_named(&base, row.get(0))).collect();
    parts.sort_by_key(|part| part.start_us);
    Ok(parts)
}

/// Makes parts for the first of the days, and says what parts there are then.
///
/// A part is made beside the table and then attached, which stops no one who writes; making it within the table would.
async fn make(db: &Database, schema: &StreamSchema, days: &[i64], arrival_day: i64) -> Result<Vec<Part>, HistoryError> {
    let mut client = db.client().await?;
    let transaction = client.transaction().await.map_err(|error| classify(&error))?;
    stream_lock(&*transaction, &db.namespace, schema).await?;
    let table = Table::of(schema);
    let mut there = parts(&*transaction, schema).await?;
    let mut made = 0;
    for day in days {
        let at_us = day.saturating_mul(DAY_US);
        if there.iter().any(|part| part.start_us <= at_us && at_us < part.end_us) {
            continue;
        }
        if made == PARTS_PER_TRANSACTION_MAX {
            break;
        }
        let part = part_for(&table.base(), *day, arrival_day, &there);
        let (name, parent) = (quoted(&part.name), &table.name);
        let sql = format!(
            "CREATE TABLE {name} (LIKE {parent} INCLUDING ALL);
             ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({}) TO ({})",
            bound(part.start_us),
            bound(part.end_us)
        );
        transaction.batch_execute(&sql).await.map_err(|error| classify(&error))?;
        there.push(part);
        made += 1;
    }
    transaction.commit().await.map_err(|error| classify(&error))?;
    Ok(there)
}

/// The part to make for a day that none of the parts holds.
fn part_for(base: &str, day: i64, arrival_day: i64, there: &[Part]) -> Part {
    if day < ANCIENT_END_DAY {
        return ancient(base);
    }
    // Nothing that can be stored is later than the last date there is.
    let date = date_of(day).unwrap_or(Date::MAX);
    let month = month_part(base, date.first_of_month());
    let is_old = arrival_day - day >= MONTHS_FROM_DAYS;
    let is_split = there.iter().any(|part| part.start_us < month.end_us && month.start_us < part.end_us);
    if is_old && !is_split { month } else { day_part(base, date) }
}

fn ancient(base: &str) -> Part {
    Part { name: format!("{base}ancient"), start_us: i64::MIN, end_us: ANCIENT_END_DAY * DAY_US }
}

fn month_part(base: &str, first: Date) -> Part {
    let next = first.saturating_add(1.month());
    Part {
        name: format!("{base}{:04}{:02}", first.year(), first.month()),
        start_us: day_at(first) * DAY_US,
        end_us: day_at(next) * DAY_US,
    }
}

fn day_part(base: &str, date: Date) -> Part {
    let day = day_at(date);
    Part {
        name: format!("{base}{:04}{:02}{:02}", date.year(), date.month(), date.day()),
        start_us: day * DAY_US,
        end_us: (day + 1) * DAY_US,
    }
}

/// The part of that name; none where it is not one that we make.
fn part_named(base: &str, name: &str) -> Option<Part> {
    let suffix = name.strip_prefix(base)?;
    if suffix == "ancient" {
        return Some(ancient(base));
    }
    if !suffix.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| suffix.get(range)?.parse::<i16>().ok();
    let month = i8::try_from(number(4..6)?).ok()?;
    match suffix.len() {
        6 => Some(month_part(base, Date::new(number(0..4)?, month, 1).ok()?)),
        8 => {
            let day = i8::try_from(number(6..8)?).ok()?;
            Some(day_part(base, Date::new(number(0..4)?, month, day).ok()?))
        }
        _ => None,
    }
}

fn bound(time_us: i64) -> String {
    match date_of(day_of(time_us)) {
        Some(date) => format!("'{date} 00:00:00+00'"),
        None if time_us < 0 => "MINVALUE".to_owned(),
        None => "MAXVALUE".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_known_by_its_name() {
        for part in
            [ancient("t$"), day_part("t$", Date::constant(2025, 11, 21)), month_part("t$", Date::constant(2025, 12, 1))]
        {
            assert_eq!(part_named("t$", &part.name), Some(part));
        }
        for other in ["u$20251121", "t$2025112", "t$20251321", "t$by_3", "t$"] {
            assert_eq!(part_named("t$", other), None, "{other}");
        }
        assert_eq!(month_part("t$", Date::constant(2025, 12, 1)).end_us, day_at(Date::constant(2026, 1, 1)) * DAY_US);
    }

    #[test]
    fn old_days_share_a_month_unless_it_is_split() {
        let today = day_at(Date::constant(2025, 11, 21));
        let old = day_at(Date::constant(2025, 3, 9));
        assert_eq!(part_for("t$", today, today, &[]).name, "t$20251121");
        assert_eq!(part_for("t$", today + 1, today, &[]).name, "t$20251122");
        assert_eq!(part_for("t$", old, today, &[]).name, "t$202503");
        assert_eq!(part_for("t$", old, today, &[day_part("t$", Date::constant(2025, 3, 10))]).name, "t$20250309");
        assert_eq!(part_for("t$", ANCIENT_END_DAY, today, &[]).name, "t$200001");
        assert_eq!(part_for("t$", -40_000, today, &[]).name, "t$ancient");
    }
}
