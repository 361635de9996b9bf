use headwater_domain::{Duplicate, Reason, Verdict};

/// Which records with an event's id to tell of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainQuery {
    /// The event's id.
    pub id: String,
    /// Only records after this place: where the page before ended.
    pub after: Option<ExplainPlace>,
    /// Records at most.
    pub limit: usize,
}

/// A place in the order that records of one id are told in: stored ones, then duplicates, then dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExplainPlace {
    /// A stored event. Those of one id are told apart by their time.
    Stored {
        /// The event's time, in microseconds since the Unix epoch.
        time_us: i64,
    },
    /// A duplicate.
    Duplicate {
        /// Partition of the record.
        partition: i32,
        /// Offset of the record.
        offset: i64,
    },
    /// A dead letter.
    Dead {
        /// Partition of the record.
        partition: i32,
        /// Offset of the record.
        offset: i64,
    },
}

/// A record and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Partition of the record.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
    /// When it was committed, in milliseconds since the Unix epoch; none where its batch is forgotten.
    pub committed_ms: Option<i64>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its event is stored.
    Stored {
        /// The event's time, in microseconds since the Unix epoch.
        time_us: i64,
        /// When the log took it, in milliseconds since the Unix epoch.
        appended_ms: i64,
        /// The event's key as text.
        key: String,
        /// What the rules said.
        verdict: Verdict,
    },
    /// Its event was stored already. Forgotten with the batches of its time.
    Duplicate(Duplicate),
    /// It could not be an event.
    Dead {
        /// When the log took it, in milliseconds since the Unix epoch.
        appended_ms: i64,
        /// Why; none where a newer version of the platform wrote a reason that this one does not know.
        reason: Option<Reason>,
        /// Path of the field at fault, or empty.
        field: String,
        /// A sentence for people.
        detail: String,
    },
}

/// A page of records with one id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainPage {
    /// The records, in the order of their places.
    pub records: Vec<Explained>,
    /// Whether there are more.
    pub more: bool,
}

impl Explained {
    /// Its place in the order.
    pub fn place(&self) -> ExplainPlace {
        let Self { partition, offset, .. } = *self;
        match self.fate {
            Fate::Stored { time_us, .. } => ExplainPlace::Stored { time_us },
            Fate::Duplicate(_) => ExplainPlace::Duplicate { partition, offset },
            Fate::Dead { .. } => ExplainPlace::Dead { partition, offset },
        }
    }
}

/// What a page looks at of each kind. None: nothing, since the page before came past all of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    /// Stored events from this time on, in microseconds since the Unix epoch.
    pub(crate) stored_from_us: Option<i64>,
    /// Duplicates after this partition and offset.
    pub(crate) duplicates_after: Option<(i32, i64)>,
    /// Dead letters after this partition and offset.
    pub(crate) dead_after: Option<(i32, i64)>,
}

impl Looked {
    /// What lies after a place; everything after none.
    pub(crate) fn after(place: Option<ExplainPlace>) -> Self {
        const ALL: Option<(i32, i64)> = Some((i32::MIN, i64::MIN));
        let (stored_from_us, duplicates_after, dead_after) = match place {
            None => (Some(i64::MIN), ALL, ALL),
            Some(ExplainPlace::Stored { time_us }) => (time_us.checked_add(1), ALL, ALL),
            Some(ExplainPlace::Duplicate { partition, offset }) => (None, Some((partition, offset)), ALL),
            Some(ExplainPlace::Dead { partition, offset }) => (None, None, Some((partition, offset))),
        };
        Self { stored_from_us, duplicates_after, dead_after }
    }
}

/// How a database spells what the statement needs.
pub(crate) struct Spelling<'a> {
    /// What a numbered parameter begins with.
    pub(crate) mark: char,
    /// The stream's table, and the columns of id and time in it, quoted.
    pub(crate) table: &'a str,
    pub(crate) id: &'a str,
    pub(crate) time: &'a str,
    /// The tables of duplicates and dead letters, with what makes the database look up ids in them.
    pub(crate) duplicates: &'a str,
    pub(crate) dead_letters: &'a str,
    /// The event's key as text.
    pub(crate) key: &'a str,
    /// When the log took an event, and when a batch was committed, in milliseconds since the Unix epoch.
    pub(crate) appended_ms: &'a str,
    pub(crate) committed_ms: &'a str,
}

/// The statement that answers `ExplainQuery`. One, so that all is of one moment: no record is missed while it is stored.
///
/// Its parameters: 1 the id, 2 the stream, 3 to 7 what is looked at (NULL, with which no row compares, where nothing of
/// a kind is), 8 the limit. Its columns: kind (0 stored, 1 duplicate, 2 dead), time, partition, offset, appended_ms,
/// key, rule, rule_version, rule_count, of_partition, of_offset, reason, field, detail, committed_ms.
pub(crate) fn statement(of: &Spelling<'_>) -> String {
    let Spelling { mark, table, id, time, duplicates, dead_letters, key, appended_ms, committed_ms } = of;
    format!(
        r#"WITH records AS (
             SELECT * FROM (
                 SELECT 0 AS kind, {time} AS time, _partition AS partition, _offset AS "offset",
                     {appended_ms} AS appended_ms, {key} AS key, _rule AS rule, _rule_version AS rule_version,
                     _rule_count AS rule_count, CAST(NULL AS integer) AS of_partition, CAST(NULL AS bigint) AS of_offset,
                     CAST(NULL AS text) AS reason, CAST(NULL AS text) AS field, CAST(NULL AS text) AS detail
                 FROM {table} WHERE {id} = {mark}1 AND {time} >= {mark}3 ORDER BY {table}.{time} LIMIT {mark}8
             ) AS stored
             UNION ALL SELECT * FROM (
                 SELECT 1, time, partition, "offset", CAST(NULL AS bigint), CAST(NULL AS text), CAST(NULL AS text),
                     CAST(NULL AS integer), CAST(NULL AS bigint), of_partition, of_offset,
                     CAST(NULL AS text), CAST(NULL AS text), CAST(NULL AS text)
                 FROM {duplicates}
                 WHERE stream = {mark}2 AND id = {mark}1 AND (partition, "offset") > ({mark}4, {mark}5)
                 ORDER BY partition, "offset" LIMIT {mark}8
             ) AS duplicate
             UNION ALL SELECT * FROM (
                 SELECT 2, CAST(NULL AS timestamptz), partition, "offset", appended_ms, CAST(NULL AS text),
                     CAST(NULL AS text), CAST(NULL AS integer), CAST(NULL AS bigint), CAST(NULL AS integer),
                     CAST(NULL AS bigint), reason, field, detail
                 FROM {dead_letters}
                 WHERE stream = {mark}2 AND id = {mark}1 AND (partition, "offset") > ({mark}6, {mark}7)
                 ORDER BY partition, "offset" LIMIT {mark}8
             ) AS dead
         )
         SELECT records.*, (
             SELECT CASE WHEN next_offset > records."offset" THEN {committed_ms} END FROM batches
             WHERE batches.stream = {mark}2 AND batches.partition = records.partition
                 AND batches.first_offset <= records."offset"
             ORDER BY first_offset DESC LIMIT 1
         )
         FROM records ORDER BY kind, CASE kind WHEN 0 THEN time END, partition, "offset" LIMIT {mark}8"#
    )
}

impl ExplainPage {
    /// The page of what was found, of which the last is one too many where there are more.
    pub(crate) fn of(mut records: Vec<Explained>, limit: usize) -> Self {
        let more = records.len() > limit;
        records.truncate(limit);
        Self { records, more }
    }
}
